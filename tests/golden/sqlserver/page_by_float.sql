DECLARE @rows int = ?;
DECLARE @k0 float = ?;
SELECT TOP (@rows) T.[c_float],
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_float] > @k0
ORDER BY T.[c_float];
