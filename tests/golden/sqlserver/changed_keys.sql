DECLARE @from bigint = ?;
SELECT CT.[id],
       CASE WHEN T.[id] IS NULL THEN 0 WHEN T.[__erp_cdc_match] = 1 THEN 1 ELSE 0 END AS [__exists]
FROM CHANGETABLE(CHANGES [dbo].[staff], @from) AS CT
LEFT OUTER JOIN (SELECT F.[id], F.[c_tinyint], F.[c_smallint], F.[c_int], F.[c_bigint], F.[c_bit], F.[c_decimal], F.[c_numeric], F.[c_money], F.[c_smallmoney], F.[c_float], F.[c_real], F.[c_char], F.[c_varchar], F.[c_varchar_max], F.[c_nchar], F.[c_nvarchar], F.[c_nvarchar_max], F.[c_text], F.[c_ntext], F.[c_binary], F.[c_varbinary], F.[c_varbinary_max], F.[c_image], F.[c_rowversion], F.[c_guid], F.[c_date], F.[c_time], F.[c_smalldatetime], F.[c_datetime], F.[c_datetime2], F.[c_datetimeoffset], F.[c_xml], F.[c_hierarchyid], F.[c_variant], F.[c_geography], F.[c_geometry], CASE WHEN (
c_int > 1 -- only those
) THEN 1 ELSE 0 END AS [__erp_cdc_match] FROM [dbo].[staff] AS F) AS T ON T.[id] = CT.[id];
