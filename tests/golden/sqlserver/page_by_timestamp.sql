DECLARE @rows int = ?;
DECLARE @k0 binary(8) = ?;
SELECT TOP (@rows) T.[c_rowversion],
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_rowversion] > @k0
ORDER BY T.[c_rowversion];
