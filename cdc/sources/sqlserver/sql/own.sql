DECLARE @incarnation binary(16) = ?, @nonce binary(16) = ?;
SELECT (SELECT s.[bytes] FROM [erp_cdc].[settings] AS s WHERE s.[name] = N'incarnation') AS [incarnation],
       (SELECT COUNT_BIG(*) FROM [erp_cdc].[witness] AS w WHERE w.[nonce] = @nonce AND w.[incarnation] = @incarnation) AS [found],
       (SELECT MIN(w.[version]) FROM [erp_cdc].[witness] AS w WHERE w.[incarnation] = @incarnation) AS [oldest],
       (SELECT MAX(w.[seq]) FROM [erp_cdc].[witness] AS w) AS [last],
       (SELECT TOP (1) w.[nonce] FROM [erp_cdc].[witness] AS w ORDER BY w.[seq] DESC) AS [last_nonce];
