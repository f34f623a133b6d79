"""The ERP database on SQL Server: change tracking, through Microsoft's ODBC driver, by the contract of `cdc.sources.base`."""
