SELECT c.[object_id],
       c.[column_id],
       c.[name],
       CASE WHEN b.[name] IS NOT NULL THEN b.[name] WHEN u.[is_user_defined] = 0 THEN u.[name] ELSE N'' END AS [type],
       c.[max_length],
       c.[precision],
       c.[scale],
       c.[collation_name],
       c.[is_nullable],
       c.[is_computed],
       c.[is_identity],
       c.[is_hidden],
       c.[generated_always_type],
       c.[is_column_set],
       c.[is_masked],
       c.[encryption_type],
       m.[definition]
FROM [sys].[columns] AS c
INNER JOIN [sys].[types] AS u ON u.[user_type_id] = c.[user_type_id]
LEFT OUTER JOIN [sys].[types] AS b ON b.[user_type_id] = c.[system_type_id]
LEFT OUTER JOIN [sys].[computed_columns] AS m ON m.[object_id] = c.[object_id] AND m.[column_id] = c.[column_id]
WHERE c.[object_id] IN (7, 8)
ORDER BY c.[object_id], c.[column_id];

