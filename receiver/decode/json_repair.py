"""JSON whose texts are no Unicode, made readable: senders cut texts in the middle of a character.

Only what the parser has refused comes here, so good bodies pay nothing. Everything is done in pieces, between which
others get their turn, and takes time in proportion to the length.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

BYTE_ORDER_MARK = codecs.BOM_UTF8
_SLICE = 1 << 18  # bytes looked at in one call, as nothing else runs meanwhile: about a millisecond

# Bytes that are no UTF-8, as Python's surrogateescape shows them: an overlong form or a half of a character is several.
_BAD = re.compile("[\udc80-\udcff]+")
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
# What may stand before half a character that was escaped, then as many halves as there are. A backslash takes what
# follows it along, so `\\ud83d`, which is no escape, is not taken for one.
_GOOD = rb"[^\\]{1,4096}+|\\[^u]|\\u(?![dD][89a-fA-F])|" + _HIGH + _LOW
_STEP = re.compile(
    rb"(?:" + _GOOD + rb"){0,256}+((?:" + _HIGH + rb"(?!" + _LOW + rb")|" + _LOW + rb"){0,256}+)", re.DOTALL
)
_ESCAPE = 6  # bytes of \ud83d
_REPLACED = rb"\ufffd"


def repair(data: bytes) -> bytes:
    """The same JSON with U+FFFD for what is no Unicode: runs of bad bytes, and halves of characters that were escaped.

    `data` itself when nothing of the kind is in it.
    """
    whole = _with_whole_bytes(data)
    return _with_whole_escapes(whole)


def _with_whole_bytes(data: bytes) -> bytes:
    try:
        for piece in codecs.iterdecode(_slices(data), "utf-8"):
            del piece
    except UnicodeDecodeError:
        decoded = codecs.iterdecode(_slices(data), "utf-8", "surrogateescape")
        return b"".join(_BAD.sub("\ufffd", piece).encode() for piece in decoded)
    return data


def _slices(data: bytes) -> Iterator[bytes]:
    return (data[at : at + _SLICE] for at in range(0, len(data), _SLICE))


def _with_whole_escapes(data: bytes) -> bytes:
    if b"\\ud" not in data and b"\\uD" not in data:
        return data
    out: list[bytes] = []
    kept = position = 0
    while (step := _STEP.match(data, position)) and step.end() > position:
        position = step.end()
        if halves := len(step[1]) // _ESCAPE:
            out += (data[kept : step.start(1)], _REPLACED * halves)
            kept = position
    return b"".join((*out, data[kept:])) if out else data
