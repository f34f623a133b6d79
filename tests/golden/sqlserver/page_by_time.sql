DECLARE @rows int = ?;
DECLARE @k0 time(7) = CONVERT(time(7), ?, 121);
SELECT TOP (@rows) CONVERT(varchar(16), T.[c_time], 121),
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_time] > @k0
ORDER BY T.[c_time];
