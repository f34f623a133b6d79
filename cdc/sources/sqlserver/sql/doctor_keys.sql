DECLARE @wanted nvarchar(517) = ?;
SELECT c.[name], c.[collation_name]
FROM [sys].[indexes] AS i
INNER JOIN [sys].[index_columns] AS ic ON ic.[object_id] = i.[object_id] AND ic.[index_id] = i.[index_id]
INNER JOIN [sys].[columns] AS c ON c.[object_id] = ic.[object_id] AND c.[column_id] = ic.[column_id]
WHERE i.[is_primary_key] = 1 AND i.[object_id] = OBJECT_ID(@wanted) AND c.[collation_name] IS NOT NULL
ORDER BY ic.[key_ordinal];
