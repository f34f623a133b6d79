SELECT TOP (0) 1 AS [one] FROM [dbo].[staff] AS T WHERE (
c_int > 1 -- only those
);
