DECLARE @rows int = ?;
DECLARE @k0 nvarchar(50) = ?;
SELECT TOP (@rows) T.[c_nvarchar],
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_nvarchar] > @k0
ORDER BY T.[c_nvarchar];
