SELECT COUNT_BIG(*) AS [objects],
       SUM(CONVERT(bigint, o.[object_id])) AS [ids],
       SUM(CONVERT(bigint, DATEDIFF(second, '20000101', o.[modify_date]))) AS [seconds],
       CONVERT(char(23), MAX(o.[modify_date]), 121) AS [latest]
FROM [sys].[objects] AS o
WHERE o.[type] = 'U';
