DECLARE @rows int = ?;
DECLARE @k0 nvarchar(10) = ?;
SELECT TOP (@rows) T.[c_nchar],
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_nchar] > @k0
ORDER BY T.[c_nchar];
