from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from cloud.config import CloudConfig, Listen, LogLevel, Tls, parse_config
from cloud.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "examples" / "cloud.toml"
SMALL = 'version = 1\ndata = "d"\n[listen]\naddress = "127.0.0.1"\n'


def refused(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, where="cloud.toml")
    return [str(problem) for problem in caught.value.problems]


def test_the_example_loads() -> None:
    config = parse_config(EXAMPLE.read_text(), where="cloud.toml")
    assert config.data == Path("/var/lib/cdc-cloud")
    assert config.tls == Tls(certificate=Path("/etc/cdc-cloud/certificate.pem"), key=Path("/etc/cdc-cloud/key.pem"))


def test_the_example_shows_every_setting_with_its_default() -> None:
    text = re.sub(r"^# (\w+ = \S)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    config = parse_config(text, where="cloud.toml")
    assert config == CloudConfig(version=1, data=config.data, public_url=config.public_url, tls=config.tls)
    for struct in (config, config.listen, config.tls, config.limits, config.log):
        assert struct is not None
        for field in msgspec.structs.fields(type(struct)):
            assert re.search(rf"^{field.name} = |^\[{field.name}\]", text, re.MULTILINE), field.name


def test_five_mistakes_give_five_messages() -> None:
    assert refused("""
        version = 2
        data = 5
        public_url = "cloud.example.com"
        [listen]
        port = 70000
        adress = "::1"
    """) == [
        "C3003 cloud.toml: version: must be 1, but is a whole number",
        "C3003 cloud.toml: data: must be a path in quotes, but is a whole number",
        'C3003 cloud.toml: public_url: must be an address such as "https://cloud.example.com"',
        "C3003 cloud.toml: listen.port: must be at least 0 and at most 65535",
        'C3003 cloud.toml: listen.adress: is not a setting; did you mean "address"?',
    ]


def test_a_syntax_error_has_line_and_column() -> None:
    assert refused("version = 1\ndata = \n") == ["C3002 cloud.toml: line 2, column 8: Invalid value"]


def test_plain_http_is_for_this_machine_only() -> None:
    assert "[tls]" in refused('version = 1\ndata = "d"')[0]
    assert parse_config(SMALL, where="cloud.toml").listen == Listen(address="127.0.0.1")


def test_relative_paths_start_at_the_files_folder() -> None:
    config = parse_config(SMALL + '[tls]\ncertificate = "c.pem"\nkey = "/k.pem"', where="cloud.toml", folder=Path("/etc/x"))
    assert (config.data, config.tls) == (Path("/etc/x/d"), Tls(certificate=Path("/etc/x/c.pem"), key=Path("/k.pem")))


def test_limits_and_log_are_read() -> None:
    text = SMALL + '[limits]\nfeed_retention = "2d"\ncredit_bytes = "16 MiB"\n[log]\nlevel = "debug"'
    config = parse_config(text, where="cloud.toml")
    assert (config.limits.feed_retention, config.limits.credit_bytes, config.log.level) == (172_800.0, 1 << 24, LogLevel.DEBUG)
