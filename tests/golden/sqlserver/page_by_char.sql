DECLARE @rows int = ?;
DECLARE @k0 nvarchar(10) = ?;
SELECT TOP (@rows) T.[c_char],
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_char] > CONVERT(char(10), @k0 COLLATE SQL_Latin1_General_CP1_CI_AS)
ORDER BY T.[c_char];
