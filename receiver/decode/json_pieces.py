"""Parsing long JSON piece by piece: in one call it holds the interpreter, and so every other request, for seconds.

What comes out is the same as from `orjson.loads`. The text is cut at commas and behind brackets; what lies between two
cuts is made whole with brackets of its own and parsed, so it is orjson that judges every byte. The few lists and
objects that reach over a cut are put together here.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

import orjson

_WHOLE = 1 << 20  # bytes that are parsed in one call: at most 0.06 s
_PIECE = 256 << 10  # bytes after which a cut is looked for
_DEEPEST = 1024  # as orjson; what goes by as one may be three deeper

# Nothing else runs during a match either, so each has a bound on how far it goes. Possessive: no way back. What is
# small and nested no deeper than most attributes goes by as one, without regard to which bracket closes which.
_TEXT = rb'"(?:[^"\\]{1,256}+|\\.){0,200}+"'
_MEMBER = rb'[^"\[\]{}]{1,256}+|' + _TEXT
for _ in range(3):
    _MEMBER = rb'[^"\[\]{}]{1,256}+|' + _TEXT + rb"|[\[{](?:" + _MEMBER + rb"){0,20}+[\]}]"
_TO_BRACKET = re.compile(rb"(?:" + _MEMBER + rb"){0,100}+([\[\]{}]?)", re.DOTALL)
_TO_COMMA = re.compile(rb"(?:" + _MEMBER.replace(rb'[^"', rb'[^",', 1) + rb"){0,20}+(,?)", re.DOTALL)
_IN_TEXT = re.compile(rb'(?:[^"\\]{1,4096}+|\\.){0,200}+("?)', re.DOTALL)

_SPACE = b" \t\n\r"
_CHILD = secrets.token_hex()  # stands for a list or object that is put together here; no sender can know it
_CHILD_JSON = orjson.dumps(_CHILD)


def loads(data: bytes, pieces: list[Any]) -> Any:
    """As orjson.loads. Raises orjson.JSONDecodeError.

    What was made of each piece is added to `pieces`, as letting go of it all at once takes long as well.
    """
    if len(data) <= _WHOLE:
        return orjson.loads(data)
    return _Pieces(data, pieces).parse()


class _Pieces:
    def __init__(self, data: bytes, pieces: list[Any]) -> None:
        self._data = data
        self._pieces = pieces
        self._open: list[int] = []  # where each list and object begins that is not closed yet, the outermost first
        self._built: list[list[Any] | dict[str, Any]] = [[]]  # a list for the document, then the outermost of them
        self._cut = 0  # all before is parsed
        self._begun = False  # whether the innermost of `_built` has a member already

    def parse(self) -> Any:
        data, position, end = self._data, 0, len(self._data)
        while position < end:
            match = _TO_BRACKET.match(data, position)
            if match is None or match.end() == position:
                position = self._after_text(position)
                continue
            position = match.end()
            bracket = match[1]
            if not bracket:
                if position - self._cut >= _PIECE and (match := _TO_COMMA.match(data, position)) and match[1]:
                    position = match.end()
                    self._parse_to(position - 1)
            elif bracket in b"[{":
                self._open.append(position - 1)
                if len(self._open) > _DEEPEST:
                    raise self._error("depth limit exceeded", position - 1)
            else:
                self._close(bracket, position)
        if self._open:
            raise self._error("unexpected end of data", end)
        self._members(end)
        document = list(self._built[0])
        if len(document) != 1:
            raise self._error("unexpected content after document", end)
        return document[0]

    def _after_text(self, position: int) -> int:
        """Where a text ends that is too long for one match."""
        if self._data[position] != 0x22:
            raise self._error("unexpected character", position)
        position += 1
        while match := _IN_TEXT.match(self._data, position):
            if match[1]:
                return match.end()
            if match.end() == position:
                break
            position = match.end()
        raise self._error("unexpected end of data", position)

    def _close(self, bracket: bytes, position: int) -> None:
        if not self._open:
            raise self._error("unexpected character", position - 1)
        if len(self._open) == len(self._built) - 1:
            if bracket != (b"]" if type(self._built[-1]) is list else b"}"):
                raise self._error("unexpected character", position - 1)
            self._members(position - 1)
            self._built.pop()
            self._cut, self._begun = position, True
        self._open.pop()
        if position - self._cut >= _PIECE:
            self._parse_to(position)

    def _parse_to(self, position: int) -> None:
        """Make a cut here, which is behind a member of the innermost list or object."""
        for start in self._open[len(self._built) - 1 :]:
            child: list[Any] | dict[str, Any] = [] if self._data[start] == 0x5B else {}
            self._members(start, child)
            self._built.append(child)
            self._cut, self._begun = start + 1, False
        self._members(position)
        self._cut, self._begun = position, True

    def _members(self, position: int, child: list[Any] | dict[str, Any] | None = None) -> None:
        """Parse up to here into the innermost of `_built`, with a child that follows."""
        parent = self._built[-1]
        text = self._data[self._cut : position].strip(_SPACE)
        if not text and (child is None or (type(parent) is list and not self._begun)):
            if child is not None:
                parent.append(child)  # type: ignore[union-attr]
            return
        if self._begun:
            if text[:1] != b"," or (len(text) == 1 and child is None):
                raise self._error("unexpected character", self._cut)
            text = text[1:]
        if child is not None:
            text += _CHILD_JSON
        try:
            if isinstance(parent, list):
                text = b"[" + text + b"]"  # dropping the copy that was
                items = orjson.loads(text)
                self._pieces.append(items)
                parent += items
                if child is not None:
                    parent[-1] = child
                return
            members = orjson.loads(b"{" + text + b"}")
        except orjson.JSONDecodeError as error:
            raise self._error(error.msg.partition(":")[0], self._cut + error.pos) from None
        if child is not None:
            key = next(key for key in reversed(members) if members[key] == _CHILD)
            members[key] = child
        self._pieces.append(members)
        parent.update(members)

    def _error(self, what: str, position: int) -> orjson.JSONDecodeError:
        return orjson.JSONDecodeError(f"{what}: near byte {position}", "", 0)
