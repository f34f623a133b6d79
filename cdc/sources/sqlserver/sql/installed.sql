SELECT SCHEMA_ID(N'erp_cdc') AS [schema], OBJECT_ID(N'[erp_cdc].[settings]', N'U') AS [settings];
