"""The closed list of T-SQL that the stand-in understands: text -> tokens -> `ast`."""
