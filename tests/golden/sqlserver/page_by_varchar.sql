DECLARE @rows int = ?;
DECLARE @k0 nvarchar(50) = ?;
SELECT TOP (@rows) T.[c_varchar],
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_varchar] > CONVERT(varchar(50), @k0 COLLATE Polish_CI_AS)
ORDER BY T.[c_varchar];
