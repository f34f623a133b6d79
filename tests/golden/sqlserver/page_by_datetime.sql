DECLARE @rows int = ?;
DECLARE @k0 datetime = CONVERT(datetime, ?, 121);
SELECT TOP (@rows) CONVERT(char(23), T.[c_datetime], 121),
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_datetime] > @k0
ORDER BY T.[c_datetime];
