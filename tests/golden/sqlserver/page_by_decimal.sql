DECLARE @rows int = ?;
DECLARE @k0 decimal(38,10) = CONVERT(decimal(38,10), ?);
SELECT TOP (@rows) CONVERT(varchar(41), T.[c_decimal]),
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_decimal] > @k0
ORDER BY T.[c_decimal];
