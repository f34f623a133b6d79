"""T-SQL executed on PostgreSQL: catalogue, compiler, interpreter, change tracking, locks."""
