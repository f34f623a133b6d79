SELECT d.[snapshot_isolation_state],
       d.[is_read_committed_snapshot_on],
       d.[collation_name],
       d.[delayed_durability],
       CONVERT(nvarchar(128), DATABASEPROPERTYEX(DB_NAME(), N'Updateability')) AS [updateability],
       CHANGE_TRACKING_CURRENT_VERSION() AS [version],
       HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'UNMASK') AS [unmask]
FROM [sys].[databases] AS d
WHERE d.[database_id] = DB_ID();
