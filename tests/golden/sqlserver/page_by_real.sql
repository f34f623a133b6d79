DECLARE @rows int = ?;
DECLARE @k0 real = ?;
SELECT TOP (@rows) T.[c_real],
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_real] > @k0
ORDER BY T.[c_real];
