SELECT t.[object_id]
FROM [sys].[change_tracking_tables] AS c
INNER JOIN [sys].[tables] AS t ON t.[object_id] = c.[object_id]
INNER JOIN [sys].[schemas] AS s ON s.[schema_id] = t.[schema_id]
WHERE ISNULL(HAS_PERMS_BY_NAME(QUOTENAME(s.[name]) + N'.' + QUOTENAME(t.[name]), N'OBJECT', N'SELECT'), 0) = 0;
