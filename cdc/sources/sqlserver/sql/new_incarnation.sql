UPDATE [erp_cdc].[settings] SET [bytes] = ? WHERE [name] = N'incarnation';
