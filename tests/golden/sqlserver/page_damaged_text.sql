DECLARE @rows int = ?;
DECLARE @k0 nvarchar(50) = CONVERT(nvarchar(50), ?), @k1 nvarchar(10) = ?, @k2 datetime = CONVERT(datetime, ?, 121);
SELECT TOP (@rows) T.[Name],
       T.[co]]de],
       CONVERT(char(23), T.[day], 121),
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[Name] >= @k0 AND (T.[Name] > @k0 OR (T.[Name] = @k0 AND (T.[co]]de] < CONVERT(varchar(10), @k1 COLLATE Polish_CI_AS) OR (T.[co]]de] = CONVERT(varchar(10), @k1 COLLATE Polish_CI_AS) AND T.[day] > @k2))))
ORDER BY T.[Name], T.[co]]de] DESC, T.[day];
