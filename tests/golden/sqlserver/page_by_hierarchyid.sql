DECLARE @rows int = ?;
DECLARE @k0 hierarchyid = hierarchyid::Parse(?);
SELECT TOP (@rows) T.[c_hierarchyid].ToString(),
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_hierarchyid] > @k0
ORDER BY T.[c_hierarchyid];
