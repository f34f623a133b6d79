SELECT v.[place],
       o.[object_id],
       o.[type],
       o.[is_ms_shipped],
       s.[name] AS [schema],
       o.[name] AS [table],
       CONVERT(char(23), o.[modify_date], 121) AS [modified]
FROM (VALUES (0, N'[dbo].[staff]'), (1, N'[other schema].[it''s]]]')) AS v ([place], [wanted])
INNER JOIN [sys].[objects] AS o ON o.[object_id] = OBJECT_ID(v.[wanted])
INNER JOIN [sys].[schemas] AS s ON s.[schema_id] = o.[schema_id];

