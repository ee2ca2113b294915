"""No input makes a pattern or a scanner take more than time linear in it: steps are counted, at n and 4n characters.

Every regular expression of the four packages is found, by walking the modules and their sources; each is fed what goes
along it as far as each of its parts, followed by long runs, and both repeated. One in which nothing repeats need not
be: a try takes no more steps than it has parts.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any, Final, NamedTuple

import pytest

import exporter
import mapping
import receiver
import weighbridge
from exporter.clickhouse.schema import COLUMN
from mapping.dialects.lines import compile_format
from mapping.dialects.table import builtin
from mapping.masks.mentions import Mentions
from mapping.masks.settings import MaskSettings
from mapping.masks.verdicts import verdicts_for
from regex_steps import Counter, TooManySteps, members, prefixes, repeats_nothing

N: Final = 24  # characters; steps are counted at four times as many too
GROWTH: Final = 6  # times as many steps for four times the text: below is linear, 16 is quadratic
FEW: Final = 15  # steps a character: nothing that grows faster takes as few
LIMIT: Final = 60_000  # steps at 4 N where counting ends
SHORTEST_BOUND: Final = 6  # repeats with a bound are taken to have this one, see Counter
RUNS: Final = (
    *(" ", "\t", "\n", "'", '"', "\\", "a", "A", "1", "=", ":", ";", ",", "&", "(", "{", "[", "<", "%"),
    *("-", "_", ".", "/", "@", "?", "é", "a ", "a="),
)  # fmt: skip

# Patterns made when the settings are read: (module, function) -> one made of hostile settings.
MADE_LATER: Final[dict[tuple[str, str], Callable[[], list[re.Pattern[Any]]]]] = {
    ("mapping.masks.verdicts", "__init__"): lambda: [
        found
        for found in vars(verdicts_for(MaskSettings(), "attributes", drop=("a.*.b*.c", "*.a*b*"))).values()
        if isinstance(found, re.Pattern)
    ],
    ("mapping.masks.mentions", "__init__"): lambda: [
        found.__self__
        for found in vars(Mentions((), ("gen_ai.prompt.*", "llm.*"))).values()
        if isinstance(getattr(found, "__self__", None), re.Pattern)
    ],
    ("mapping.dialects.lines", "compile_format"): lambda: [
        *map(compile_format, sorted({line for dialect in builtin().values() for line in dialect.logs.lines})),
        compile_format('$a $b,$c;$d [$e] "$request" $status $f'),
    ],
    ("weighbridge.settings_reference", "_describe"): lambda: [re.compile(r"(?<![\w-])word(?![\w-])")],
}
# Whose texts are our own, whatever anybody sends.
OURS: Final = {
    COLUMN: "the CREATE TABLE of this version",
}
_OF_RE: Final = frozenset(("compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn"))


class Use(NamedTuple):
    """A pattern as it is used. method: match and fullmatch begin in one place, all others may begin anywhere."""

    name: str
    pattern: re.Pattern[Any]
    method: str


def modules() -> Iterator[ModuleType]:
    """All modules of the four packages."""
    for package in (receiver, mapping, exporter, weighbridge):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def patterns_in(name: str, value: Any, depth: int = 0) -> Iterator[Use]:
    """The patterns that a variable holds, in containers too."""
    owner = getattr(value, "__self__", None)
    if isinstance(value, re.Pattern):
        yield Use(name, value, "")
    elif isinstance(owner, re.Pattern):
        yield Use(name, owner, value.__name__)
    elif isinstance(value, (dict, list, tuple, set, frozenset)) and depth < 3:
        for at, inner in enumerate(value.values() if isinstance(value, dict) else value):
            yield from patterns_in(f"{name}[{at}]", inner, depth + 1)


def used_methods(tree: ast.AST, name: str) -> set[str]:
    """Methods called on a variable; "" when it is handed on."""
    found = set()
    called = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name:
            called.add(id(node.value))
            found.add(node.attr)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load) and id(node) not in called:
            found.add("")
    return found - {"pattern"} or {""}


def calls_of_re(tree: ast.AST, function: str = "") -> Iterator[tuple[str, ast.Call]]:
    """(function it is in, "" for the module; call) of everything that makes a pattern with `re`."""
    for node in ast.iter_child_nodes(tree):
        inside = node.name if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "re"
            and node.func.attr in _OF_RE
        ):
            yield inside, node
        yield from calls_of_re(node, inside)


@cache
def all_uses() -> tuple[dict[tuple[Any, int, str], Use], list[str]]:
    """(every pattern by text, flags and where it begins; calls whose pattern could not be found)"""
    uses: dict[tuple[Any, int, str], Use] = {}
    unknown = []

    def add(use: Use) -> None:
        method = use.method if use.method in ("match", "fullmatch") else "search"
        uses.setdefault((use.pattern.pattern, use.pattern.flags, method), use._replace(method=method))

    for module in modules():
        if module.__file__ is None:
            continue
        with open(module.__file__, encoding="utf-8") as file:
            tree = ast.parse(file.read())
        known = set()
        for name, value in list(vars(module).items()):
            for use in patterns_in(f"{module.__name__}.{name}", value):
                known.add(use.pattern.pattern)
                for method in {use.method} if use.method else used_methods(tree, name):
                    add(use._replace(method=method))
        for function, call in calls_of_re(tree):
            try:
                flags = [eval(ast.unparse(word.value), vars(module)) for word in call.keywords if word.arg == "flags"]
                text = eval(ast.unparse(call.args[0]), vars(module))
                if isinstance(text, re.Pattern):
                    text = text.pattern
            except NameError:
                # In a comprehension of a module: what it made was looked at above, in the variable that holds it.
                if function and (module.__name__, function) not in MADE_LATER:
                    unknown.append(f"{module.__name__}.{function}: {ast.unparse(call)}")
                continue
            if function and (call.func.attr != "compile" or text not in known):  # type: ignore[attr-defined]
                method = call.func.attr  # type: ignore[attr-defined]
                add(Use(f"{module.__name__}.{function}", re.compile(text, *flags), method))
            elif text not in known:
                unknown.append(f"{module.__name__}: {ast.unparse(call)}")
    for (name, function), make in MADE_LATER.items():
        for pattern in make():
            add(Use(f"{name}.{function}", pattern, "fullmatch"))
    return uses, unknown


def growth(pattern: re.Pattern[Any], method: str, runs: tuple[str, ...] = RUNS) -> tuple[float, str]:
    """(how much more steps a text of four times the length takes at worst, that text's beginning)"""
    counter = Counter(pattern, most=SHORTEST_BOUND)
    of_bytes = isinstance(pattern.pattern, bytes)

    def steps(text: str) -> int:
        counter.steps, counter.limit = 0, LIMIT
        given = text.encode("utf-8", "surrogatepass") if of_bytes else text
        count = {"match": counter.match, "fullmatch": counter.fullmatch}.get(method, counter.search_all)
        try:
            return count(given)
        except TooManySteps:
            return LIMIT

    worst, text_of_worst = 0.0, ""
    seen = set()
    for begin in prefixes(pattern):
        for run in dict.fromkeys((*runs, *members(pattern))):
            for before, unit in ((begin, run), ("", begin + run)):
                units = max(N // len(unit), 3)
                long = before + unit * (4 * units)
                if long in seen:
                    continue
                seen.add(long)
                most = steps(long)
                if most < FEW * len(long):
                    continue
                times = most / steps(before + unit * units)
                if most == LIMIT and times < GROWTH:
                    times = float(GROWTH)  # too many even for a short text
                if times > worst:
                    worst, text_of_worst = times, before + unit * 3
                if worst >= GROWTH:
                    return worst, text_of_worst
    return worst, text_of_worst


def test_every_pattern_is_known_here() -> None:
    uses, unknown = all_uses()
    assert not unknown
    assert len(uses) > 100


@pytest.mark.parametrize("package", ["receiver", "mapping", "exporter", "weighbridge"])
def test_steps_grow_with_the_text_and_no_faster(package: str) -> None:
    found = {
        f"{use.name}.{use.method}": text
        for use in all_uses()[0].values()
        if use.name.startswith(package) and use.pattern not in OURS and not repeats_nothing(use.pattern)
        for times, text in [growth(use.pattern, use.method)]
        if times >= GROWTH
    }
    assert not found


@pytest.mark.parametrize(
    ("pattern", "repeats"),
    [
        (r"time(?:d)? ?out|\bdns\b", False),
        (r"(?<=[a-z])(?=[A-Z])|(?>ab?)", False),
        (r"(a)\1?", False),
        (r"ab{2}", True),
        (r"a(?:b|(?:c|d{0,2}))", True),
        (r"(?!x*)y", True),
        (r"(?>a+?)", True),
    ],
)
def test_a_pattern_in_which_nothing_repeats_is_known(pattern: str, repeats: bool) -> None:
    assert repeats_nothing(re.compile(pattern)) is not repeats


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"\s*:", "search"),
        (r"password\s*\"?\s*:", "match"),
        (r"\s*,?\s*[)\]]|\Z", "match"),
        (r"\{[*]?([A-Za-z_][\w.\-]*)(?:[^{}]|\{[^{}]*\})*\}", "search"),
        (r"<a[^<]*>x", "match"),
        (r"\s*([^;,\s]+)((?:\s*;[^,]*)?)(?:,|$)", "search"),
        (r"(?:a|aa)*b", "fullmatch"),
        (r"[?&][^=&]*key[^=&]*=", "search"),
        (r"\"(?:\\.|[^\"\\\n])*(?:\"|$)", "search"),
        (r".*\\/.*/[a-z]*", "fullmatch"),
    ],
)
def test_what_is_not_linear_is_found(pattern: str, method: str) -> None:
    found = growth(re.compile(pattern), method)[0]
    assert (found >= GROWTH) == (pattern != r"<a[^<]*>x"), found
