"""Columns as the bytes of ClickHouse's Native format: the types of schema.sql, and no others. Pure.

The stock client writes the same format value by value; here every step is one call of the interpreter's C code over a
whole column, which takes a third of the time. No call is long, so other threads get their turn between two of them.
Source: https://clickhouse.com/docs/interfaces/formats/Native, and the stock client's datatypes.
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, chain, count
from typing import Any, NamedTuple

Values = Sequence[Any]


class Kind(NamedTuple):
    """How values of one type are written. Values that do not fit raise UnicodeError, struct.error or TypeError."""

    many: Callable[[Values], bytes]
    same: Callable[[Any, int], bytes]  # the same value so many times
    empty: object  # the type's own default


def kind(type_: str) -> Kind:
    """How to write a column of this ClickHouse type. Raises KeyError for a type that the table does not use."""
    name = re.sub(r"^(DateTime64|JSON)\(.*\)$", r"\1", type_)
    return _KINDS[name]


def heading(name: str, type_: str) -> bytes:
    """What stands before a column's content."""
    return strings((name, type_))


def block(rows: int, columns: Sequence[tuple[bytes, bytes]]) -> bytes:
    """One block of so many rows. columns: heading and content of each."""
    return b"".join((_varint(len(columns)), _varint(rows), *chain.from_iterable(columns)))


# -- strings -------------------------------------------------------------------------------------------------


def strings(values: Sequence[str]) -> bytes:
    """Each string's length in bytes as a varint, and its UTF-8."""
    text = _prefix(values)
    if not text.isascii() and not "".join(values).isascii():  # not only lengths above 127
        text = _prefix([value if value.isascii() else value.encode().decode("latin-1") for value in values])
    return text.encode("latin-1")


def _prefix(values: Sequence[str]) -> str:
    """The strings behind their lengths. One character stands for one byte: right only where all are ASCII or bytes."""
    if values and len(values[0]) == len(values[-1]) and len(set(map(len, values))) == 1:  # ids
        prefix = _PREFIXES[len(values[0])]
        return prefix + prefix.join(values)
    parts: list[str] = [""] * (2 * len(values))
    parts[::2] = map(_PREFIXES.__getitem__, map(len, values))
    parts[1::2] = values
    return "".join(parts)


class _Prefixes(dict[int, str]):
    """Lengths as varints, one character for each byte. Remembers those below 16,384: a bound of 2 MB."""

    def __missing__(self, length: int) -> str:
        text = _varint(length).decode("latin-1")
        if length < 1 << 14:
            self[length] = text
        return text


_PREFIXES = _Prefixes()


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(0x80 | number & 0x7F)
        number >>= 7
    written.append(number)
    return bytes(written)


# -- LowCardinality(String): the distinct strings, and for every row which of them -----------------------------

_VERSION = struct.pack("<Q", 1)  # of keys; first in the column, also where it is inside of a Map or an Array
_OWN_KEYS = 1 << 9 | 1 << 10  # a new dictionary, and keys that are only this block's
_INDEX_CODES = "BHI"  # 1, 2 and 4 bytes a row
MOST_BY_INDEX = 255  # keys that one byte numbers; the stock client takes two bytes from 256 on


def low_cardinality(values: Sequence[str]) -> bytes:
    return _VERSION + _low_cardinality(values)


def low_cardinality_by(values: Sequence[str], index: bytes) -> bytes:
    """The column whose row i holds values[index[i]], of at most MOST_BY_INDEX values."""
    keys: defaultdict[str, int] = defaultdict(count().__next__)
    table = bytes(map(keys.__getitem__, values)).ljust(256, b"\0")
    return _VERSION + _with_dictionary(list(keys), index.translate(table), len(index))


def _low_cardinality(values: Sequence[str]) -> bytes:
    if not values:
        return b""
    keys: defaultdict[str, int] = defaultdict(count().__next__)
    index = list(map(keys.__getitem__, values))
    if len(keys) <= MOST_BY_INDEX:
        return _with_dictionary(list(keys), bytes(index), len(index))
    size = 1 if len(keys) < 1 << 16 else 2
    packed = struct.pack(f"<{len(index)}{_INDEX_CODES[size]}", *index)
    return _with_dictionary(list(keys), packed, len(index), size)


def _with_dictionary(keys: Sequence[str], index: bytes, rows: int, size: int = 0) -> bytes:
    head = struct.pack("<QQ", _OWN_KEYS | size, len(keys))
    return b"".join((head, strings(keys), struct.pack("<Q", rows), index))


def _same_key(value: str, rows: int) -> bytes:
    return _VERSION + _with_dictionary((value,), bytes(rows), rows)


# -- numbers ---------------------------------------------------------------------------------------------------


def _numbers(code: str) -> Kind:
    def many(values: Values) -> bytes:
        return struct.pack(f"<{len(values)}{code}", *values)

    def same(value: Any, rows: int) -> bytes:
        return struct.pack("<" + code, value) * rows

    return Kind(many, same, 0)


def nullable_floats(values: Sequence[float], known: Sequence[bool]) -> bytes:
    """NULL where a value is not known; what stands there does not matter."""
    if all(known):
        return bytes(len(values)) + _FLOATS.many(values)
    absent = bytes(known).translate(_NOT)
    return absent + _FLOATS.many([value if there else 0.0 for value, there in zip(values, known, strict=True)])


def _nullable_floats(values: Sequence[float | None]) -> bytes:
    known = [value is not None for value in values]
    return nullable_floats([0.0 if value is None else value for value in values], known)


def _same_nullable_float(value: float | None, rows: int) -> bytes:
    return bytes([value is None]) * rows + _FLOATS.same(0.0 if value is None else value, rows)


_NOT = bytes([1, 0]).ljust(256, b"\0")
_FLOATS = _numbers("d")


# -- several values in a row -----------------------------------------------------------------------------------


def _ends(sizes: list[int]) -> bytes:
    """Where each row's values end in the column of all values."""
    rows, first = len(sizes), sizes[0]
    if sizes.count(first) == rows:
        return struct.pack(f"<{rows}Q", *range(first, first * rows + 1, first)) if first else bytes(8 * rows)
    return struct.pack(f"<{rows}Q", *accumulate(sizes))


def _maps(values: Sequence[Mapping[str, str]]) -> bytes:
    filled = list(filter(None, values))
    keys = list(chain.from_iterable(filled))
    texts = [text for row in filled for text in row.values()]
    return b"".join((_VERSION, _ends(list(map(len, values))), _low_cardinality(keys), strings(texts)))


def _arrays(values: Sequence[Sequence[str]]) -> bytes:
    elements = list(chain.from_iterable(values))
    return b"".join((_VERSION, _ends(list(map(len, values))), _low_cardinality(elements)))


def _same_map(value: Mapping[str, str], rows: int) -> bytes:
    return _maps([value] * rows)


def _same_array(value: Sequence[str], rows: int) -> bytes:
    return _arrays([value] * rows)


def _json(values: Sequence[str]) -> bytes:
    return _AS_TEXT + strings(values)


def _same_string(value: str, rows: int) -> bytes:
    return strings((value,)) * rows


def _same_json(value: str, rows: int) -> bytes:
    return _AS_TEXT + _same_string(value, rows)


_AS_TEXT = struct.pack("<Q", 1)  # serialization of the JSON type: each object is its text; every server that has it

_KINDS = {
    "String": Kind(strings, _same_string, ""),
    "LowCardinality(String)": Kind(low_cardinality, _same_key, ""),
    "UInt8": _numbers("B"),
    "UInt16": _numbers("H"),
    "UInt32": _numbers("I"),
    "UInt64": _numbers("Q"),
    "DateTime64": _numbers("q"),  # ticks since the epoch
    "Float64": _FLOATS,
    "Nullable(Float64)": Kind(_nullable_floats, _same_nullable_float, None),
    "Map(LowCardinality(String), String)": Kind(_maps, _same_map, {}),
    "Array(LowCardinality(String))": Kind(_arrays, _same_array, ()),
    "JSON": Kind(_json, _same_json, "{}"),
}
