DECLARE @rows int = ?;
DECLARE @k0 smallmoney = CONVERT(smallmoney, ?);
SELECT TOP (@rows) CONVERT(varchar(21), T.[c_smallmoney], 2),
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_smallmoney] > @k0
ORDER BY T.[c_smallmoney];
