SELECT d.[name],
       d.[compatibility_level],
       d.[snapshot_isolation_state],
       d.[is_read_committed_snapshot_on],
       d.[delayed_durability],
       CONVERT(nvarchar(128), DATABASEPROPERTYEX(DB_NAME(), N'Updateability')) AS [updateability],
       USER_NAME() AS [user],
       SCHEMA_ID(N'erp_cdc') AS [schema],
       OBJECT_ID(N'[erp_cdc].[settings]', N'U') AS [settings],
       OBJECT_ID(N'[dbo].[MSchange_tracking_history]', N'U') AS [history]
FROM [sys].[databases] AS d
WHERE d.[database_id] = DB_ID();
