"""Which driver is taken, and the connection string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc.errors import CompanyStopped
from cdc.source_settings import Login, Secret, SqlServerSource
from cdc.sources.sqlserver.driver import choose, connection_string, quoted
from tests.support.sqlserver import keywords_of

NEW, OLD = "ODBC Driver 18 for SQL Server", "ODBC Driver 17 for SQL Server"


def settings(**changes: object) -> SqlServerSource:
    base: dict[str, object] = {"server": "erp,1433", "database": "ERP", "user": "cdc", "password": Secret(env="X")}
    return SqlServerSource(**{**base, **changes})  # type: ignore[arg-type]


def keywords(text: str) -> dict[str, str]:
    return keywords_of(text)


def test_the_newest_driver_of_microsofts_is_taken() -> None:
    assert choose("", ["FreeTDS", OLD, NEW, "SQLite3"], "erp") == NEW
    assert choose("", [OLD], "erp") == OLD


def test_a_driver_that_is_named_is_taken_when_it_is_registered() -> None:
    assert choose(OLD, [OLD, NEW], "erp") == OLD
    assert choose("/opt/driver/libmsodbcsql-18.6.so.2.1", [], "erp") == "/opt/driver/libmsodbcsql-18.6.so.2.1"


def test_a_driver_that_is_not_registered_is_refused_with_those_that_are() -> None:
    with pytest.raises(CompanyStopped, match=rf"A2241.*{OLD}"):
        choose(NEW, [OLD], "erp")


@pytest.mark.parametrize("named", ["FreeTDS", "/usr/lib/odbc/libtdsodbc.so", "SQL Server", "SQL Server Native Client 11.0"])
def test_a_driver_that_loses_data_is_refused_with_the_reason(named: str) -> None:
    with pytest.raises(CompanyStopped, match=r"A2242.*cannot be used: (it|Microsoft)"):
        choose(named, [named, NEW], "erp")


def test_where_only_freetds_is_registered_the_reason_against_it_is_said() -> None:
    with pytest.raises(CompanyStopped, match=r"A2241.*FreeTDS cannot be used: it cuts"):
        choose("", ["FreeTDS"], "erp")


def test_without_any_driver_the_message_says_so() -> None:
    with pytest.raises(CompanyStopped, match="none at all"):
        choose("", [], "erp")


def test_encryption_is_on_and_the_certificate_is_checked_unless_said() -> None:
    plain = keywords(connection_string(settings(), NEW, "x"))
    trusting = keywords(connection_string(settings(encrypt=False, trust_server_certificate=True), NEW, "x"))
    assert (plain["Encrypt"], plain["TrustServerCertificate"]) == ("yes", "no")
    assert (trusting["Encrypt"], trusting["TrustServerCertificate"]) == ("no", "yes")


def test_reads_ask_the_primary_and_the_driver_does_not_reconnect_by_itself() -> None:
    found = keywords(connection_string(settings(multi_subnet_failover=True), NEW, "x"))
    assert found["ApplicationIntent"] == "ReadWrite"
    assert found["ConnectRetryCount"] == "0"
    assert found["MARS_Connection"] == "no"
    assert found["MultiSubnetFailover"] == "yes"


def test_an_integrated_login_sends_no_user() -> None:
    found = keywords(connection_string(settings(login=Login.INTEGRATED, user="", password=None), NEW, ""))
    assert found["Trusted_Connection"] == "yes"
    assert not {"UID", "PWD"} & found.keys()


def test_the_name_in_the_certificate_is_passed_only_where_it_is_set() -> None:
    assert "HostNameInCertificate" not in connection_string(settings(), NEW, "x")
    found = keywords(connection_string(settings(certificate_host="erp.example.com"), NEW, "x"))
    assert found["HostNameInCertificate"] == "erp.example.com"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("host,1433", "host,1433"),
        ("a;b", "{a;b}"),
        ("a}b", "{a}}b}"),
        ("}", "{}}}"),
        ("{a}", "{{a}}}"),
        ("x;Encrypt=no", "{x;Encrypt=no}"),
        (" space ", "{ space }"),
    ],
)
def test_a_value_cannot_begin_another_keyword(value: str, text: str) -> None:
    assert quoted(value) == text


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40))
def test_any_password_comes_back_from_the_string(password: str) -> None:
    found = keywords(connection_string(settings(), NEW, password))
    assert found["PWD"] == password
    assert found["Encrypt"] == "yes"
