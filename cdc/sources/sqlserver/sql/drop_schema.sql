IF SCHEMA_ID(N'erp_cdc') IS NOT NULL EXEC (N'DROP SCHEMA [erp_cdc]');
