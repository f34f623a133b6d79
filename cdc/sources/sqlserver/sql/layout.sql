SELECT s.[number] FROM [erp_cdc].[settings] AS s WHERE s.[name] = N'layout';
