"""The fields of OTLP JSON, one function for each kind: a value as parsed from JSON -> protobuf's wire bytes.

`out` is the list of byte strings of the message being written, `tag` the field's tag. A field that is absent or null
writes nothing; a value the JSON mapping does not allow raises BadField, which refuses the record it is in.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

_SPAN_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_ENUM_NAMES = {f"SPAN_KIND_{name}": number for number, name in enumerate(_SPAN_KINDS)}
_ENUM_NAMES |= {f"STATUS_CODE_{name}": number for number, name in enumerate(("UNSET", "OK", "ERROR"))}
_ENUM_NAMES |= {"SEVERITY_NUMBER_UNSPECIFIED": 0}
_ENUM_NAMES |= {
    f"SEVERITY_NUMBER_{level}{step or ''}": index * 4 + 1 + max(0, step - 1)
    for index, level in enumerate(("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"))
    for step in (0, 2, 3, 4)
}


class BadField(ValueError):
    """Something in one record (or its resource or scope) that OTLP JSON does not allow. The text is for the sender."""


def _string_value(content: Any) -> bytes:
    if type(content) is not str:
        raise BadField(f'"stringValue" must be a string, not {name_of(content)}')
    return b"\x0a" + with_size(content.encode())


def _bool_value(content: Any) -> bytes:
    if type(content) is not bool:
        raise BadField(f'"boolValue" must be true or false, not {name_of(content)}')
    return b"\x10\x01" if content else b"\x10\x00"


def _int_value(content: Any) -> bytes:
    number = integer(content, "intValue", -(1 << 63), (1 << 63) - 1)
    return b"\x18" + varint(number & 0xFFFFFFFFFFFFFFFF)


def _double_value(content: Any) -> bytes:
    if type(content) is int or type(content) is float:
        number = float(content)
    elif type(content) is str:
        # The three names of the JSON mapping, then anything JSON would write without quotes.
        name = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}.get(content, content)
        if name == content and (not content.isascii() or content.strip("0123456789+-.eE") or len(content) > 400):
            raise BadField('"doubleValue" is not a number')
        try:
            number = float(name)
        except ValueError as error:
            raise BadField('"doubleValue" is not a number') from error
    else:
        raise BadField(f'"doubleValue" must be a number, not {name_of(content)}')
    return b"\x21" + struct.pack("<d", number)


def _bytes_value(content: Any) -> bytes:
    if type(content) is not str or not content.isascii():
        raise BadField('"bytesValue" must be base64')
    text = content.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise BadField('"bytesValue" must be base64') from error
    return b"\x3a" + with_size(decoded)


SCALARS: dict[str, Callable[[Any], bytes]] = {
    "stringValue": _string_value,
    "boolValue": _bool_value,
    "intValue": _int_value,
    "doubleValue": _double_value,
    "bytesValue": _bytes_value,
}

ONE_BYTE = [bytes([length]) for length in range(0x80)]


def with_size(content: bytes) -> bytes:
    """content with its length in front."""
    length = len(content)
    return (ONE_BYTE[length] if length < 0x80 else varint(length)) + content


def message(out: list[bytes], tag: bytes, parts: list[bytes]) -> None:
    out += (tag, with_size(b"".join(parts)))


def json_object(value: Any, name: str) -> Json:
    if type(value) is not dict:
        raise BadField(f"{name} must be an object, not {name_of(value)}")
    return value


def json_list(parent: Json, name: str) -> list[Any]:
    value = parent.get(name)
    if value is None:
        return []
    if type(value) is not list:
        raise BadField(f'"{name}" must be an array, not {name_of(value)}')
    return value


def text(out: list[bytes], tag: bytes, parent: Json, name: str) -> None:
    value = parent.get(name)
    if not value and (value is None or value == ""):
        return
    if type(value) is not str:
        raise BadField(f'"{name}" must be a string, not {name_of(value)}')
    out += (tag, with_size(value.encode()))


def hex_id(out: list[bytes], tag: bytes, parent: Json, name: str) -> None:
    """An id. Its length is judged by the decoder, with protobuf's."""
    value = parent.get(name)
    if value is None or value == "":
        return
    if type(value) is not str:
        raise BadField(f'"{name}" must be a string of hex digits, not {name_of(value)}')
    try:
        raw = bytes.fromhex(value)
    except ValueError as error:
        raise BadField(f'"{name}" is not hex') from error
    if len(raw) * 2 != len(value):  # fromhex skips spaces
        raise BadField(f'"{name}" is not hex')
    out += (tag, with_size(raw))


def hex_id_or_none(out: list[bytes], tag: bytes, parent: Json, name: str) -> None:
    """A log record with a bad id is kept, as having none (logs.proto, LogRecord.trace_id)."""
    try:
        hex_id(out, tag, parent, name)
    except BadField:
        return


def fixed64(out: list[bytes], tag: bytes, parent: Json, name: str) -> None:
    value = parent.get(name)
    if value is None:
        return
    if type(value) is str and len(value) < 20 and value.isdigit() and value.isascii():
        number = int(value)  # at most 19 digits, so it fits
    else:
        number = integer(value, name, 0, 0xFFFFFFFFFFFFFFFF)
    if number:
        out += (tag, number.to_bytes(8, "little"))


def fixed32(out: list[bytes], tag: bytes, parent: Json, name: str) -> None:
    value = parent.get(name)
    if value is not None:
        out += (tag, integer(value, name, 0, 0xFFFFFFFF).to_bytes(4, "little"))


def unsigned(out: list[bytes], tag: bytes, parent: Json, name: str) -> None:
    value = parent.get(name)
    if value is not None:
        out += (tag, varint(integer(value, name, 0, 0xFFFFFFFF)))


def enum(out: list[bytes], tag: bytes, parent: Json, name: str) -> None:
    """An enum's number, known or not; names are forbidden to senders, yet known ones are understood."""
    value = parent.get(name)
    if value is None:
        return
    if type(value) is str and value in _ENUM_NAMES:
        number = _ENUM_NAMES[value]
    else:
        number = integer(value, name, -(1 << 31), (1 << 31) - 1)
    if number:
        out += (tag, varint(number & 0xFFFFFFFFFFFFFFFF))


def integer(value: Any, name: str, low: int, high: int) -> int:
    """An integer written as a number, a whole float or a string of either."""
    if type(value) is str:
        # int() would take "1_000", " 5" and other scripts' digits, and refuse 4400 digits with another error.
        if not value.isascii() or len(value) > 40 or not value or value.strip("0123456789+-.eE"):
            raise BadField(f'"{name}" is not an integer')
        try:
            value = int(value) if value.lstrip("-").isdigit() else float(value)
        except ValueError as error:
            raise BadField(f'"{name}" is not an integer') from error
    if type(value) is float:
        # -2^63 - 1 is parsed as the float -2^63, which would fit.
        if not value.is_integer() or value == -(2.0**63):
            raise BadField(f'"{name}" is not an integer or out of range')
        value = int(value)
    if type(value) is not int:
        raise BadField(f'"{name}" must be an integer, not {name_of(value)}')
    if not low <= value <= high:
        raise BadField(f'"{name}" is out of range')
    return value


def name_of(value: Any) -> str:
    """What JSON calls it."""
    if value is None:
        return "null"
    names: dict[type, str] = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return names.get(type(value), "a number")


def varint(value: int) -> bytes:
    """A protobuf varint of a number that is not negative."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
