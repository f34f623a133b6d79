SELECT t.[object_id],
       s.[name] AS [schema],
       t.[name] AS [table],
       CONVERT(char(23), t.[modify_date], 121) AS [modified],
       c.[begin_version],
       CHANGE_TRACKING_MIN_VALID_VERSION(t.[object_id]) AS [min_valid]
FROM [sys].[change_tracking_tables] AS c
INNER JOIN [sys].[tables] AS t ON t.[object_id] = c.[object_id]
INNER JOIN [sys].[schemas] AS s ON s.[schema_id] = t.[schema_id];
