"""Keys, triggers and statements as text."""

from __future__ import annotations

import pytest

from cdc.sources.sqlite import statements
from cdc.sources.sqlite.statements import KeyTerm, Reading
from cdc.sources.sqlite.structure import ColumnInfo, IndexInfo, Key, KeyColumn, NoKey, TableInfo, Term, key_of
from cdc.sources.sqlite.tracking import seal, triggers, widen


def column(name: str, declared: str = "TEXT", *, notnull: bool = False, pk: int = 0) -> ColumnInfo:
    return ColumnInfo(name, declared, notnull, pk, generated=False)


def index(
    name: str, *names: str, origin: str = "u", collation: str = "BINARY", partial: bool = False, sql: str = ""
) -> IndexInfo:
    return IndexInfo(name, origin, partial, tuple(Term(n, descending=False, collation=collation) for n in names), sql)


def table(*columns: ColumnInfo, unique: tuple[IndexInfo, ...] = (), without_rowid: bool = False) -> TableInfo:
    return TableInfo("t", "table", without_rowid, columns, unique, "")


PLAIN = table(column("id", "INTEGER", pk=1), column("u"), unique=(index("u", "u"),))


def test_an_integer_primary_key_is_the_rowid_and_never_null() -> None:
    assert PLAIN.alias == PLAIN.rowid == "id"
    assert key_of(PLAIN, ()) == Key((KeyColumn("id", "BINARY", descending=False, nullable=False),))


def test_an_integer_primary_key_with_an_index_of_its_own_is_no_rowid() -> None:
    """INTEGER PRIMARY KEY DESC: https://www.sqlite.org/lang_createtable.html#rowid."""
    info = table(column("id", "INTEGER", pk=1), unique=(index("a", "id", origin="pk"),))
    assert (info.alias, info.rowid) == ("", "rowid")
    assert key_of(info, ()).columns[0].nullable


def test_a_rowid_hidden_by_columns_is_reached_by_another_name_or_not_at_all() -> None:
    assert table(column("RowId"), column("oid")).rowid == "_rowid_"
    assert table(column("rowid"), column("oid"), column("_ROWID_")).rowid == ""
    assert table(column("a"), without_rowid=True).rowid == ""


def test_a_primary_key_keeps_its_own_order_and_its_index_tells_the_collation() -> None:
    pk = index("pk", "b", "a", origin="pk", collation="NOCASE")
    info = table(column("a", notnull=True, pk=2), column("b", pk=1), unique=(index("other", "a", "b"), pk))
    assert [(k.name, k.collation, k.nullable) for k in key_of(info, ()).columns] == [
        ("b", "NOCASE", True),
        ("a", "NOCASE", False),
    ]


@pytest.mark.parametrize("wanted", [("nothing",), ("u", "u"), ("p",), ("id", "u")])
def test_a_key_that_nothing_makes_unique_is_refused(wanted: tuple[str, ...]) -> None:
    info = table(
        column("id", "INTEGER", pk=1), column("u"), column("p"), unique=(index("u", "u"), index("p", "p", partial=True))
    )
    with pytest.raises(NoKey):
        key_of(info, wanted)


def test_a_table_without_a_primary_key_says_which_keys_there_are() -> None:
    with pytest.raises(NoKey, match=r'key = \["u"\]'):
        key_of(table(column("u"), unique=(index("u", "u"),)), ())
    with pytest.raises(NoKey, match="needs a unique index"):
        key_of(table(column("u")), ())


def test_a_table_with_nothing_unique_but_its_key_has_no_triggers_before_writes() -> None:
    found = [t.name for t in triggers(3, table(column("id", "INTEGER", pk=1)), key_of(PLAIN, ()))]
    assert found == ["_cdc_3_ai", "_cdc_3_ad", "_cdc_3_au"]
    assert seal(3).name == "_cdc_3_seal"


def test_triggers_before_writes_look_through_each_other_unique_index() -> None:
    before = {t.name: t.sql for t in triggers(3, PLAIN, key_of(PLAIN, ()))}["_cdc_3_bi"]
    assert before == (
        'CREATE TRIGGER _cdc_3_bi BEFORE INSERT ON "t" BEGIN INSERT INTO _cdc_log(tbl, k1) '
        'SELECT 3, "id" FROM "t" WHERE "u" = NEW."u" COLLATE "BINARY"; END'
    )


def test_an_expression_without_text_is_refused_rather_than_left_out() -> None:
    odd = table(column("id", "INTEGER", pk=1), unique=(IndexInfo("i", "c", False, (Term(None, False, "BINARY"),), ""),))
    with pytest.raises(ValueError, match="expression"):
        triggers(1, odd, key_of(odd, ()))


def test_the_log_grows_by_what_is_missing() -> None:
    assert widen(2, 4) == ["ALTER TABLE _cdc_log ADD COLUMN k3", "ALTER TABLE _cdc_log ADD COLUMN k4"]
    assert widen(4, 2) == []


def reading(*ways: bool, collation: str = "BINARY", filter_: str = "") -> Reading:
    key = tuple(KeyTerm(f"k{i}", collation, "BINARY", down) for i, down in enumerate(ways))
    return Reading("t", key, (), tuple(k.name for k in key), filter_)


def test_a_page_compares_row_values_where_the_key_runs_one_way() -> None:
    assert 'WHERE ("k0", "k1") > (?, ?) ORDER BY "k0", "k1" LIMIT' in statements.page(reading(False, False), ["?", "?"])
    assert 'WHERE ("k0", "k1") < (?, ?) ORDER BY "k0" DESC, "k1" DESC' in statements.page(reading(True, True), ["?", "?"])
    assert 'WHERE "k0" > CAST(? AS TEXT) ORDER BY "k0"' in statements.page(reading(False), ["CAST(? AS TEXT)"])


def test_a_page_of_a_mixed_order_is_written_out_and_begins_with_what_the_index_can_use() -> None:
    sql = statements.page(reading(False, True), ["?", "?"])
    assert 'WHERE "k0" >= ?1 AND ("k0" > ?1 OR ("k0" = ?1 AND "k1" < ?2)) ORDER BY "k0", "k1" DESC' in sql


def test_collate_stands_only_where_the_columns_own_is_another() -> None:
    assert "COLLATE" not in statements.page(reading(False), ["?"])
    assert '"k0" COLLATE "NOCASE" > ?' in statements.page(reading(False, collation="NOCASE"), ["?"])


def test_a_comment_at_the_end_of_a_filter_ends_with_its_line() -> None:
    made = reading(False, filter_="a = 1 -- why")
    for sql in (
        statements.page(made, ()),
        statements.changes(made),
        statements.count_of_key(made),
        statements.row(made, ["?"], ()),
    ):
        assert "(\na = 1 -- why\n)" in sql
