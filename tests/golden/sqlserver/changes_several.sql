DECLARE @from bigint = ?;
SELECT CT.[Name],
       CT.[co]]de],
       CONVERT(char(23), CT.[day], 121),
       CASE WHEN T.[Name] IS NULL THEN 0 ELSE 1 END AS [__exists],
       T.[Name],
       T.[co]]de],
       T.[v]
FROM CHANGETABLE(CHANGES [dbo].[staff], @from) AS CT
LEFT OUTER JOIN [dbo].[staff] AS T ON T.[Name] = CT.[Name] AND T.[co]]de] = CT.[co]]de] AND T.[day] = CT.[day];
