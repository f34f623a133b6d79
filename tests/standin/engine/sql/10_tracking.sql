-- Change tracking as in SQL Server: a side table per tracked table (schema track), and one table of commits.
-- https://learn.microsoft.com/sql/relational-databases/track-changes/about-change-tracking-sql-server
CREATE TABLE standin.commits (
  commit_ts bigint PRIMARY KEY,
  xdes_id bigint NOT NULL UNIQUE,
  commit_time timestamptz NOT NULL
);
CREATE SEQUENCE standin.versions;
-- The version that all cleaned commits had reached: so that the current version never goes back.
CREATE TABLE standin.cleaned (version bigint NOT NULL);
INSERT INTO standin.cleaned VALUES (0);

CREATE TABLE standin.tracked (
  object_id int PRIMARY KEY,
  begin_version bigint NOT NULL,
  min_valid_version bigint NOT NULL,
  cleanup_version bigint NOT NULL DEFAULT 0
);

CREATE FUNCTION standin.current_version() RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT greatest((SELECT max(commit_ts) FROM standin.commits), (SELECT version FROM standin.cleaned))
$$;

-- Called before every COMMIT: a version for a transaction that changed tracked tables, NULL for others. The lock is held
-- until the commit is visible, so versions become visible in their order.
CREATE FUNCTION standin.before_commit(clock timestamptz) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  version bigint;
BEGIN
  IF coalesce(current_setting('standin.noted', true), '') = '' THEN
    RETURN NULL;
  END IF;
  PERFORM pg_advisory_xact_lock(1, 0);
  version := nextval('standin.versions');
  INSERT INTO standin.commits VALUES (version, pg_current_xact_id()::text::bigint, clock);
  RETURN version;
END $$;

-- What a statement says before it writes to a table: its context, and the columns that its SET assigns ("all": any).
CREATE FUNCTION standin.prepare(target int, context bytea, assigned text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
  PERFORM set_config('standin.target', target::text, true);
  PERFORM set_config('standin.context', coalesce(encode(context, 'hex'), ''), true);
  PERFORM set_config('standin.assigned', assigned, true);
END $$;

-- Of the statement, not of what it cascades to in other tables:
-- https://learn.microsoft.com/sql/relational-databases/system-functions/with-change-tracking-context-transact-sql
CREATE FUNCTION standin.context(table_id int) RETURNS bytea LANGUAGE sql VOLATILE AS $$
  SELECT CASE WHEN current_setting('standin.target', true) = table_id::text
    THEN decode(nullif(current_setting('standin.context', true), ''), 'hex') END
$$;

-- NULL in a table that the statement cascades to.
CREATE FUNCTION standin.assigned(table_id int) RETURNS text LANGUAGE sql VOLATILE AS $$
  SELECT CASE WHEN current_setting('standin.target', true) = table_id::text THEN current_setting('standin.assigned', true) END
$$;

-- SYS_CHANGE_COLUMNS: four zero bytes, then each column id, little endian, in the order in which they were first assigned.
CREATE FUNCTION standin.mask(columns int[]) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT '\x00000000'::bytea || coalesce(string_agg(reverse(int4send(id)), ''::bytea ORDER BY place), ''::bytea)
  FROM (SELECT id, min(place) AS place FROM unnest(columns) WITH ORDINALITY AS u (id, place) GROUP BY id) AS ids
$$;

CREATE FUNCTION standin.column_in_mask(column_id int, mask bytea) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF mask IS NULL THEN
    RETURN true;
  END IF;
  IF length(mask) < 8 THEN
    RAISE EXCEPTION 'The value supplied for the change_columns argument of CHANGE_TRACKING_IS_COLUMN_IN_MASK function is not valid. The value must be a bitmask returned by the CHANGETABLE(CHANGES ...) function.'
      USING ERRCODE = 'MS000', DETAIL = '22101,16,1';
  END IF;
  RETURN EXISTS (
    SELECT FROM generate_series(4, length(mask) - 4, 4) AS at WHERE substr(mask, at + 1, 4) = reverse(int4send(column_id)));
END $$;

CREATE AGGREGATE standin.joined(anycompatiblearray) (sfunc = array_cat, stype = anycompatiblearray);

-- Clean-up: changes up to and with `upto` are forgotten, that version becomes the oldest valid one.
CREATE FUNCTION standin.clean(upto bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  target bigint := least(upto, standin.current_version());
  one int;
BEGIN
  FOR one IN SELECT object_id FROM standin.tracked LOOP
    EXECUTE format('DELETE FROM track.t%s s USING standin.commits c WHERE c.xdes_id = s.xdes_id AND c.commit_ts <= $1', one)
      USING target;
  END LOOP;
  UPDATE standin.tracked
    SET cleanup_version = greatest(cleanup_version, target), min_valid_version = greatest(min_valid_version, target);
  DELETE FROM standin.commits WHERE commit_ts <= target;
  UPDATE standin.cleaned SET version = greatest(version, target);
  RETURN target;
END $$;

-- The version that the last commit before a moment had.
CREATE FUNCTION standin.version_at(moment timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT max(commit_ts) FROM standin.commits WHERE commit_time < moment
$$;
