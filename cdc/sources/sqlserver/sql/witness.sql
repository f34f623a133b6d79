SET XACT_ABORT ON;
DECLARE @incarnation binary(16) = ?, @version bigint = ?, @nonce binary(16) = ?, @keep_from bigint = ?,
        @seen bigint = ?, @seen_nonce binary(16) = ?;
DECLARE @same int = 0;
BEGIN TRANSACTION;
SELECT @same = 1
FROM [erp_cdc].[settings] AS s
WHERE s.[name] = N'incarnation'
  AND s.[bytes] = @incarnation
  AND CHANGE_TRACKING_CURRENT_VERSION() >= @version
  AND (@seen IS NULL
       OR EXISTS (SELECT 1 FROM [erp_cdc].[witness] AS w WHERE w.[seq] = @seen AND w.[nonce] = @seen_nonce)
       OR EXISTS (SELECT 1 FROM [erp_cdc].[witness] AS w WHERE w.[seq] > @seen));
IF @same = 1
BEGIN
    INSERT INTO [erp_cdc].[witness] ([incarnation], [version], [nonce]) VALUES (@incarnation, @version, @nonce);
    DELETE TOP (5000) FROM [erp_cdc].[witness] WHERE [incarnation] = @incarnation AND [version] < @keep_from;
END;
COMMIT TRANSACTION;
SET XACT_ABORT OFF;
SELECT @same AS [same];
