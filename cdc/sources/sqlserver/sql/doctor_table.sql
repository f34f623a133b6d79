DECLARE @wanted nvarchar(517) = ?;
SELECT o.[type],
       s.[name] AS [schema],
       o.[name] AS [table],
       CASE WHEN EXISTS (SELECT 1 FROM [sys].[indexes] AS i WHERE i.[object_id] = o.[object_id] AND i.[is_primary_key] = 1) THEN 1 ELSE 0 END
           AS [has_key],
       HAS_PERMS_BY_NAME(@wanted, N'OBJECT', N'SELECT') AS [may_read],
       HAS_PERMS_BY_NAME(@wanted, N'OBJECT', N'VIEW CHANGE TRACKING') AS [may_ask],
       c.[begin_version]
FROM [sys].[objects] AS o
INNER JOIN [sys].[schemas] AS s ON s.[schema_id] = o.[schema_id]
LEFT OUTER JOIN [sys].[change_tracking_tables] AS c ON c.[object_id] = o.[object_id]
WHERE o.[object_id] = OBJECT_ID(@wanted);
