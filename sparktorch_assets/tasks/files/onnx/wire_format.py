"""Reads messages of protocol buffers from a file, without their schema and without reading what is skipped.

Whoever made the file wrote it, so nothing in it is taken for granted: each function raises ValueError if the bytes
cannot be such a message.
"""

from collections.abc import Iterator
from typing import BinaryIO

Place = tuple[int, int]
"""Where the bytes of a field begin and end."""

_MAX_TEXT_BYTES = 1 << 16
_VARINT, _LENGTH = 0, 2
_WIDTHS = {1: 8, 5: 4}
"""Bytes of the wire types with a fixed width."""


def inner_of(file: BinaryIO, place: int | Place | None) -> dict[int, int | Place]:
    """The fields of a message inside of another one, as `values_of`; none if it is not there."""
    return values_of(file, *place) if isinstance(place, tuple) else {}


def values_of(file: BinaryIO, start: int, stop: int) -> dict[int, int | Place]:
    """The last value of each field: a number, or the place of bytes."""
    return {
        number: (begin, end) if value is None else value for number, value, begin, end in fields_of(file, start, stop)
    }


def text_of(file: BinaryIO, place: int | Place | None) -> str:
    """The text at this place; empty if there is none."""
    if not isinstance(place, tuple):
        return ""
    start, stop = place
    if stop - start > _MAX_TEXT_BYTES:
        raise ValueError(f"a text in it has {stop - start:,} bytes")
    file.seek(start)
    return file.read(stop - start).decode()


def packed_of(file: BinaryIO, start: int, stop: int) -> list[int]:
    """The numbers of a packed field."""
    file.seek(start)
    found = []
    while file.tell() < stop:
        found.append(_varint(file))
    return found


def fields_of(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, int | None, int, int]]:
    """The fields of a message: number, value (`None` if it is not a varint), and where its bytes begin and end."""
    at = start
    while at < stop:
        file.seek(at)
        key = _varint(file)
        number, wire = key >> 3, key & 7
        value = None
        if wire == _VARINT:
            value = _varint(file)
            begin = at = file.tell()
        elif wire == _LENGTH:
            size = _varint(file)
            begin = file.tell()
            at = begin + size
        elif wire in _WIDTHS:
            begin = file.tell()
            at = begin + _WIDTHS[wire]
        else:
            raise ValueError(f"byte {at:,} begins no field of a message")
        if at > stop or number == 0:
            raise ValueError("it is cut off, or something else")
        yield number, value, begin, at


def _varint(file: BinaryIO) -> int:
    found = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it is cut off, or something else")
        found |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return found
    raise ValueError("a number in it has more than 64 bits")
