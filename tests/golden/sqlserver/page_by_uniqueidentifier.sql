DECLARE @rows int = ?;
DECLARE @k0 uniqueidentifier = CONVERT(uniqueidentifier, ?);
SELECT TOP (@rows) LOWER(CONVERT(char(36), T.[c_guid])),
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_guid] > @k0
ORDER BY T.[c_guid];
