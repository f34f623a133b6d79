-- Schemas, and how text compares: case-insensitive collations fold, and no collation sees trailing blanks.
CREATE SCHEMA standin;
CREATE SCHEMA data;
CREATE SCHEMA track;

CREATE FUNCTION standin.fold_ci(value text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
  RETURN lower(rtrim(value, ' '));

CREATE FUNCTION standin.fold_cs(value text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
  RETURN rtrim(value, ' ');

-- @@DBTS: the rowversion of the database.
CREATE SEQUENCE standin.dbts START 2001;

CREATE FUNCTION standin.next_rowversion() RETURNS bytea LANGUAGE sql VOLATILE
  RETURN int8send(nextval('standin.dbts'));

-- An explicit identity value (SET IDENTITY_INSERT) moves the seed when it lies beyond it.
CREATE FUNCTION standin.raise_identity(sequence regclass, value bigint) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  increment bigint;
  last bigint := pg_sequence_last_value(sequence);
BEGIN
  SELECT seqincrement INTO increment FROM pg_sequence WHERE seqrelid = sequence;
  IF last IS NULL OR (increment > 0 AND value > last) OR (increment < 0 AND value < last) THEN
    PERFORM setval(sequence, value);
  END IF;
END $$;
