DECLARE @rows int = ?;
DECLARE @k0 smallint = ?;
SELECT TOP (@rows) T.[c_smallint],
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_smallint] > @k0
ORDER BY T.[c_smallint];
