DECLARE @from bigint = ?;
SELECT 0 AS [place], COUNT_BIG(*) AS [keys] FROM CHANGETABLE(CHANGES [dbo].[staff], @from) AS CT
UNION ALL
SELECT 1 AS [place], COUNT_BIG(*) AS [keys] FROM CHANGETABLE(CHANGES [other schema].[it's]]], @from) AS CT;
