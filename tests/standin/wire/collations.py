"""pure: a collation's five bytes on the wire and its code page ([MS-TDS] 2.2.5.1.2)."""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable
from functools import cache

from tests.standin.ports import Refused

DEFAULT = "SQL_Latin1_General_CP1_CI_AS"
_IGNORE_CASE, _IGNORE_ACCENT, _IGNORE_KANA, _IGNORE_WIDTH = 1 << 20, 1 << 21, 1 << 22, 1 << 23
_BINARY, _BINARY2, _UTF8 = 1 << 24, 1 << 25, 1 << 26
# family: locale, code page
_FAMILIES = {
    "Latin1_General": (0x0409, "cp1252"),
    "Finnish_Swedish": (0x040B, "cp1252"),
    "French": (0x040C, "cp1252"),
    "German_PhoneBook": (0x10407, "cp1252"),
    "Modern_Spanish": (0x0C0A, "cp1252"),
    "Czech": (0x0405, "cp1250"),
    "Hungarian": (0x040E, "cp1250"),
    "Polish": (0x0415, "cp1250"),
    "Cyrillic_General": (0x0419, "cp1251"),
    "Greek": (0x0408, "cp1253"),
    "Turkish": (0x041F, "cp1254"),
}
# SQL collations are told apart by their sort id: locale, sort id, code page
_SORTED = {
    "SQL_Latin1_General_CP1_CS_AS": (0x0409, 51, "cp1252"),
    "SQL_Latin1_General_CP1_CI_AS": (0x0409, 52, "cp1252"),
    "SQL_Latin1_General_CP1_CI_AI": (0x0409, 54, "cp1252"),
    "SQL_Polish_CP1250_CS_AS": (0x0415, 87, "cp1250"),
    "SQL_Polish_CP1250_CI_AS": (0x0415, 88, "cp1250"),
}
_VERSIONS = {"": 0, "90": 1, "100": 2, "140": 3}
_NAME = re.compile(
    r"(?P<family>[A-Za-z0-9_]+?)(_(?P<version>90|100|140))?_(?P<rest>(CI|CS|BIN2?)(_[A-Z0-9]+)*)$", re.IGNORECASE
)


@cache
def collation_bytes(name: str) -> bytes:
    """LCID, flags, version and sort id. Raises Refused for a collation that is not known."""
    exact = _exact(name)
    if exact in _SORTED:
        lcid, sort, _ = _SORTED[exact]
        return struct.pack("<IB", lcid | _flags(exact.rpartition("CP")[2].split("_")[1:]), sort)
    lcid, _, version, rest = _windows(exact)
    return struct.pack("<IB", lcid | _flags(rest) | version << 28, 0)


@cache
def code_page(name: str) -> str:
    """The Python codec of char and varchar. Raises Refused for a collation that is not known."""
    exact = _exact(name)
    if exact in _SORTED:
        return _SORTED[exact][2]
    _, page, _, rest = _windows(exact)
    return "utf-8" if "UTF8" in rest else page


@cache
def codec_of(raw: bytes) -> str:
    """The codec of char and varchar whose collation a client sent as five bytes. Raises Refused."""
    bits, sort = struct.unpack("<IB", raw)
    if bits & _UTF8:
        return "utf-8"
    for _, known_sort, page in _SORTED.values():
        if sort and sort == known_sort:
            return page
    for lcid, page in _FAMILIES.values():
        if not sort and bits & 0xFFFFF == lcid:
            return page
    if not bits & 0xFFFFF and not sort:
        return "cp1252"  # a client that names none
    raise Refused(f"the collation with the bytes {raw.hex()}")


def _exact(name: str) -> str:
    """Names of collations know no case."""
    wanted = (name or DEFAULT).lower()
    return next((known for known in _SORTED if known.lower() == wanted), name or DEFAULT)


def _windows(name: str) -> tuple[int, str, int, list[str]]:
    match = _NAME.match(name)
    family = next((known for known in _FAMILIES if match and known.lower() == match["family"].lower()), None)
    if match is None or family is None:
        raise Refused(f"the collation {name}")
    lcid, page = _FAMILIES[family]
    return lcid, page, _VERSIONS[match["version"] or ""], match["rest"].upper().split("_")


def _flags(rest: list[str]) -> int:
    utf8 = _UTF8 if "UTF8" in rest else 0
    if "BIN2" in rest:
        return _BINARY2 | utf8
    if "BIN" in rest:
        return _BINARY | utf8
    return (
        utf8
        | (_IGNORE_CASE if "CI" in rest else 0)
        | (_IGNORE_ACCENT if "AI" in rest else 0)
        | (0 if "KS" in rest else _IGNORE_KANA)
        | (0 if "WS" in rest else _IGNORE_WIDTH)
    )


def _page_handler(page: str) -> Callable[[UnicodeError], tuple[str | bytes, int]]:
    """A question mark for each UTF-16 unit that the page lacks; its undefined bytes are control characters, both ways."""
    holes = {byte for byte in range(0x80, 0xA0) if not bytes([byte]).decode(page, "ignore")}

    def handle(error: UnicodeError) -> tuple[str | bytes, int]:
        if isinstance(error, UnicodeEncodeError):
            bad = ord(error.object[error.start])
            return (bytes([bad]) if bad in holes else "??" if bad > 0xFFFF else "?"), error.start + 1
        if isinstance(error, UnicodeDecodeError):
            return chr(error.object[error.start]), error.start + 1
        raise error

    return handle


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError):
        return b"\xef\xbf\xbd", error.start + 1
    raise error


for _page in {page for _, page in _FAMILIES.values()}:
    codecs.register_error(f"standin.{_page}", _page_handler(_page))
codecs.register_error("standin.utf-8", _replacement)


def encode_text(text: str, page: str) -> bytes:
    """char and varchar as the server sends them: what the code page lacks becomes a question mark."""
    return text.encode(page, f"standin.{page}")


def decode_text(data: bytes, page: str) -> str:
    """char and varchar as a client sent them."""
    return data.decode(page, "replace" if page == "utf-8" else f"standin.{page}")
