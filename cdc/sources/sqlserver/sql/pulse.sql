SELECT CHANGE_TRACKING_CURRENT_VERSION() AS [version], OBJECT_ID(N'[erp_cdc].[settings]', N'U') AS [settings];
