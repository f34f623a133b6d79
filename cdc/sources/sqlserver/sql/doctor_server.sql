SELECT CONVERT(nvarchar(128), SERVERPROPERTY(N'ProductVersion')) AS [version],
       CONVERT(int, SERVERPROPERTY(N'EngineEdition')) AS [edition];
