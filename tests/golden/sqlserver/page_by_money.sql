DECLARE @rows int = ?;
DECLARE @k0 money = CONVERT(money, ?);
SELECT TOP (@rows) CONVERT(varchar(21), T.[c_money], 2),
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_money] > @k0
ORDER BY T.[c_money];
