-- Locks of keys that need not exist: what HOLDLOCK on an absent key takes, and every insert of that key.
-- Advisory locks: (1, 0) the commit that is given a version; (2, table) the keys of a table; (3, 0) the catalogue;
-- one bigint: a key, by hash.
CREATE FUNCTION standin.key_hash(table_id int, key text) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN hashtextextended(key, table_id);

-- An inserted key. After 20 000 keys of a transaction the whole table is locked instead, if nobody else holds one of it:
-- the lock table of the server is finite, and SQL Server escalates too.
CREATE FUNCTION standin.lock_key(table_id int, key text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  count int := coalesce(nullif(current_setting('standin.keys', true), ''), '0')::int + 1;
BEGIN
  PERFORM set_config('standin.keys', count::text, true);
  IF count > 20000 AND pg_try_advisory_xact_lock(2, table_id) THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock_shared(2, table_id);
  PERFORM pg_advisory_xact_lock(hashtextextended(key, table_id));
END $$;

-- A reader's lock of a key, `mode` S or X.
CREATE FUNCTION standin.hold_key(table_id int, key text, mode text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(2, table_id);
  IF mode = 'S' THEN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(key, table_id));
  ELSE
    PERFORM pg_advisory_xact_lock(hashtextextended(key, table_id));
  END IF;
END $$;
