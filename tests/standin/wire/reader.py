"""pure: reads the protocol's little-endian scalars off a message."""

from __future__ import annotations

import struct

from tests.standin.ports import SqlError

_U16, _U32, _I32, _U64 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<i"), struct.Struct("<Q")


class Malformed(SqlError):
    """The message is no TDS: error 8058 and its kind; the connection goes on at the next message."""

    def __init__(self, what: str) -> None:
        super().__init__(4002, f"The incoming tabular data stream (TDS) protocol stream is incorrect: {what}.")


class Reader:
    """A position in bytes; every method raises Malformed when the bytes end."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data, self.position = data, position

    @property
    def left(self) -> int:
        """Bytes that were not read yet."""
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        """The next bytes."""
        end = self.position + count
        if end > len(self.data):
            raise Malformed("it ends early")
        data = self.data[self.position : end]
        self.position = end
        return data

    def peek(self) -> int:
        """The next byte, which stays."""
        if not self.left:
            raise Malformed("it ends early")
        return self.data[self.position]

    def u8(self) -> int:
        """An unsigned byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Two bytes, unsigned."""
        return int(_U16.unpack(self.take(2))[0])

    def u32(self) -> int:
        """Four bytes, unsigned."""
        return int(_U32.unpack(self.take(4))[0])

    def i32(self) -> int:
        """Four bytes, signed."""
        return int(_I32.unpack(self.take(4))[0])

    def u64(self) -> int:
        """Eight bytes, unsigned."""
        return int(_U64.unpack(self.take(8))[0])

    def utf16(self, characters: int) -> str:
        """Text; lone surrogates stay as they are."""
        return self.take(characters * 2).decode("utf-16-le", "surrogatepass")

    def short_text(self) -> str:
        """B_VARCHAR."""
        return self.utf16(self.u8())


def skip_headers(data: bytes) -> Reader:
    """Past ALL_HEADERS, which batches, calls and transaction requests begin with."""
    reader = Reader(data)
    length = reader.u32()
    if not 4 <= length <= len(data):
        raise Malformed("its headers have no end")
    reader.take(length - 4)
    return reader
