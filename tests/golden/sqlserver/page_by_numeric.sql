DECLARE @rows int = ?;
DECLARE @k0 numeric(9,2) = CONVERT(numeric(9,2), ?);
SELECT TOP (@rows) CONVERT(varchar(41), T.[c_numeric]),
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_numeric] > @k0
ORDER BY T.[c_numeric];
