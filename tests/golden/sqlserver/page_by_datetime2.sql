DECLARE @rows int = ?;
DECLARE @k0 datetime2(7) = CONVERT(datetime2(7), ?, 121);
SELECT TOP (@rows) CONVERT(varchar(27), T.[c_datetime2], 121),
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_datetime2] > @k0
ORDER BY T.[c_datetime2];
