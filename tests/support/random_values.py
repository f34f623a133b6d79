"""Random cells for a declared type: ordinary ones, edges, and (on request) ones that cannot be carried."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from random import Random
from typing import Any

WORDS = ("łódź", "żółw", "Kraków", "Ćma", "hamulec", "śruba", "„cytat”", "O'Brien", "naïve", "数据", "🚲", "tab\tulator")
WORDS += ("a;b,c", "{x}", "%s", "\\", "--", "NULL", "0", "false", "e=mc²")
EDGES = ("", " ", "'", '"', "ą" * 200, "line\nbreak\r\n", "e\u0301", "\ufeff", "\u2028")
XML = '<osoba id="{}"><imię>{}</imię><opis><![CDATA[{}]]></opis></osoba>'


def value(rng: Random, declared: str, *, nullable: bool = False, key: bool = False) -> Any:
    """A cell that can be carried; the text of a key is canonical, any other may be written in several ways."""
    if nullable and rng.random() < 0.2:
        return None
    kind, _, arguments = declared.upper().rstrip(")").partition("(")
    sizes = [int(n) for n in re.findall(r"\d+", arguments)]
    if key and kind == "DATETIME":
        fraction = f"{rng.randint(0, 10 ** sizes[0] - 1):0{sizes[0]}}"
        return f"{_day(rng, [])} {rng.randint(0, 23):02}:{rng.randint(0, 59):02}:07.{fraction}"
    return MAKERS.get(kind, text)(rng, sizes)


def spoiled(rng: Random, declared: str) -> Any:
    """A cell that cannot be carried: the row must be withheld. As SQL, since sqlite3 would not bind some of them."""
    kind = declared.upper().partition("(")[0]
    if kind in {"TEXT", "NVARCHAR", "NCHAR", "XML"}:
        return rng.choice(("CAST(x'61ff62' AS TEXT)", "CAST(x'610062' AS TEXT)", "x'00'", "CAST(x'eda080' AS TEXT)"))
    return "42" if kind == "BLOB" else rng.choice(("'abc'", "x'00'"))


def text(rng: Random, sizes: list[int]) -> str:
    made = (
        rng.choice(EDGES)
        if rng.random() < 0.1
        else " ".join(rng.choices(WORDS, k=rng.randint(1, 6))) + str(rng.randint(0, 10**9))
    )
    return made[-sizes[0] :] if sizes else made


def _decimal_text(rng: Random, sizes: list[int]) -> str:
    precision, scale = sizes
    edge = rng.random() < 0.1
    whole = 10 ** (precision - scale) - 1 if edge else rng.randint(0, 10 ** min(6, precision - scale))
    sign = "-" if rng.random() < 0.2 else ""
    shown = rng.randint(0, scale)
    return f"{sign}{whole}" + (f".{rng.randint(0, 10**shown - 1):0{shown}}" if shown else "")


def _decimal(rng: Random, sizes: list[int]) -> float | int:
    precision, scale = sizes
    digits = rng.randint(-(10**precision) + 1, 10**precision - 1) if rng.random() < 0.1 else rng.randint(-99_999, 99_999)
    return float(f"{digits}e-{scale}")


def _day(rng: Random, _: list[int]) -> str:
    year = rng.choice((1, 1900, 9999)) if rng.random() < 0.05 else rng.randint(1995, 2030)
    return f"{year:04}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"


def _hour(rng: Random, sizes: list[int]) -> str:
    digits = sizes[0] if sizes else 0
    base = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
    return f"{base}.{rng.randint(0, 10**digits - 1):0{digits}}" if digits and rng.random() < 0.7 else base


def _moment(rng: Random, sizes: list[int]) -> str:
    return f"{_day(rng, [])}{rng.choice('   T')}{_hour(rng, sizes)}"


def _guid(rng: Random, _: list[int]) -> str:
    made = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    return made.upper() if rng.random() < 0.5 else made


def _whole(bits: int) -> Callable[[Random, list[int]], int]:
    def make(rng: Random, _: list[int]) -> int:
        edge = rng.random() < 0.05
        return rng.choice((0, 2**bits - 1, -(2**bits) if bits > 8 else 0)) if edge else rng.randint(0, min(2**bits, 10**5) - 1)

    return make


MAKERS: dict[str, Callable[[Random, list[int]], Any]] = {
    "TEXT_DECIMAL": _decimal_text,
    "DECIMAL": _decimal,
    "DATE": _day,
    "TIME": _hour,
    "DATETIME": _moment,
    "GUID": _guid,
    "BIT": lambda rng, _: rng.randint(0, 1),
    "TINYINT": _whole(8),
    "SMALLINT": _whole(15),
    "INT": _whole(31),
    "INTEGER": _whole(63),
    "BLOB": lambda rng, _: rng.randbytes(rng.choice((0, 1, 300, 300, 5_000, 60_000))),
    "XML": lambda rng, _: XML.format(rng.randint(1, 99), text(rng, []).replace("<", ""), text(rng, [])),
}
