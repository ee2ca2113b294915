"""Text of customers on an operator's terminal and in files for other programs: nothing in it is obeyed.

What a terminal obeys (C0, C1, DEL), what turns the direction of the line, and what nobody sees is written as its code.
Spreadsheets take a text that begins with = + - or @ for a formula: such texts get an apostrophe in front.
"""

from __future__ import annotations

import codecs
import io
import json
import re
import sys

# Joiners of no width belong to many scripts; beside ASCII they only make two names look like one.
_UNSEEN = (
    "\u00ad\u061c\u115f\u1160\u180b-\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e007f"
)
_JOINER = r"(?<![\u0080-\U0010ffff])[\u200c\u200d]|[\u200c\u200d](?![\u0080-\U0010ffff])"
_CONTROL = re.compile(rf"[\x00-\x1f\x7f-\x9f\ud800-\udfff{_UNSEEN}]|{_JOINER}")
# Line feeds, tabs and returns are part of a text in JSON and CSV, where they are quoted.
_IN_DATA = re.compile(rf"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff{_UNSEEN}]|{_JOINER}")
_FORMULA = re.compile(rf"[\s{_UNSEEN}]*[=+\-@＝＋－＠]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)*(?:[eE][+-]?[0-9]+)?|-+")
# For terminals that know ASCII or Latin-1 only: what the commands themselves print.
_ASCII = str.maketrans({"└": "`", "├": "|", "─": "-", "│": "|", "→": "->", "×": "x", "…": "...", "µ": "u", "–": "-"})


def visible(text: str) -> str:
    """The text on one line, without characters that a terminal obeys or nobody sees."""
    return text if text.isascii() and text.isprintable() else _CONTROL.sub(_code, text)


def data_text(text: str) -> str:
    """For a cell of CSV in a file or pipe: as `visible`, but with its line feeds and tabs."""
    return text if text.isascii() and text.isprintable() else _IN_DATA.sub(_code, text)


def defuse(text: str) -> str:
    """A text that no spreadsheet takes for a formula; numbers are left as they are."""
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def escaped_json(text: str) -> str:
    """JSON with the same content, in which those characters stand as \\u and four digits."""
    if text.isascii() and "\x7f" not in text:
        return text
    if not _prints_unicode():
        return "".join(letter if letter < "\x7f" else _json_code(letter) for letter in text)
    return _IN_DATA.sub(lambda found: _json_code(found[0]), text)


def make_output_legible() -> None:
    """From now on standard output and error print what their encoding lacks in ASCII, instead of failing."""
    codecs.register_error("legible", _legible)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="legible")


def _prints_unicode() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().replace("_", "-").startswith("utf")


def _legible(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_ASCII)
    return "".join(letter if letter.isascii() else _code_of(letter) for letter in text), error.end


def _code(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"


def _code_of(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"


def _json_code(letter: str) -> str:
    return json.dumps(letter)[1:-1] if letter != "\x7f" else "\\u007f"
