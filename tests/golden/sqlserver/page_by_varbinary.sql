DECLARE @rows int = ?;
DECLARE @k0 varbinary(50) = ?;
SELECT TOP (@rows) T.[c_varbinary],
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_varbinary] > @k0
ORDER BY T.[c_varbinary];
