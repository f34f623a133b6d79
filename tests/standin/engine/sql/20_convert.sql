-- Conversions between SQL Server's types in their stored forms (engine/model.py), with the server's errors.
-- https://learn.microsoft.com/sql/t-sql/functions/cast-and-convert-transact-sql

-- Raises a server's error; errors.translate reads it.
CREATE FUNCTION standin.fail(number int, message text, severity int DEFAULT 16, state int DEFAULT 1) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'MS000', MESSAGE = message, DETAIL = number || ',' || severity || ',' || state;
END $$;

CREATE FUNCTION standin.refuse(what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN standin.fail(50000, what);
END $$;

-- TRY_CAST: `code` is an expression of $1, which it casts itself; null where it raises one of the server's errors.
CREATE FUNCTION standin.attempt(code text, value text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  result text;
  what text;
  detail text;
BEGIN
  IF value IS NULL THEN
    RETURN NULL;
  END IF;
  EXECUTE 'SELECT (' || code || ')::text' INTO result USING value;
  RETURN result;
EXCEPTION
  WHEN SQLSTATE 'MS000' THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, what = MESSAGE_TEXT;
    IF detail LIKE '50000,%' THEN
      PERFORM standin.refuse(what);
    END IF;
    RETURN NULL;
  WHEN numeric_value_out_of_range THEN
    RETURN NULL;
END $$;

-- Integers -------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION standin.within(value numeric, target text) RETURNS boolean LANGUAGE sql IMMUTABLE STRICT
RETURN CASE target
  WHEN 'tinyint' THEN value BETWEEN 0 AND 255
  WHEN 'smallint' THEN value BETWEEN -32768 AND 32767
  WHEN 'int' THEN value BETWEEN -2147483648 AND 2147483647
  ELSE value BETWEEN -9223372036854775808 AND 9223372036854775807 END;

CREATE FUNCTION standin.text_to_int(value text, target text, source text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  word text := btrim(value, E' \t\r\n');
  number numeric;
BEGIN
  IF word !~ '^[+-]?[0-9]*$' OR word IN ('+', '-') THEN
    IF target = 'bigint' THEN
      PERFORM standin.fail(8114, format('Error converting data type %s to bigint.', source), 16, 5);
    END IF;
    PERFORM standin.fail(245, format('Conversion failed when converting the %s value ''%s'' to data type %s.', source, value, target));
  END IF;
  number := coalesce(nullif(word, ''), '0')::numeric;
  IF NOT standin.within(number, target) THEN
    CASE target
      WHEN 'int' THEN PERFORM standin.fail(248, format('The conversion of the %s value ''%s'' overflowed an int column.', source, value));
      WHEN 'bigint' THEN PERFORM standin.fail(8114, format('Error converting data type %s to bigint.', source), 16, 5);
      ELSE PERFORM standin.fail(244, format('The conversion of the %s value ''%s'' overflowed an %s column. Use a larger integer column.',
        source, value, CASE target WHEN 'tinyint' THEN 'INT1' ELSE 'INT2' END));
    END CASE;
  END IF;
  RETURN number::int8;
END $$;

-- `whole`: the source is an integer; then tinyint and smallint have an error of their own.
CREATE FUNCTION standin.to_int(value numeric, target text, whole boolean) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  number numeric := trunc(value);
BEGIN
  IF NOT standin.within(number, target) THEN
    IF whole AND target IN ('tinyint', 'smallint') THEN
      PERFORM standin.fail(220, format('Arithmetic overflow error for data type %s, value = %s.', target, number), 16, 2);
    END IF;
    PERFORM standin.fail(8115, format('Arithmetic overflow error converting expression to data type %s.', target), 16, 2);
  END IF;
  RETURN number::int8;
END $$;

CREATE FUNCTION standin.float_to_int(value float8, target text) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF abs(value) < 9007199254740992 THEN
    RETURN standin.to_int(trunc(value)::int8::numeric, target, false);
  END IF;
  IF target <> 'bigint' OR value >= 9223372036854775808 OR value < -9223372036854775808 THEN
    PERFORM standin.fail(8115, format('Arithmetic overflow error converting expression to data type %s.', target), 16, 2);
  END IF;
  RETURN value::int8;
END $$;

CREATE FUNCTION standin.text_to_bit(value text, source text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  word text := lower(btrim(value, E' \t\r\n'));
BEGIN
  IF word IN ('true', 'false') THEN
    RETURN word = 'true';
  END IF;
  IF word !~ '^[+-]?[0-9]*$' OR word IN ('+', '-') THEN
    PERFORM standin.fail(245, format('Conversion failed when converting the %s value ''%s'' to data type bit.', source, value));
  END IF;
  RETURN coalesce(nullif(word, ''), '0')::numeric <> 0;
END $$;

-- Decimals, money, floats ------------------------------------------------------------------------------------------------------

CREATE FUNCTION standin.to_decimal(value numeric, digits int, places int, source text) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  rounded numeric := round(value, places);
BEGIN
  IF abs(rounded) >= (10::numeric ^ (digits - places)) THEN
    PERFORM standin.fail(8115, format('Arithmetic overflow error converting %s to data type numeric.', source), 16, 8);
  END IF;
  RETURN rounded;
END $$;

-- Quotients are cut, not rounded, at their scale.
CREATE FUNCTION standin.divide(a numeric, b numeric, digits int, places int) RETURNS numeric LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  RETURN standin.to_decimal(div(a * ('1e' || places)::numeric, b) * ('1e-' || places)::numeric, digits, places, 'numeric');
END $$;

CREATE FUNCTION standin.text_to_decimal(value text, digits int, places int, source text) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  word text := btrim(value, E' \t\r\n');
BEGIN
  IF word !~ '^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)$' THEN
    PERFORM standin.fail(8114, format('Error converting data type %s to numeric.', source), 16, 5);
  END IF;
  RETURN standin.to_decimal(word::numeric, digits, places, source);
END $$;

CREATE FUNCTION standin.to_money(value numeric, target text, source text) RETURNS numeric LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  rounded numeric := round(value, 4);
BEGIN
  IF NOT standin.within(rounded * 10000, CASE target WHEN 'money' THEN 'bigint' ELSE 'int' END) THEN
    PERFORM standin.fail(8115, format('Arithmetic overflow error converting %s to data type %s.', source, target), 16, 8);
  END IF;
  RETURN rounded;
END $$;

CREATE FUNCTION standin.text_to_money(value text, target text, source text) RETURNS numeric LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  word text := btrim(value, E' \t\r\n');
BEGIN
  IF word !~ '^([+-]?\$?|\$[+-])([0-9][0-9,]*)?(\.[0-9]*)?$' THEN
    PERFORM standin.fail(235, 'Cannot convert a char value to money. The char value has incorrect syntax.');
  END IF;
  word := translate(word, '$,', '');
  IF word !~ '[0-9]' THEN
    word := '0';
  END IF;
  RETURN standin.to_money(word::numeric, target, source);
END $$;

CREATE FUNCTION standin.text_to_float(value text, target text, source text) RETURNS float8 LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  word text := btrim(value, E' \t\r\n');
BEGIN
  IF word = '' THEN
    RETURN 0;
  END IF;
  IF word !~ '^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$' THEN
    PERFORM standin.fail(8114, format('Error converting data type %s to %s.', source, target), 16, 5);
  END IF;
  RETURN word::float8;
EXCEPTION WHEN numeric_value_out_of_range THEN
  PERFORM standin.fail(8115, format('Arithmetic overflow error converting expression to data type %s.', target), 16, 2);
END $$;

CREATE FUNCTION standin.to_real(value float8) RETURNS float4 LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  RETURN value::float4;
EXCEPTION WHEN numeric_value_out_of_range THEN
  IF abs(value) < 1 THEN
    RETURN 0;
  END IF;
  PERFORM standin.fail(8115, 'Arithmetic overflow error converting expression to data type real.', 16, 2);
END $$;

CREATE FUNCTION standin.float_to_numeric(value float8) RETURNS numeric LANGUAGE sql IMMUTABLE STRICT
RETURN to_char(value, '9.9999999999999999EEEE')::numeric;

-- Style 0: six digits at most; 1: 8, 2: 16, 3: 17 digits, always with an exponent, which has three digits.
CREATE FUNCTION standin.float_text(value float8, style int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  digits int := CASE style WHEN 0 THEN 6 WHEN 1 THEN 8 WHEN 2 THEN 16 WHEN 3 THEN 17 END;
  parts text[];
  exponent int;
BEGIN
  IF digits IS NULL THEN
    PERFORM standin.refuse('style ' || style || ' of a float');
  END IF;
  parts := regexp_match(to_char(value, '9.' || repeat('9', digits - 1) || 'EEEE'), '^ *(-?[0-9.]+)e([+-][0-9]+)$');
  exponent := parts[2]::int;
  IF style = 0 THEN
    IF exponent >= -4 AND exponent < 6 THEN
      RETURN trim_scale(round(standin.float_to_numeric(value), greatest(5 - exponent, 0)))::text;
    END IF;
    parts[1] := trim_scale(parts[1]::numeric)::text;
  END IF;
  RETURN parts[1] || 'e' || CASE WHEN exponent < 0 THEN '-' ELSE '+' END || lpad(abs(exponent)::text, 3, '0');
END $$;

CREATE FUNCTION standin.money_text(value numeric, style int) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  CASE
    WHEN style = 0 THEN RETURN round(value, 2)::text;
    WHEN style = 1 THEN RETURN btrim(to_char(round(value, 2), 'FM999,999,999,999,999,990.00'));
    WHEN style IN (2, 126) THEN RETURN round(value, 4)::text;
    ELSE RETURN standin.refuse('style ' || style || ' of money');
  END CASE;
END $$;

-- Text -------------------------------------------------------------------------------------------------------------------------

-- In UTF-16 units. Plane 15 holds single units: U+0000 and lone surrogates.
CREATE FUNCTION standin.units(value text) RETURNS int LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN octet_length(value) = char_length(value) THEN char_length(value)
  ELSE char_length(value) + regexp_count(value, '[\U00010000-\U000EFFFF\U00100000-\U0010FFFF]') END;

CREATE FUNCTION standin.plain(value text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF octet_length(value) <> char_length(value) AND value ~ '[\U00010000-\U000EFFFF\U00100000-\U0010FFFF]' THEN
    PERFORM standin.refuse('parts of texts with supplementary characters');
  END IF;
  RETURN value;
END $$;

CREATE FUNCTION standin.cut(value text, length int) RETURNS text LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN char_length(value) <= length AND standin.units(value) <= length THEN value
  ELSE "left"(standin.plain(value), length) END;

CREATE FUNCTION standin.pad(value text, length int) RETURNS text LANGUAGE sql IMMUTABLE STRICT
RETURN value || repeat(' ', length - standin.units(value));

-- A number's text: an integer that has no room is an asterisk, others raise 8115.
CREATE FUNCTION standin.number_text(value text, length int, source text, target text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF length = -1 OR char_length(value) <= length THEN
    RETURN value;
  END IF;
  IF source IN ('tinyint', 'smallint', 'int') THEN
    RETURN '*';
  END IF;
  RETURN standin.fail(8115, format('Arithmetic overflow error converting %s to data type %s.', source, target), 16, 2);
END $$;

-- What a code page cannot hold becomes a question mark per UTF-16 unit; letters have best fits, which are not emulated.
CREATE FUNCTION standin.to_page(value text, page text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  result text := '';
  letter text;
BEGIN
  IF octet_length(value) = char_length(value) OR page = 'UTF8' THEN
    RETURN value;
  END IF;
  FOREACH letter IN ARRAY regexp_split_to_array(value, '') LOOP
    BEGIN
      IF ascii(letter) <> x'F0000'::int THEN
        PERFORM convert_to(letter, page);
      END IF;
      result := result || letter;
    EXCEPTION WHEN untranslatable_character THEN
      IF ascii(letter) < x'2E80'::int OR ascii(letter) BETWEEN x'F900'::int AND x'FFEF'::int THEN
        PERFORM standin.refuse('the best fit of ' || letter || ' in ' || page);
      END IF;
      result := result || repeat('?', standin.units(letter));
    END;
  END LOOP;
  RETURN result;
END $$;

-- Storing: blanks at the end may be cut; anything else is error 2628.
CREATE FUNCTION standin.store_text(value text, length int, table_name text, column_name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  short text;
BEGIN
  IF standin.units(value) <= length THEN
    RETURN value;
  END IF;
  short := standin.cut(value, length);
  IF rtrim(value, ' ') = rtrim(short, ' ') THEN
    RETURN short;
  END IF;
  RETURN standin.fail(2628, format('String or binary data would be truncated in table ''%s'', column ''%s''. Truncated value: ''%s''.',
    table_name, column_name, short));
END $$;

CREATE FUNCTION standin.store_binary(value bytea, length int, table_name text, column_name text) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF octet_length(value) > length THEN
    PERFORM standin.fail(2628, format('String or binary data would be truncated in table ''%s'', column ''%s''. Truncated value: ''%s''.',
      table_name, column_name, ''));
  END IF;
  RETURN value;
END $$;

-- Binary -----------------------------------------------------------------------------------------------------------------------

CREATE FUNCTION standin.utf16(value text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  hex text := '';
  letter text;
  point int;
BEGIN
  IF value = '' THEN
    RETURN ''::bytea;
  END IF;
  FOREACH letter IN ARRAY regexp_split_to_array(value, '') LOOP
    point := ascii(letter);
    IF point BETWEEN x'F0000'::int AND x'FFFFF'::int THEN
      point := point - x'F0000'::int;
    ELSIF point > 65535 THEN
      point := point - 65536;
      hex := hex || standin.unit_hex(55296 + (point >> 10));
      point := 56320 + (point & 1023);
    END IF;
    hex := hex || standin.unit_hex(point);
  END LOOP;
  RETURN decode(hex, 'hex');
END $$;

CREATE FUNCTION standin.unit_hex(unit int) RETURNS text LANGUAGE sql IMMUTABLE STRICT
RETURN lpad(to_hex(unit & 255), 2, '0') || lpad(to_hex(unit >> 8), 2, '0');

CREATE FUNCTION standin.from_utf16(value bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  result text := '';
  place int := 0;
  unit int;
  low int;
BEGIN
  WHILE place + 1 < octet_length(value) LOOP
    unit := get_byte(value, place) + 256 * get_byte(value, place + 1);
    low := CASE WHEN place + 3 < octet_length(value) THEN get_byte(value, place + 2) + 256 * get_byte(value, place + 3) ELSE 0 END;
    place := place + 2;
    IF unit BETWEEN 55296 AND 56319 AND low BETWEEN 56320 AND 57343 THEN
      unit := 65536 + ((unit - 55296) << 10) + (low - 56320);
      place := place + 2;
    ELSIF unit = 0 OR unit BETWEEN 55296 AND 57343 THEN
      unit := unit + x'F0000'::int;
    END IF;
    result := result || chr(unit);
  END LOOP;
  RETURN result;
END $$;

CREATE FUNCTION standin.page_bytes(value text, page text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  result bytea := '';
  letter text;
BEGIN
  IF value !~ '\U000F0000' THEN
    RETURN convert_to(value, page);
  END IF;
  FOREACH letter IN ARRAY regexp_split_to_array(value, '') LOOP
    result := result || CASE WHEN ascii(letter) = x'F0000'::int THEN '\x00'::bytea ELSE convert_to(letter, page) END;
  END LOOP;
  RETURN result;
END $$;

CREATE FUNCTION standin.from_page(value bytea, page text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  result text := '';
BEGIN
  FOR place IN 0 .. octet_length(value) - 1 LOOP
    IF get_byte(value, place) = 0 THEN
      result := result || chr(x'F0000'::int);
    ELSIF get_byte(value, place) < 128 THEN
      result := result || chr(get_byte(value, place));
    ELSIF page = 'UTF8' THEN
      PERFORM standin.refuse('bytes as UTF-8 text');
    ELSE
      result := result || convert_from(substring(value FROM place + 1 FOR 1), page);
    END IF;
  END LOOP;
  RETURN result;
END $$;

-- Styles 1 (with 0x) and 2.
CREATE FUNCTION standin.hex_to_binary(value text, style int, source text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  hex text := CASE WHEN style = 1 AND value ~* '^0x' THEN substr(value, 3) WHEN style = 2 THEN value END;
BEGIN
  IF hex IS NULL OR hex !~ '^([0-9a-fA-F]{2})*$' THEN
    PERFORM standin.fail(8114, format('Error converting data type %s to varbinary.', source), 16, 5);
  END IF;
  RETURN decode(hex, 'hex');
END $$;

CREATE FUNCTION standin.fit_binary(value bytea, length int, fixed boolean) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN length = -1 THEN value
  WHEN octet_length(value) > length THEN substring(value FROM 1 FOR length)
  WHEN fixed THEN value || decode(repeat('00', length - octet_length(value)), 'hex')
  ELSE value END;

-- The last bytes; binary(n) is filled from the left.
CREATE FUNCTION standin.fit_number(value bytea, length int, fixed boolean) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN length = -1 THEN value
  WHEN octet_length(value) > length THEN substring(value FROM octet_length(value) - length + 1)
  WHEN fixed THEN decode(repeat('00', length - octet_length(value)), 'hex') || value
  ELSE value END;

CREATE FUNCTION standin.binary_to_int(value bytea, size int) RETURNS int8 LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  raw bytea := standin.fit_number(value, size, true);
  result numeric := 0;
BEGIN
  FOR place IN 0 .. size - 1 LOOP
    result := result * 256 + get_byte(raw, place);
  END LOOP;
  IF size > 1 AND get_byte(raw, 0) > 127 THEN
    result := result - 256::numeric ^ size;
  END IF;
  RETURN result::int8;
END $$;

-- uniqueidentifier: stored in the order of comparison; native is SQL Server's own order of bytes.
CREATE FUNCTION standin.guid_native(stored bytea) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT
RETURN substring(stored FROM 13 FOR 4) || substring(stored FROM 11 FOR 2) || substring(stored FROM 9 FOR 2)
  || substring(stored FROM 7 FOR 2) || substring(stored FROM 1 FOR 6);

CREATE FUNCTION standin.guid_stored(native bytea) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT
RETURN substring(native FROM 11 FOR 6) || substring(native FROM 9 FOR 2) || substring(native FROM 7 FOR 2)
  || substring(native FROM 5 FOR 2) || substring(native FROM 1 FOR 4);

CREATE FUNCTION standin.guid_text(stored bytea) RETURNS text LANGUAGE sql IMMUTABLE STRICT
RETURN upper(encode(reverse(substring(stored FROM 13 FOR 4)), 'hex') || '-' || encode(reverse(substring(stored FROM 11 FOR 2)), 'hex')
  || '-' || encode(reverse(substring(stored FROM 9 FOR 2)), 'hex') || '-' || encode(substring(stored FROM 7 FOR 2), 'hex')
  || '-' || encode(substring(stored FROM 1 FOR 6), 'hex'));

CREATE FUNCTION standin.text_to_guid(value text) RETURNS bytea LANGUAGE plpgsql IMMUTABLE STRICT AS $$
DECLARE
  word text := CASE WHEN value ~ '^\{.{36}\}' THEN substr(value, 2, 36) ELSE "left"(value, 36) END;
  plain bytea;
BEGIN
  IF word !~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' THEN
    PERFORM standin.fail(8169, 'Conversion failed when converting from a character string to uniqueidentifier.', 16, 2);
  END IF;
  plain := decode(replace(word, '-', ''), 'hex');
  RETURN substring(plain FROM 11 FOR 6) || substring(plain FROM 9 FOR 2) || reverse(substring(plain FROM 7 FOR 2))
    || reverse(substring(plain FROM 5 FOR 2)) || reverse(substring(plain FROM 1 FOR 4));
END $$;
