"""What a build number of SQL Server says, at the boundaries that Microsoft's lists of builds name."""

from __future__ import annotations

import pytest

from cdc.sources.sqlserver.builds import Build, Defect, defects, is_supported, parse


def found(version: str) -> dict[str, bool]:
    build = parse(version)
    assert build is not None
    return {defect.kb: defect.certain for defect in defects(build)}


@pytest.mark.parametrize(
    ("version", "build"),
    [
        ("13.0.4502.0", Build(13, 0, 4502, 0)),
        (" 16.0.1000.6 ", Build(16, 0, 1000, 6)),
        ("15.0.2000", Build(15, 0, 2000)),
        ("", None),
        ("14", None),
        ("14.0.x.1", None),
        ("14.0.1.2.3", None),
        ("١٤.0.1.2", None),
    ],
)
def test_a_product_version_is_four_numbers(version: str, build: Build | None) -> None:
    assert parse(version) == build


@pytest.mark.parametrize(
    ("version", "supported"),
    [("12.0.6449.1", False), ("13.0.1601.5", True), ("14.0.1000.169", True), ("17.0.4035.5", True), ("18.0.1.0", True)],
)
def test_sql_server_2016_is_the_oldest_that_is_supported(version: str, supported: bool) -> None:
    build = parse(version)
    assert build is not None
    assert is_supported(build) is supported


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ("13.0.1601.5", True),  # 2016 as released
        ("13.0.4259.0", True),  # SP1 with security updates alone
        ("13.0.4474.0", True),  # SP1 CU8
        ("13.0.4502.0", False),  # SP1 CU9
        ("13.0.4604.0", False),  # SP1 CU15 and security updates
        ("13.0.6300.2", False),  # SP3
        ("14.0.1000.169", True),  # 2017 as released
        ("14.0.2056.2", True),  # security updates alone
        ("14.0.3026.27", True),  # CU7
        ("14.0.3029.16", False),  # CU8
        ("15.0.2000.5", False),
        ("16.0.1000.6", False),
    ],
)
def test_the_reversed_pair_of_updated_unique_columns_is_known_by_build(version: str, has: bool) -> None:
    assert ("KB4135113" in found(version)) is has


def test_of_service_pack_2_nobody_says_that_it_is_mended() -> None:
    assert found("13.0.5026.0") == {"KB4135113": False}
    assert found("13.0.5893.48") == {"KB4135113": False}
    assert found("13.0.4474.0")["KB4135113"] is True


@pytest.mark.parametrize(
    ("version", "has"),
    [("13.0.4604.0", True), ("13.0.5026.0", False), ("14.0.3006.16", True), ("14.0.3008.27", False), ("15.0.2000.5", False)],
)
def test_clean_up_that_one_locked_table_stops_is_known_by_build(version: str, has: bool) -> None:
    assert ("KB4054842" in found(version)) is has


def test_names_and_links_are_for_people() -> None:
    assert Build(13, 0, 4001, 0).release == "SQL Server 2016"
    assert Build(19).release == "SQL Server 19.0"
    assert str(Build(14, 0, 3029, 16)) == "14.0.3029.16"
    assert Defect("KB4135113", "", "").link == "https://support.microsoft.com/help/4135113"
