DECLARE @rows int = ?;
DECLARE @k0 date = CONVERT(date, ?, 23);
SELECT TOP (@rows) CONVERT(char(10), T.[c_date], 23),
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_date] > @k0
ORDER BY T.[c_date];
