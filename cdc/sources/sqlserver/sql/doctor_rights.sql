SELECT HAS_PERMS_BY_NAME(N'[erp_cdc]', N'SCHEMA', N'SELECT') AS [select],
       HAS_PERMS_BY_NAME(N'[erp_cdc]', N'SCHEMA', N'INSERT') AS [insert],
       HAS_PERMS_BY_NAME(N'[erp_cdc]', N'SCHEMA', N'UPDATE') AS [update],
       HAS_PERMS_BY_NAME(N'[erp_cdc]', N'SCHEMA', N'DELETE') AS [delete],
       HAS_PERMS_BY_NAME(N'[dbo].[MSchange_tracking_history]', N'OBJECT', N'SELECT') AS [history];
