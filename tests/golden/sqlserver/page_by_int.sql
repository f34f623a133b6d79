DECLARE @rows int = ?;
DECLARE @k0 int = ?;
SELECT TOP (@rows) T.[c_int],
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_int] > @k0
ORDER BY T.[c_int];
