-- Dates and times: texts in storage, ticks of 100 ns since 0001-01-01 in between.

-- The local ticks of a stored text of any type of date or time; a time is on 1900-01-01.
CREATE FUNCTION standin.ticks(value text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  timed boolean := substr(value, 3, 1) = ':';
  day date := CASE WHEN timed THEN date '1900-01-01' ELSE "left"(value, 10)::date END;
  clock text := CASE WHEN timed THEN value ELSE substr(value, 12) END;
  result int8 := (day - date '0001-01-01')::int8 * 864000000000;
BEGIN
  IF clock = '' THEN
    RETURN result;
  END IF;
  RETURN result + (substr(clock, 1, 2)::int8 * 3600 + substr(clock, 4, 2)::int8 * 60 + substr(clock, 7, 2)::int8) * 10000000
    + rpad(coalesce(substring(clock FROM '^[0-9:]{8}\.([0-9]+)'), ''), 7, '0')::int8;
END $$;

-- Of a datetime: its milliseconds stand for 1/300 s.
CREATE FUNCTION standin.datetime_ticks(value text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  whole int8 := standin.ticks(value);
  units int8 := ((whole % 864000000000) * 3 + 50000) / 100000;
BEGIN
  RETURN whole - whole % 864000000000 + (units * 200000 + 3) / 6;
END $$;

CREATE FUNCTION standin.zone_minutes(value text) RETURNS int LANGUAGE sql IMMUTABLE STRICT
RETURN (substr("right"(value, 6), 2, 2)::int * 60 + "right"(value, 2)::int) * CASE WHEN substr("right"(value, 6), 1, 1) = '-' THEN -1 ELSE 1 END;

-- What a datetimeoffset is compared by.
CREATE FUNCTION standin.utc(value text) RETURNS int8 LANGUAGE sql IMMUTABLE STRICT
RETURN standin.ticks("left"(value, -7)) - standin.zone_minutes(value)::int8 * 600000000;

CREATE FUNCTION standin.day_text(ticks int8) RETURNS text LANGUAGE sql IMMUTABLE STRICT
RETURN to_char(date '0001-01-01' + (ticks / 864000000000)::int, 'YYYY-MM-DD');

-- The value of a type, rounded as the server rounds. `zone`: of a datetimeoffset, such as +02:00.
CREATE FUNCTION standin.time_value(ticks int8, target text, places int, source text, zone text DEFAULT '+00:00') RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  unit int8 := CASE WHEN target IN ('datetime', 'smalldatetime', 'date') THEN 1 ELSE (10 ^ (7 - places))::int8 END;
  units int8 := ((ticks % 864000000000) * 3 + 50000) / 100000;
  rounded int8 := ticks;
  seconds int8;
  clock text;
BEGIN
  IF target = 'date' THEN
    RETURN standin.day_text(ticks);
  ELSIF target = 'datetime' THEN
    rounded := ticks - ticks % 864000000000 + (units * 10 + 1) / 3 * 10000;
  ELSIF target = 'smalldatetime' THEN
    rounded := ticks - ticks % 864000000000 + (units + 9000) / 18000 * 600000000;
  ELSE
    rounded := (ticks + unit / 2) / unit * unit;
  END IF;
  IF rounded >= 3155378976000000000 OR (target = 'time' AND rounded / 864000000000 <> ticks / 864000000000) THEN
    PERFORM standin.refuse('a ' || target || ' that rounds beyond its range');
  END IF;
  IF (target = 'datetime' AND rounded < 552877920000000000)
    OR (target = 'smalldatetime' AND rounded NOT BETWEEN 599266080000000000 AND 655887455999999999) THEN
    PERFORM standin.fail(242, format('The conversion of a %s data type to a %s data type resulted in an out-of-range value.', source, target), 16, 3);
  END IF;
  seconds := rounded % 864000000000 / 10000000;
  clock := lpad((seconds / 3600)::text, 2, '0') || ':' || lpad((seconds / 60 % 60)::text, 2, '0') || ':' || lpad((seconds % 60)::text, 2, '0');
  IF target = 'datetime' THEN
    clock := clock || '.' || lpad((rounded % 10000000 / 10000)::text, 3, '0');
  ELSIF target <> 'smalldatetime' AND places > 0 THEN
    clock := clock || '.' || "left"(lpad((rounded % 10000000)::text, 7, '0'), places);
  END IF;
  RETURN CASE target WHEN 'time' THEN clock
    WHEN 'datetimeoffset' THEN standin.day_text(rounded) || ' ' || clock || ' ' || zone
    ELSE standin.day_text(rounded) || ' ' || clock END;
END $$;

CREATE FUNCTION standin.text_to_time(value text, target text, places int, source text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  part text[] := regexp_match(value, '^\s*(?:(\d{4})-?(\d{2})-?(\d{2}))?(?:(?:\s+|[tT])?(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,7}))?)?)?\s*([zZ]|[+-]\d{2}:\d{2})?\s*$');
  number int := CASE target WHEN 'smalldatetime' THEN 295 ELSE 241 END;
  failed text := CASE target WHEN 'smalldatetime' THEN 'Conversion failed when converting character string to smalldatetime data type.'
    ELSE 'Conversion failed when converting date and/or time from character string.' END;
  zone text;
  day date := date '1900-01-01';
BEGIN
  IF part IS NULL OR (btrim(value) <> '' AND part[1] IS NULL AND part[4] IS NULL) THEN
    IF value ~* '[a-z]{3,}|[./]|\d[ap]m|-\d{1,2}-\d{4}' THEN
      PERFORM standin.refuse('dates written by language or with other separators');
    END IF;
    PERFORM standin.fail(number, failed);
  END IF;
  IF part[8] IS NOT NULL AND target <> 'datetimeoffset' THEN
    PERFORM standin.refuse('a time zone in a text that becomes ' || target);
  END IF;
  IF target IN ('datetime', 'smalldatetime') AND length(part[7]) > 3 THEN
    PERFORM standin.fail(number, failed);
  END IF;
  BEGIN
    IF part[1] IS NOT NULL THEN
      day := make_date(part[1]::int, part[2]::int, part[3]::int);
    END IF;
    PERFORM make_time(coalesce(part[4], '0')::int, coalesce(part[5], '0')::int, coalesce(part[6], '0')::int);
    IF coalesce(part[4], '0')::int > 23 OR coalesce(part[6], '0')::int > 59 THEN
      RAISE datetime_field_overflow;
    END IF;
  EXCEPTION WHEN datetime_field_overflow THEN
    IF target IN ('datetime', 'smalldatetime') THEN
      PERFORM standin.fail(242, format('The conversion of a %s data type to a %s data type resulted in an out-of-range value.', source, target), 16, 3);
    END IF;
    PERFORM standin.fail(number, failed);
  END;
  zone := CASE WHEN part[8] IS NULL OR upper(part[8]) = 'Z' THEN '+00:00' ELSE part[8] END;
  RETURN standin.time_value((day - date '0001-01-01')::int8 * 864000000000
    + (coalesce(part[4], '0')::int8 * 3600 + coalesce(part[5], '0')::int8 * 60 + coalesce(part[6], '0')::int8) * 10000000
    + rpad(coalesce(part[7], ''), 7, '0')::int8, target, places, source, zone);
END $$;

-- Text of a date or time in a style.
CREATE FUNCTION standin.time_text(value text, source text, style int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  has_day boolean := source <> 'time';
  has_clock boolean := source <> 'date';
  zone text := CASE source WHEN 'datetimeoffset' THEN "right"(value, 6) ELSE '' END;
  bare text := CASE source WHEN 'datetimeoffset' THEN "left"(value, -7) ELSE value END;
  day text := CASE WHEN has_day THEN "left"(bare, 10) ELSE '' END;
  clock text := CASE WHEN NOT has_clock THEN '' WHEN has_day THEN substr(bare, 12) ELSE bare END;
  hour int := nullif("left"(clock, 2), '')::int;
BEGIN
  IF source = 'smalldatetime' AND style IN (21, 25, 121, 114, 14) THEN
    clock := clock || '.000';
  END IF;
  IF style = 0 AND source IN ('date', 'time', 'datetime2', 'datetimeoffset') THEN
    RETURN value;
  END IF;
  CASE
    WHEN style IN (0, 100) AND has_day AND has_clock AND zone = '' THEN
      RETURN to_char(day::date, 'Mon') || ' ' || lpad(ltrim("right"(day, 2), '0'), 2) || ' ' || "left"(day, 4) || ' '
        || lpad((CASE WHEN hour % 12 = 0 THEN 12 ELSE hour % 12 END)::text, 2) || substr(clock, 3, 3) || CASE WHEN hour < 12 THEN 'AM' ELSE 'PM' END;
    WHEN style IN (20, 120) THEN
      RETURN btrim(btrim(day || ' ' || "left"(clock, 8)) || ' ' || zone);
    WHEN style IN (21, 25, 121) THEN
      RETURN btrim(btrim(day || ' ' || clock) || ' ' || zone);
    WHEN style = 23 AND has_day THEN RETURN day;
    WHEN style = 112 AND has_day THEN RETURN replace(day, '-', '');
    WHEN style IN (8, 24, 108) AND has_clock THEN RETURN "left"(clock, 8);
    WHEN style IN (14, 114) AND has_clock THEN RETURN replace(clock, '.', ':');
    WHEN style = 126 OR (style = 127 AND zone = '') THEN
      RETURN day || CASE WHEN has_day AND has_clock THEN 'T' ELSE '' END || regexp_replace(clock, '\.0+$', '') || zone;
    WHEN style = 127 THEN
      bare := standin.time_value(standin.utc(value), 'datetime2', greatest(length(clock) - 9, 0), source);
      RETURN "left"(bare, 10) || 'T' || regexp_replace(substr(bare, 12), '\.0+$', '') || 'Z';
    ELSE
      RETURN standin.refuse('style ' || style || ' of ' || source);
  END CASE;
END $$;

CREATE FUNCTION standin.part(name text, value text, exact int8) RETURNS int LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  day date := date '0001-01-01' + (exact / 864000000000)::int;
  rest int8 := exact % 864000000000;
BEGIN
  RETURN CASE name
    WHEN 'year' THEN extract(year FROM day)
    WHEN 'quarter' THEN extract(quarter FROM day)
    WHEN 'month' THEN extract(month FROM day)
    WHEN 'dayofyear' THEN extract(doy FROM day)
    WHEN 'day' THEN extract(day FROM day)
    WHEN 'weekday' THEN extract(dow FROM day) + 1
    WHEN 'hour' THEN rest / 36000000000
    WHEN 'minute' THEN rest / 600000000 % 60
    WHEN 'second' THEN rest / 10000000 % 60
    WHEN 'millisecond' THEN rest % 10000000 / 10000
    WHEN 'microsecond' THEN rest % 10000000 / 10
    WHEN 'nanosecond' THEN rest % 10000000 * 100
    WHEN 'tzoffset' THEN CASE WHEN value ~ ' [+-]\d\d:\d\d$' THEN standin.zone_minutes(value) ELSE 0 END
  END;
END $$;

CREATE FUNCTION standin.unit_ticks(name text) RETURNS int8 LANGUAGE sql IMMUTABLE STRICT
RETURN CASE name WHEN 'week' THEN 6048000000000 WHEN 'day' THEN 864000000000 WHEN 'dayofyear' THEN 864000000000
  WHEN 'weekday' THEN 864000000000 WHEN 'hour' THEN 36000000000 WHEN 'minute' THEN 600000000 WHEN 'second' THEN 10000000
  WHEN 'millisecond' THEN 10000 WHEN 'microsecond' THEN 10 END;

CREATE FUNCTION standin.dateadd(name text, number int8, exact int8, target text, places int, zone text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  months int8 := CASE name WHEN 'year' THEN 12 WHEN 'quarter' THEN 3 WHEN 'month' THEN 1 END * number;
  result numeric;
BEGIN
  IF months IS NOT NULL THEN
    IF abs(months) < 120000 THEN
      result := ((date '0001-01-01' + (exact / 864000000000)::int + make_interval(months => months::int))::date - date '0001-01-01')::numeric
        * 864000000000 + exact % 864000000000;
    END IF;
  ELSIF name = 'nanosecond' THEN
    result := exact + round(number::numeric / 100);
  ELSE
    result := exact + number::numeric * standin.unit_ticks(name);
  END IF;
  IF result IS NULL OR result < 0 OR result >= 3155378976000000000 OR (target = 'datetime' AND result < 552877920000000000) THEN
    PERFORM standin.fail(517, format('Adding a value to a ''%s'' column caused an overflow.', target));
  END IF;
  IF target = 'time' THEN
    result := 599266080000000000 + mod(mod(result - 599266080000000000, 864000000000) + 864000000000, 864000000000);
  END IF;
  RETURN standin.time_value(result::int8, target, places, target, zone);
END $$;

CREATE FUNCTION standin.datediff(name text, low int8, high int8) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  a date := date '0001-01-01' + (low / 864000000000)::int;
  b date := date '0001-01-01' + (high / 864000000000)::int;
  unit int8 := standin.unit_ticks(name);
BEGIN
  RETURN CASE name
    WHEN 'year' THEN extract(year FROM b) - extract(year FROM a)
    WHEN 'quarter' THEN (extract(year FROM b) - extract(year FROM a)) * 4 + extract(quarter FROM b) - extract(quarter FROM a)
    WHEN 'month' THEN (extract(year FROM b) - extract(year FROM a)) * 12 + extract(month FROM b) - extract(month FROM a)
    WHEN 'week' THEN ((b - date '0001-01-07') + 7) / 7 - ((a - date '0001-01-07') + 7) / 7
    WHEN 'nanosecond' THEN (high - low) * 100
    ELSE high / unit - low / unit END;
END $$;

CREATE FUNCTION standin.datediff_int(name text, low int8, high int8) RETURNS int4 LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  result int8 := standin.datediff(name, low, high);
BEGIN
  IF result NOT BETWEEN -2147483648 AND 2147483647 THEN
    PERFORM standin.fail(535, 'The datediff function resulted in an overflow. The number of dateparts separating two date/time instances '
      'is too large. Try to use datediff with a less precise datepart.', 16, 0);
  END IF;
  RETURN result;
END $$;
