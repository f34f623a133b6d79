DECLARE @rows int = ?;
DECLARE @k0 smalldatetime = CONVERT(smalldatetime, ?, 120);
SELECT TOP (@rows) CONVERT(char(19), T.[c_smalldatetime], 120),
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_smalldatetime] > @k0
ORDER BY T.[c_smalldatetime];
