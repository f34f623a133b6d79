DECLARE @rows int = ?;
DECLARE @k0 tinyint = ?;
SELECT TOP (@rows) T.[c_tinyint],
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_tinyint] > @k0
ORDER BY T.[c_tinyint];
