SELECT t.[name] FROM [sys].[tables] AS t WHERE t.[schema_id] = SCHEMA_ID(N'erp_cdc') ORDER BY t.[name];
