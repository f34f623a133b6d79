DECLARE @seconds int = ?;
DELETE TOP (5000) FROM [erp_cdc].[witness]
WHERE [written] < DATEADD(second, -@seconds, SYSUTCDATETIME())
  AND [incarnation] <> (SELECT s.[bytes] FROM [erp_cdc].[settings] AS s WHERE s.[name] = N'incarnation');
