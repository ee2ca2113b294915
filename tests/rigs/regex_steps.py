"""How many steps a regular expression of `re` takes on a text: counted, not timed.

A backtracking machine runs the parse tree that `re` itself compiles, and tries what `re` tries in the same order. `re`
skips some steps that cannot succeed, so the count is an upper bound of the same growth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

# By name: type checkers see these modules of the library only sometimes.
compiler: Any = import_module("re._compiler")
op: Any = import_module("re._constants")
parser: Any = import_module("re._parser")

AnyText = str | bytes
Code = list[tuple[Any, ...]]
_GREEDY, _LAZY, _POSSESSIVE = range(3)
_KINDS = {op.MAX_REPEAT: _GREEDY, op.MIN_REPEAT: _LAZY, op.POSSESSIVE_REPEAT: _POSSESSIVE}
_SINGLE = (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN, op.CATEGORY)


class TooManySteps(Exception):
    """The count went over its limit."""


class Counter:
    """Steps of one pattern, with at most `limit` of them.

    most: repeats that have a bound are taken to have at most this one. How high a bound is changes nothing in how the
    steps grow with a text that is longer, but short texts show it only when bounds are lower still.
    """

    def __init__(self, pattern: re.Pattern[Any], limit: int = 50_000_000, most: int = 1 << 60) -> None:
        self.pattern = pattern
        self.limit = limit
        self._most = most
        self.steps = 0
        self._tree = parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
        self._registers = pattern.groups + 1
        self._code: Code = []
        self._emit(self._tree, pattern.flags, self._code)
        self._code.append(("match",))

    def search_all(self, text: AnyText) -> int:
        """Steps of finditer, findall, sub and split."""
        at = 0
        while at <= len(text):
            end = self._run(self._code, text, at)
            at = at + 1 if end is None or end == at else end
        return self.steps

    def search(self, text: AnyText, start: int = 0) -> int:
        """Steps of search."""
        for at in range(start, len(text) + 1):
            if self._run(self._code, text, at) is not None:
                break
        return self.steps

    def match(self, text: AnyText, at: int = 0) -> int:
        """Steps of match, and of fullmatch, which tries what is left when the end was not reached."""
        self._run(self._code, text, at)
        return self.steps

    def fullmatch(self, text: AnyText) -> int:
        """Steps of fullmatch."""
        self._run([*self._code[:-1], ("end",), ("match",)], text, 0)
        return self.steps

    def _run(self, code: Code, text: AnyText, at: int, registers: list[Any] | None = None) -> int | None:
        """Where the match that begins at a place ends, None without one."""
        stack: list[tuple[Any, ...]] = []
        pc, state = 0, tuple(registers or [None] * (2 * self._registers + 64))
        size = len(text)
        while True:
            self.steps += 1
            if self.steps > self.limit:
                raise TooManySteps
            step = code[pc]
            kind = step[0]
            good = True
            if kind == "one":
                good = at < size and step[1](text[at : at + 1])
                at, pc = at + 1, pc + 1
            elif kind == "run":
                _, run_of, low, high, mode = step
                end = min(run_of(text, at).end(), at + high)
                self.steps += end - at
                if end - at < low:
                    good = False
                else:
                    if mode == _GREEDY and end > at + low:
                        stack.append(("back", pc + 1, end - 1, at + low, state))
                    elif mode == _LAZY and end > at + low:
                        stack.append(("on", pc + 1, at + low + 1, end, state))
                        end = at + low
                    at, pc = end, pc + 1
            elif kind == "split":
                stack.append(("plain", step[2], at, 0, state))
                pc = step[1]
            elif kind == "jump":
                pc = step[1]
            elif kind == "set":
                state = (*state[: step[1]], at, *state[step[1] + 1 :])
                pc += 1
            elif kind == "moved":
                good = state[step[1]] != at
                pc += 1
            elif kind == "test":
                good = step[1](text, at)
                pc += 1
            elif kind == "end":
                good = at == size
                pc += 1
            elif kind == "look":
                _, inner, ahead, wanted, width = step
                begin = at if ahead else at - width
                found = begin >= 0 and self._run(inner, text, begin, list(state)) is not None
                good = found == wanted
                pc += 1
            elif kind == "atomic":
                inner_end = self._run(step[1], text, at, list(state))
                good = inner_end is not None
                at, pc = at if inner_end is None else inner_end, pc + 1
            elif kind == "again":
                begin, stop = state[2 * step[1]], state[2 * step[1] + 1]
                good = begin is not None and stop is not None
                if good:
                    held = text[begin:stop]
                    self.steps += len(held)
                    good = text[at : at + len(held)] == held
                    at, pc = at + len(held), pc + 1
            else:
                return at
            if good:
                continue
            if not stack:
                return None
            how, pc, at, other, state = stack.pop()
            if how == "back" and at > other:
                stack.append(("back", pc, at - 1, other, state))
            elif how == "on" and at < other:
                stack.append(("on", pc, at + 1, other, state))

    def _emit(self, nodes: Any, flags: int, code: Code) -> None:
        for kind, value in nodes:
            if kind in _SINGLE:
                code.append(("one", _tester(kind, value, flags, self._bytes)))
            elif kind is op.SUBPATTERN:
                group, added, removed, inner = value
                if group is not None:
                    code.append(("set", 2 * group))
                self._emit(inner, (flags | added) & ~removed, code)
                if group is not None:
                    code.append(("set", 2 * group + 1))
            elif kind is op.BRANCH:
                ends = []
                for number, inner in enumerate(value[1]):
                    last = number == len(value[1]) - 1
                    at = len(code)
                    if not last:
                        code.append(())
                    self._emit(inner, flags, code)
                    if not last:
                        ends.append(len(code))
                        code.append(())
                        code[at] = ("split", at + 1, len(code))
                for end in ends:
                    code[end] = ("jump", len(code))
            elif kind in _KINDS:
                low, high, inner = value
                self._repeat(_KINDS[kind], low, high, inner, flags, code)
            elif kind is op.ATOMIC_GROUP:
                code.append(("atomic", self._inner(value, flags)))
            elif kind in (op.ASSERT, op.ASSERT_NOT):
                direction, inner = value
                code.append(("look", self._inner(inner, flags), direction > 0, kind is op.ASSERT, inner.getwidth()[0]))
            elif kind is op.AT:
                code.append(("test", _place(value, flags, self._bytes)))
            elif kind is op.GROUPREF:
                code.append(("again", value))
            else:
                raise NotImplementedError(kind)

    def _inner(self, nodes: Any, flags: int) -> Code:
        code: Code = []
        self._emit(nodes, flags, code)
        return [*code, ("match",)]

    def _repeat(self, mode: int, low: int, high: Any, nodes: Any, flags: int, code: Code) -> None:
        unbounded = high is op.MAXREPEAT
        if len(nodes) == 1 and nodes[0][0] in _SINGLE:
            most = 1 << 60 if unbounded else min(int(high), max(low, self._most))
            code.append(("run", _compiled(nodes, flags, self._bytes, run=True), low, most, mode))
            return
        if mode == _POSSESSIVE:
            inner: Code = []
            self._repeat(_GREEDY, low, high, nodes, flags, inner)
            code.append(("atomic", [*inner, ("match",)]))
            return
        for _ in range(low):
            self._emit(nodes, flags, code)
        if unbounded:
            slot = 2 * self._registers + len(code) % 64
            begin = len(code)
            code.append(())
            code.append(("set", slot))
            self._emit(nodes, flags, code)
            code.append(("moved", slot))
            code.append(("jump", begin))
            code[begin] = _split(mode, begin + 1, len(code))
            return
        splits = []
        for _ in range(min(int(high), max(low, self._most)) - low):
            splits.append(len(code))
            code.append(())
            self._emit(nodes, flags, code)
        for at in splits:
            code[at] = _split(mode, at + 1, len(code))

    @property
    def _bytes(self) -> bool:
        return isinstance(self.pattern.pattern, bytes)


def _split(mode: int, inside: int, after: int) -> tuple[str, int, int]:
    return ("split", inside, after) if mode == _GREEDY else ("split", after, inside)


def _compiled(nodes: Sequence[Any], flags: int, of_bytes: bool, *, run: bool = False) -> Callable[[AnyText], Any]:
    state = parser.State()
    state.flags = flags & (re.ASCII | re.IGNORECASE | re.DOTALL | re.MULTILINE | re.LOCALE)
    if not of_bytes and not flags & re.ASCII:
        state.flags |= re.UNICODE
    state.str = b"" if of_bytes else ""
    inner = parser.SubPattern(state, list(nodes))
    if run:
        inner = parser.SubPattern(state, [(op.POSSESSIVE_REPEAT, (0, op.MAXREPEAT, inner))])
    found: re.Pattern[Any] = compiler.compile(inner, state.flags)
    return found.match


def _tester(kind: Any, value: Any, flags: int, of_bytes: bool) -> Callable[[AnyText], bool]:
    match = _compiled([(kind, value)], flags, of_bytes)
    known: dict[AnyText, bool] = {}

    def test(char: AnyText) -> bool:
        try:
            return known[char]
        except KeyError:
            return known.setdefault(char, match(char) is not None)

    return test


def _place(where: Any, flags: int, of_bytes: bool) -> Callable[[AnyText, int], bool]:
    newline: Any = b"\n" if of_bytes else "\n"
    word = _compiled([(op.IN, [(op.CATEGORY, op.CATEGORY_WORD)])], flags, of_bytes)

    def boundary(text: AnyText, at: int) -> bool:
        before = at > 0 and word(text[at - 1 : at]) is not None
        return before != (at < len(text) and word(text[at : at + 1]) is not None)

    multi = bool(flags & re.MULTILINE)
    if where is op.AT_BEGINNING:
        return lambda text, at: at == 0 or (multi and text[at - 1 : at] == newline)
    if where is op.AT_BEGINNING_STRING:
        return lambda text, at: at == 0
    if where is op.AT_END:
        return lambda text, at: at == len(text) or ((at == len(text) - 1 or multi) and text[at : at + 1] == newline)
    if where is op.AT_END_STRING:
        return lambda text, at: at == len(text)
    if where is op.AT_BOUNDARY:
        return boundary
    return lambda text, at: not boundary(text, at)


def repeats_nothing(pattern: re.Pattern[Any]) -> bool:
    """Whether no part may come more than once: then a try takes so many steps at most, however long the text is."""

    def most(nodes: Any) -> int:
        counts = [1]
        for kind, value in nodes:
            if kind in _KINDS:
                counts += [int(value[1]), most(value[2])]
            elif kind is op.SUBPATTERN:
                counts.append(most(value[3]))
            elif kind is op.BRANCH:
                counts += map(most, value[1])
            elif kind is op.ATOMIC_GROUP:
                counts.append(most(value))
            elif kind in (op.ASSERT, op.ASSERT_NOT):
                counts.append(most(value[1]))
        return max(counts)

    return most(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)) == 1


def prefixes(pattern: re.Pattern[Any]) -> list[str]:
    """Texts that go along the pattern as far as each of its parts, each alternative once."""
    found = {"": None}
    tree = parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    for text in _along(list(tree), pattern.flags, isinstance(pattern.pattern, bytes), "", {}):
        found[text] = None
    return list(found)


def members(pattern: re.Pattern[Any]) -> list[str]:
    """What the pattern's own repeats repeat: one example of each."""
    found: dict[str, None] = {}

    def walk(nodes: Any) -> None:
        for kind, value in nodes:
            if kind in _KINDS:
                found[_ends(list(value[2]), pattern.flags, of_bytes, {})[0]] = None
                walk(value[2])
            elif kind is op.SUBPATTERN:
                walk(value[3])
            elif kind is op.BRANCH:
                for inner in value[1]:
                    walk(inner)
            elif kind is op.ATOMIC_GROUP:
                walk(value)

    of_bytes = isinstance(pattern.pattern, bytes)
    walk(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))
    return [text for text in found if text]


_EXAMPLES = "ax1 -\"'=:;,&<>{}[]()/\\.@%\t\n_AZ9?#"
_MOST = 12  # ways to go through one part


def _example(kind: Any, value: Any, flags: int, of_bytes: bool) -> str:
    test = _tester(kind, value, flags, of_bytes)
    char: str
    for char in (*_EXAMPLES, *map(chr, range(128))):
        if test(char.encode() if of_bytes else char):
            return char
    return "\u0100"


def _ends(nodes: list[Any], flags: int, of_bytes: bool, groups: dict[int, str]) -> list[str]:
    """Texts that go through all of the nodes."""
    texts = [""]
    for kind, value in nodes:
        texts = [text + more for text in texts for more in _through(kind, value, flags, of_bytes, groups)][:_MOST]
    return texts


def _through(kind: Any, value: Any, flags: int, of_bytes: bool, groups: dict[int, str]) -> list[str]:
    if kind in _SINGLE:
        return [_example(kind, value, flags, of_bytes)]
    if kind is op.SUBPATTERN:
        texts = _ends(list(value[3]), flags, of_bytes, groups)
        if value[0] is not None:
            groups[value[0]] = texts[0]
        return texts
    if kind is op.BRANCH:
        return [text for inner in value[1] for text in _ends(list(inner), flags, of_bytes, groups)[:3]][:_MOST]
    if kind in _KINDS:
        low, _, inner = value
        texts = _ends(list(inner), flags, of_bytes, groups)
        return [text * max(low, 1) for text in texts] + ([""] if low == 0 else [])
    if kind is op.ATOMIC_GROUP:
        return _ends(list(value), flags, of_bytes, groups)
    if kind is op.GROUPREF:
        return [groups.get(value, "")]
    return [""]


def _along(nodes: list[Any], flags: int, of_bytes: bool, before: str, groups: dict[int, str]) -> Iterator[str]:
    for kind, value in nodes:
        parts: list[Any] = []
        if kind is op.SUBPATTERN:
            parts = [value[3]]
        elif kind is op.BRANCH:
            parts = list(value[1])
        elif kind in _KINDS:
            parts = [value[2]]
        elif kind is op.ATOMIC_GROUP:
            parts = [value]
        for part in parts:
            yield from _along(list(part), flags, of_bytes, before, groups)
        for text in _through(kind, value, flags, of_bytes, groups)[:4]:
            yield before + text
        before += _through(kind, value, flags, of_bytes, groups)[0]
