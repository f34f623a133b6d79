"""pure: transaction manager requests ([MS-TDS] 2.2.6.9)."""

from __future__ import annotations

from dataclasses import dataclass

from tests.standin.ports import Refused
from tests.standin.wire.reader import Reader, skip_headers

_BEGIN, _COMMIT, _ROLLBACK, _SAVE = 5, 7, 8, 9
_ORDERS = {_BEGIN: "begin", _COMMIT: "commit", _ROLLBACK: "rollback", _SAVE: "save"}
_BEGIN_AGAIN = 1


@dataclass(frozen=True, slots=True)
class Order:
    """`order`: begin, commit, rollback, save; `isolation`: the byte of the protocol, 0 keeps the session's."""

    order: str
    isolation: int = 0
    name: str = ""

    @property
    def text(self) -> str:
        """How the controller sees it."""
        return f"{self.order.upper()} TRANSACTION {self.name}".rstrip()


def read_orders(payload: bytes) -> list[Order]:
    """What is ordered: one thing, or an end and the begin of the next transaction. Raises Malformed, Refused."""
    reader = skip_headers(payload)
    kind = reader.u16()
    if kind not in _ORDERS:
        raise Refused(f"the transaction manager request {kind} (distributed transactions)")
    if kind == _BEGIN:
        return [Order("begin", reader.u8(), _name(reader))]
    orders = [Order(_ORDERS[kind], name=_name(reader))]
    if kind != _SAVE and reader.left and reader.u8() & _BEGIN_AGAIN:
        orders.append(Order("begin", reader.u8(), _name(reader)))
    return orders


def _name(reader: Reader) -> str:
    """A name with its length in bytes in front."""
    return reader.take(reader.u8()).decode("utf-16-le", "replace") if reader.left else ""
