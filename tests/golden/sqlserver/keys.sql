SELECT i.[object_id], ic.[column_id], ic.[is_descending_key]
FROM [sys].[indexes] AS i
INNER JOIN [sys].[index_columns] AS ic ON ic.[object_id] = i.[object_id] AND ic.[index_id] = i.[index_id]
WHERE i.[is_primary_key] = 1 AND i.[object_id] IN (7, 8)
ORDER BY i.[object_id], ic.[key_ordinal];

