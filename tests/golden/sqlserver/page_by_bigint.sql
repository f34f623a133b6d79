DECLARE @rows int = ?;
DECLARE @k0 bigint = ?;
SELECT TOP (@rows) T.[c_bigint],
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_bigint] > @k0
ORDER BY T.[c_bigint];
