DECLARE @rows int = ?;
DECLARE @k0 bit = ?;
SELECT TOP (@rows) T.[c_bit],
       T.[v]
FROM [dbo].[staff] AS T
WHERE T.[c_bit] > @k0
ORDER BY T.[c_bit];
