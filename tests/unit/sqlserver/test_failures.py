"""What errors of driver and server mean; the texts are the driver's own, as seen."""

from __future__ import annotations

import pytest

from cdc.errors import REGISTRY, AgentError, CompanyStopped, DatasetPaused, Transient
from cdc.sources.sqlserver.failures import (
    _STOPPING,
    _TRANSIENT,
    KIND_OF,
    NUMBERS,
    Failure,
    Kind,
    ServerFailure,
    as_error,
    failure_of,
    understand,
)

PREFIX = "[Microsoft][ODBC Driver 18 for SQL Server]"


def server(number: int, text: str = "Something.", state: str = "42000", function: str = "SQLExecDirectW") -> tuple[str, str]:
    return state, f"[{state}] {PREFIX}[SQL Server]{text} ({number}) ({function})"


def client(text: str, state: str, number: int = 0, function: str = "SQLDriverConnect") -> tuple[str, str]:
    return state, f"[{state}] {PREFIX}{text} ({number}) ({function})"


@pytest.mark.parametrize(
    "number",
    [1205, 1222, 3960, 3961, 3958, 3966, 10053, 10054, 10060, 40197, 40501, 233, -2, 976, 978, 983, 22117, 596],
)
def test_what_passes_by_itself_is_tried_again(number: int) -> None:
    assert isinstance(as_error(understand(server(number)), "erp"), Transient)


@pytest.mark.parametrize(("number", "code"), [(18456, "A2246"), (4060, "A2247"), (3952, "A2252"), (824, "A2258")])
def test_what_a_person_must_mend_stops_the_company(number: int, code: str) -> None:
    error = as_error(understand(server(number)), "erp")
    assert isinstance(error, CompanyStopped)
    assert error.code == code


def test_a_missing_permission_pauses_the_dataset_whose_table_it_is_about() -> None:
    failure = understand(server(229, "The SELECT permission was denied on the object 'T', database 'ERP', schema 'dbo'."))
    assert isinstance(as_error(failure, "erp", table=True), DatasetPaused)
    assert isinstance(as_error(failure, "erp"), CompanyStopped)
    assert "SELECT permission was denied on the object 'T'" in failure.text


@pytest.mark.parametrize("number", [2627, 2601, 547, 515, 8152, 2628, 245, 241, 8114, 50000, 777])
def test_a_text_that_may_quote_values_is_not_repeated(number: int) -> None:
    failure = understand(server(number, "The duplicate key value is (Kowalski, 600 100 200)."))
    error = as_error(failure, "erp")
    assert "Kowalski" not in f"{failure} {error}"
    assert str(number) in error.message


def test_a_value_that_looks_like_a_number_of_an_error_does_not_mislead() -> None:
    failure = understand(server(2627, "The duplicate key value is (1205)."))
    assert (failure.kind, failure.number) == (Kind.CONSTRAINT, 2627)


def test_of_several_records_the_one_that_explains_counts() -> None:
    first, second = server(208, "Invalid object name 'dbo.x'.", "42S02", "SQLPrepare"), server(8180, "Not prepared.")
    failure = understand((first[0], f"{first[1]}; {second[1]}"))
    assert (failure.kind, failure.number, failure.text) == (Kind.CHANGED, 208, "error 208: Invalid object name 'dbo.x'.")
    turned = understand((second[0], f"{second[1]}; {first[1]}"))
    assert turned.number == 208


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (client("Login timeout expired", "HYT00"), Kind.UNREACHABLE),
        (client("Query timeout expired", "HYT00", function="SQLExecDirectW"), Kind.TIMEOUT),
        (client("TCP Provider: Error code 0x2749", "08001", 10057), Kind.UNREACHABLE),
        (client("SSL Provider: [certificate verify failed:self-signed certificate]", "08001", -1), Kind.CERTIFICATE),
        (client("Communication link failure", "08S01"), Kind.LOST),
        (client("TCP Provider: Error code 0x68", "08S01", 104, "SQLExecDirectW"), Kind.LOST),
        (client("Operation canceled", "HY008", function="SQLExecDirectW"), Kind.ENDED),
        (("01000", "[01000] [unixODBC][Driver Manager]Can't open lib 'x' : file not found (0) (SQLDriverConnect)"), Kind.SETUP),
        (("IM002", "[IM002] [unixODBC][Driver Manager]Data source name not found (0) (SQLDriverConnect)"), Kind.SETUP),
        (("Attempt to use a closed connection.",), Kind.LOST),
        (("The cursor's connection has been closed.",), Kind.LOST),
        ((), Kind.REFUSED),
    ],
)
def test_the_drivers_own_errors(arguments: tuple[str, ...], kind: Kind) -> None:
    assert understand(arguments).kind is kind


def test_a_driver_that_cannot_be_loaded_is_named() -> None:
    message = "[01000] [unixODBC][Driver Manager]Can't open lib 'x.so' : file not found (0) (SQLDriverConnect)"
    assert understand(("01000", message)).text == "Can't open lib 'x.so' : file not found"


def test_an_error_of_pyodbcs_own_has_state_and_message_the_other_way_round() -> None:
    failure = understand(("ODBC SQL type -150 is not yet supported.  column-index=0  type=-150", "HY106"))
    assert (failure.kind, failure.state) == (Kind.REFUSED, "HY106")
    assert "type -150 is not yet supported" in failure.text


def test_after_a_lost_connection_nothing_more_is_asked_over_it() -> None:
    assert understand(client("Communication link failure", "08S01")).fatal
    assert not understand(server(1205)).fatal


def test_a_number_belongs_to_one_kind() -> None:
    assert sum(len(numbers) for numbers in NUMBERS.values()) == len(KIND_OF)


def test_every_kind_has_an_error_that_is_registered() -> None:
    errors: dict[Kind, AgentError] = {kind: as_error(Failure(kind, 1, "", "x"), "erp") for kind in Kind}
    assert {kind for kind, error in errors.items() if error.code not in REGISTRY} == set()
    assert set(_TRANSIENT) | set(_STOPPING) | {Kind.PERMISSION} == set(Kind)


def test_the_number_is_found_behind_our_error() -> None:
    failure = understand(server(1205))
    with pytest.raises(Transient) as caught:
        raise as_error(failure, "erp") from ServerFailure(failure)
    assert failure_of(caught.value) == failure
    assert failure_of(ValueError()) is None
