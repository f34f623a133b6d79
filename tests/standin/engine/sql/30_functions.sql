-- Built-in functions on text, sql_variant, hierarchyid and points.

-- `fold`: 'ci' or 'cs'. Positions count UTF-16 units as long as there are no supplementary characters; with them it is refused.
CREATE FUNCTION standin.cased(value text, fold text) RETURNS text LANGUAGE sql IMMUTABLE STRICT
RETURN CASE fold WHEN 'ci' THEN lower(value) ELSE value END;

CREATE FUNCTION standin.substring(value text, start int8, length int8) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF length < 0 THEN
    PERFORM standin.fail(537, 'Invalid length parameter passed to the LEFT or SUBSTRING function.', 16, 3);
  END IF;
  IF start + length <= 1 THEN
    RETURN '';
  END IF;
  RETURN substr(standin.plain(value), greatest(start, 1)::int, least(start + length - greatest(start, 1), 2147483647)::int);
END $$;

CREATE FUNCTION standin.substring(value bytea, start int8, length int8) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF length < 0 THEN
    PERFORM standin.fail(537, 'Invalid length parameter passed to the LEFT or SUBSTRING function.', 16, 3);
  END IF;
  IF start + length <= 1 THEN
    RETURN '';
  END IF;
  RETURN substr(value, greatest(start, 1)::int, least(start + length - greatest(start, 1), 2147483647)::int);
END $$;

CREATE FUNCTION standin."left"(value text, length int8) RETURNS text LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN length < 0 THEN standin.fail(537, 'Invalid length parameter passed to the LEFT or SUBSTRING function.', 16, 3)
  ELSE "left"(standin.plain(value), least(length, 2147483647)::int) END;

CREATE FUNCTION standin."right"(value text, length int8) RETURNS text LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN length < 0 THEN standin.fail(536, 'Invalid length parameter passed to the right function.', 16, 6)
  WHEN length = 0 THEN '' ELSE "right"(standin.plain(value), least(length, 2147483647)::int) END;

CREATE FUNCTION standin.charindex(find text, value text, start int8, fold text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  first int := greatest(least(start, 2147483647), 1)::int;
  place int := strpos(substr(standin.cased(standin.plain(value), fold), first), standin.cased(find, fold));
BEGIN
  RETURN CASE WHEN find = '' OR place = 0 THEN 0 ELSE place + first - 1 END;
END $$;

CREATE FUNCTION standin.replace(value text, find text, put text, fold text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  rest text := value;
  result text := '';
  place int;
BEGIN
  IF find = '' THEN
    RETURN value;
  END IF;
  LOOP
    place := strpos(standin.cased(rest, fold), standin.cased(find, fold));
    EXIT WHEN place = 0;
    result := result || "left"(rest, place - 1) || put;
    rest := substr(rest, place + length(find));
  END LOOP;
  RETURN result || rest;
END $$;

CREATE FUNCTION standin.replicate(value text, times int8) RETURNS text LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN times < 0 THEN NULL ELSE repeat(value, times::int) END;

CREATE FUNCTION standin.quotename(value text, mark text) RETURNS text LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN char_length(value) > 128 THEN NULL
  WHEN mark IN ('[', ']', '') THEN '[' || replace(value, ']', ']]') || ']'
  WHEN mark IN ('''', '"') THEN mark || replace(value, mark, mark || mark) || mark
  WHEN mark IN ('(', ')') THEN '(' || replace(value, ')', '))') || ')'
  WHEN mark IN ('<', '>') THEN '<' || replace(value, '>', '>>') || '>'
  WHEN mark IN ('{', '}') THEN '{' || replace(value, '}', '}}') || '}'
  WHEN mark = '`' THEN '`' || replace(value, '`', '``') || '`' END;

-- The code point of the first UTF-16 unit.
CREATE FUNCTION standin.unicode(value text) RETURNS int LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN value = '' THEN NULL
  WHEN ascii(value) BETWEEN x'F0000'::int AND x'FFFFF'::int THEN ascii(value) - x'F0000'::int
  WHEN ascii(value) > 65535 THEN 55296 + ((ascii(value) - 65536) >> 10) ELSE ascii(value) END;

CREATE FUNCTION standin.nchar(point int8) RETURNS text LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN point = 0 OR point BETWEEN 55296 AND 57343 THEN chr((point + x'F0000'::int)::int)
  WHEN point BETWEEN 1 AND 65535 THEN chr(point::int) END;

CREATE FUNCTION standin."char"(code int8, page text) RETURNS text LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN code BETWEEN 0 AND 255 THEN standin.from_page(set_byte('\x00'::bytea, 0, code::int), page) END;

CREATE FUNCTION standin.ascii(value text, page text) RETURNS int LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN value = '' THEN NULL ELSE get_byte(standin.page_bytes("left"(value, 1), page), 0) END;

-- A pattern of LIKE as a regular expression.
CREATE FUNCTION standin.like_pattern(pattern text, fold text, tail boolean) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  source text := standin.cased(pattern, fold);
  result text := '^';
  place int := 1;
  letter text;
  close int;
  body text;
BEGIN
  IF tail THEN
    source := rtrim(source, ' ');
  END IF;
  WHILE place <= length(source) LOOP
    letter := substr(source, place, 1);
    IF letter = '%' THEN
      result := result || '.*';
    ELSIF letter = '_' THEN
      result := result || '.';
    ELSIF letter = '[' THEN
      close := strpos(substr(source, place + 2), ']');
      IF close = 0 OR substr(source, place + 1, 1) = ']' THEN
        RETURN '$.^';
      END IF;
      body := substr(source, place + 1, close);
      place := place + close + 1;
      IF body IN ('^', '^^', '\') THEN
        body := '\' || "right"(body, 1);
        result := result || body;
      ELSE
        result := result || '[' || regexp_replace(regexp_replace(body, '([\\\[])', '\\\1', 'g'), '(?!^)\^', '\^', 'g') || ']';
      END IF;
    ELSE
      result := result || regexp_replace(letter, '([^[:alnum:][:space:]])', '\\\1');
    END IF;
    place := place + 1;
  END LOOP;
  RETURN result || CASE WHEN tail THEN ' *$' ELSE '$' END;
END $$;

-- Hashes of CHECKSUM and BINARY_CHECKSUM: equal for equal values, but not the numbers of SQL Server.
CREATE FUNCTION standin.checksum(VARIADIC parts text[]) RETURNS int LANGUAGE sql IMMUTABLE
RETURN hashtext(array_to_string(parts, U&'\0001', U&'\0002'));

-- sql_variant: [type, length, precision, scale, text (hex of bytes), collation of text] -----------------------------------------

CREATE FUNCTION standin.variant(name text, length int, digits int, places int, value text, collation_name text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN value IS NULL THEN NULL WHEN collation_name = '' THEN json_build_array(name, length, digits, places, value)::text
  ELSE json_build_array(name, length, digits, places, value, collation_name)::text END;

CREATE FUNCTION standin.variant_property(value text, property text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  base text := value::jsonb ->> 0;
  size int := (value::jsonb ->> 1)::int;
  digits int := (value::jsonb ->> 2)::int;
  places int := (value::jsonb ->> 3)::int;
  times boolean := base IN ('time', 'datetime2', 'datetimeoffset');
  number int;
BEGIN
  CASE lower(property)
    WHEN 'basetype' THEN
      RETURN standin.variant('nvarchar', 128, 0, 0, base, 'SQL_Latin1_General_CP1_CI_AS');
    WHEN 'collation' THEN
      RETURN standin.variant('nvarchar', 128, 0, 0, value::jsonb ->> 5, 'SQL_Latin1_General_CP1_CI_AS');
    WHEN 'precision' THEN
      number := CASE base WHEN 'decimal' THEN digits WHEN 'bit' THEN 1 WHEN 'tinyint' THEN 3 WHEN 'smallint' THEN 5 WHEN 'int' THEN 10
        WHEN 'bigint' THEN 19 WHEN 'money' THEN 19 WHEN 'smallmoney' THEN 10 WHEN 'float' THEN 53 WHEN 'real' THEN 24 WHEN 'date' THEN 10
        WHEN 'smalldatetime' THEN 16 WHEN 'datetime' THEN 23 ELSE 0 END;
      IF times THEN
        number := CASE base WHEN 'time' THEN 8 WHEN 'datetime2' THEN 19 ELSE 26 END + CASE places WHEN 0 THEN 0 ELSE places + 1 END;
      END IF;
    WHEN 'scale' THEN
      number := CASE WHEN base = 'decimal' OR times THEN places WHEN base IN ('money', 'smallmoney') THEN 4 WHEN base = 'datetime' THEN 3 ELSE 0 END;
    WHEN 'maxlength' THEN
      number := CASE WHEN base IN ('nchar', 'nvarchar') THEN 2 * size WHEN base IN ('char', 'varchar', 'binary', 'varbinary') THEN size
        WHEN base = 'decimal' THEN CASE WHEN digits <= 9 THEN 5 WHEN digits <= 19 THEN 9 WHEN digits <= 28 THEN 13 ELSE 17 END
        WHEN base IN ('bit', 'tinyint') THEN 1 WHEN base = 'smallint' THEN 2 WHEN base IN ('int', 'real', 'smallmoney', 'smalldatetime') THEN 4
        WHEN base = 'date' THEN 3 WHEN base = 'uniqueidentifier' THEN 16
        WHEN times THEN CASE WHEN places <= 2 THEN 3 WHEN places <= 4 THEN 4 ELSE 5 END
          + CASE base WHEN 'time' THEN 0 WHEN 'datetime2' THEN 3 ELSE 5 END
        ELSE 8 END;
    ELSE
      PERFORM standin.refuse('SQL_VARIANT_PROPERTY of ' || property);
  END CASE;
  RETURN standin.variant('int', 0, 0, 0, number::text, '');
END $$;

-- CONVERT(varchar, v, style): as the base type would be.
CREATE FUNCTION standin.variant_text(value text, style int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  base text := value::jsonb ->> 0;
  word text := value::jsonb ->> 4;
BEGIN
  CASE
    WHEN base IN ('char', 'varchar', 'nchar', 'nvarchar', 'bit', 'tinyint', 'smallint', 'int', 'bigint', 'decimal') THEN RETURN word;
    WHEN base IN ('money', 'smallmoney') THEN RETURN standin.money_text(word::numeric, style);
    WHEN base IN ('float', 'real') THEN RETURN standin.float_text(word::float8, style);
    WHEN base = 'uniqueidentifier' THEN RETURN standin.guid_text(decode(word, 'hex'));
    WHEN base IN ('binary', 'varbinary') AND style IN (1, 2) THEN RETURN CASE style WHEN 1 THEN '0x' ELSE '' END || upper(word);
    WHEN base IN ('date', 'time', 'smalldatetime', 'datetime', 'datetime2', 'datetimeoffset') THEN RETURN standin.time_text(word, base, style);
    ELSE RETURN standin.refuse('a sql_variant of ' || base || ' as text in style ' || style);
  END CASE;
END $$;

-- The text of the target's PostgreSQL form.
CREATE FUNCTION standin.variant_as(value text, target text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  base text := value::jsonb ->> 0;
  word text := value::jsonb ->> 4;
  whole text[] := ARRAY['tinyint', 'smallint', 'int', 'bigint'];
BEGIN
  IF target = 'varbinary' AND base IN ('binary', 'varbinary') THEN
    RETURN '\x' || word;
  ELSIF target = 'varbinary' AND base = 'uniqueidentifier' THEN
    RETURN standin.guid_native(decode(word, 'hex'))::text;
  ELSIF target = base THEN
    RETURN CASE WHEN base IN ('uniqueidentifier', 'binary') THEN '\x' || word ELSE word END;
  ELSIF base = ANY (whole) AND target = ANY (whole) THEN
    RETURN standin.to_int(word::numeric, target, true)::text;
  ELSIF target IN ('decimal', 'float') AND (base = ANY (whole) OR base IN ('decimal', 'money', 'smallmoney', 'real', 'float')) THEN
    RETURN word;
  END IF;
  RETURN standin.refuse('a sql_variant of ' || base || ' as ' || target);
END $$;

-- hierarchyid ------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION standin.hierarchy(path text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF path !~ '^/(-?[0-9]+(\.-?[0-9]+)*/)*$' THEN
    PERFORM standin.fail(6522, 'A .NET Framework error occurred during execution of user-defined routine or aggregate "hierarchyid": '
      '24001: SqlHierarchyId.Parse failed because the input string ''' || path || ''' is not a valid string representation of a SqlHierarchyId node.', 16, 2);
  END IF;
  RETURN path;
END $$;

-- What it is ordered by: depth first.
CREATE FUNCTION standin.hierarchy_key(path text) RETURNS numeric[] LANGUAGE sql IMMUTABLE STRICT
RETURN CASE path WHEN '/' THEN '{}'::numeric[]
  ELSE string_to_array(replace(replace(btrim(path, '/'), '.', ',1,'), '/', ',0,') || ',0', ',')::numeric[] END;

-- Points: [srid, WKB little-endian in hex] --------------------------------------------------------------------------------------

CREATE FUNCTION standin.ordinate(wkb bytea, place int) RETURNS float8 LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  raw bytea := reverse(substring(wkb FROM 6 + 8 * place FOR 8));
  bits int8 := standin.binary_to_int(raw, 8);
  exponent int := ((bits >> 52) & 2047)::int;
  mantissa int8 := bits & 4503599627370495;
  result float8;
BEGIN
  IF octet_length(raw) < 8 THEN
    RETURN NULL;
  END IF;
  IF exponent = 0 THEN
    result := mantissa::float8 * 2::float8 ^ -1074;
  ELSE
    result := (mantissa + 4503599627370496)::float8 * 2::float8 ^ greatest(exponent - 1075, -1000);
  END IF;
  RETURN CASE WHEN bits < 0 THEN -result ELSE result END;
END $$;

CREATE FUNCTION standin.point(wkb bytea, srid int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF NOT (encode(wkb, 'hex') ~ '^01(01000000.{32}|e9030000.{48}|d1070000.{48}|b90b0000.{64})$') THEN
    PERFORM standin.refuse('spatial values other than points');
  END IF;
  RETURN json_build_array(srid, encode(wkb, 'hex'))::text;
END $$;

CREATE FUNCTION standin.point_from_text(wkt text, srid int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  found text[] := regexp_match(upper(wkt), '^\s*POINT\s*\(\s*([-+0-9.E]+)\s+([-+0-9.E]+)(?:\s+([-+0-9.E]+))?(?:\s+([-+0-9.E]+))?\s*\)\s*$');
  body text := '';
BEGIN
  IF found IS NULL THEN
    PERFORM standin.refuse('spatial values other than points');
  END IF;
  FOR place IN 1 .. 4 LOOP
    IF found[place] IS NOT NULL THEN
      body := body || encode(reverse(float8send(found[place]::float8)), 'hex');
    END IF;
  END LOOP;
  RETURN json_build_array(srid, '01' || CASE WHEN found[4] IS NOT NULL THEN 'b90b0000' WHEN found[3] IS NOT NULL THEN 'e9030000' ELSE '01000000' END
    || body)::text;
END $$;

CREATE FUNCTION standin.point_binary(value text, full_form boolean) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN full_form THEN decode(value::jsonb ->> 1, 'hex') ELSE decode('0101000000' || substr(value::jsonb ->> 1, 11, 32), 'hex') END;

CREATE FUNCTION standin.point_text(value text, full_form boolean) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  wkb bytea := decode(value::jsonb ->> 1, 'hex');
  kind text := encode(substring(wkb FROM 2 FOR 4), 'hex');
  result text := standin.ordinate(wkb, 0)::text || ' ' || standin.ordinate(wkb, 1)::text;
BEGIN
  IF full_form AND kind <> '01000000' THEN
    result := result || CASE kind WHEN 'd1070000' THEN ' NULL ' ELSE ' ' END || standin.ordinate(wkb, 2)::text
      || coalesce(' ' || standin.ordinate(wkb, 3)::text, '');
  END IF;
  RETURN 'POINT (' || result || ')';
END $$;
