DECLARE @k0 nvarchar(50) = ?, @k1 nvarchar(10) = ?, @k2 datetime = CONVERT(datetime, ?, 121);
SELECT T.[v]
FROM [dbo].[staff] AS T
WHERE T.[Name] = @k0 AND T.[co]]de] = CONVERT(varchar(10), @k1 COLLATE Polish_CI_AS) AND T.[day] = @k2;
