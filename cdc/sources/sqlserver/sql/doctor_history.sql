SELECT DATEDIFF(minute, MAX(h.[start_time]), GETDATE()) AS [minutes],
       SUM(CASE WHEN h.[start_time] > DATEADD(day, -1, GETDATE()) AND CONVERT(nvarchar(4000), h.[comments]) LIKE N'%error%' THEN 1 ELSE 0 END)
           AS [failures]
FROM [dbo].[MSchange_tracking_history] AS h;
