"""JSON whose texts are no Unicode, or hold control characters as they are, made readable.

Senders cut texts in the middle of a character, and scripts put line ends and colours into JSON without escaping them.

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
# The rest of a text up to its end, or to a control character that nobody escaped.
_TEXT = re.compile(rb"(?:[^\"\\\x00-\x1f]{1,4096}+|\\[^\x00-\x1f]){0,256}+")
_CONTROLS = re.compile(rb"[\x00-\x1f]{1,4096}+")
_ANY_CONTROL = re.compile(rb"[\x00-\x1f]").search
_ESCAPES = {b"\t": b"\\t", b"\n": b"\\n", b"\r": b"\\r", b"\r\n": b"\\r\\n"}


def repair(data: bytes) -> bytes:
    """The same JSON with U+FFFD for runs of bad bytes, halves of characters that were escaped, and control characters.

    Line ends and tabs in texts are escaped instead. `data` itself when nothing of the kind is in it.
    """
    return _with_escaped_controls(_with_whole_escapes(_with_whole_bytes(data)))


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


def _with_escaped_controls(data: bytes) -> bytes:
    if _ANY_CONTROL(data) is None:
        return data
    out: list[bytes] = []
    kept, position = 0, data.find(b'"') + 1
    while position:
        text = _TEXT.match(data, position)
        end = text.end() if text else position
        if controls := _CONTROLS.match(data, end):
            out += data[kept:end], _ESCAPES.get(controls[0], "\ufffd".encode())
            kept = position = controls.end()
        elif data[end : end + 1] == b'"':
            position = data.find(b'"', end + 1) + 1  # where the next text begins
        elif end > position:
            position = end
        else:  # the body ends, or a backslash stands before what cannot be escaped
            break
    return b"".join((*out, data[kept:])) if out else data
