SELECT TOP (0) T.[Name],
       T.[co]]de],
       CONVERT(char(23), T.[day], 121),
       T.[v]
FROM [dbo].[staff] AS T;
