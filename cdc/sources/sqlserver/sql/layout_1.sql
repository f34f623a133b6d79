IF SCHEMA_ID(N'erp_cdc') IS NULL EXEC (N'CREATE SCHEMA [erp_cdc]');
GO
IF OBJECT_ID(N'[erp_cdc].[settings]', N'U') IS NULL
CREATE TABLE [erp_cdc].[settings] (
    [name] nvarchar(40) NOT NULL CONSTRAINT [settings_key] PRIMARY KEY,
    [number] bigint NULL,
    [bytes] varbinary(64) NULL
);
GO
IF OBJECT_ID(N'[erp_cdc].[witness]', N'U') IS NULL
CREATE TABLE [erp_cdc].[witness] (
    [seq] bigint IDENTITY(1, 1) NOT NULL CONSTRAINT [witness_key] PRIMARY KEY,
    [incarnation] binary(16) NOT NULL,
    [version] bigint NOT NULL,
    [nonce] binary(16) NOT NULL,
    [written] datetime2(3) NOT NULL CONSTRAINT [witness_written] DEFAULT SYSUTCDATETIME()
);
GO
IF NOT EXISTS (SELECT 1 FROM [sys].[indexes] WHERE [name] = N'witness_nonce' AND [object_id] = OBJECT_ID(N'[erp_cdc].[witness]', N'U'))
CREATE INDEX [witness_nonce] ON [erp_cdc].[witness] ([nonce]);
GO
IF NOT EXISTS (SELECT 1 FROM [sys].[indexes] WHERE [name] = N'witness_version' AND [object_id] = OBJECT_ID(N'[erp_cdc].[witness]', N'U'))
CREATE INDEX [witness_version] ON [erp_cdc].[witness] ([incarnation], [version]);
GO
IF NOT EXISTS (SELECT 1 FROM [erp_cdc].[settings] WHERE [name] = N'incarnation')
INSERT INTO [erp_cdc].[settings] ([name], [number], [bytes]) VALUES (N'incarnation', NULL, CONVERT(binary(16), NEWID()));
GO
IF NOT EXISTS (SELECT 1 FROM [erp_cdc].[settings] WHERE [name] = N'layout')
INSERT INTO [erp_cdc].[settings] ([name], [number], [bytes]) VALUES (N'layout', 1, NULL);
GO
