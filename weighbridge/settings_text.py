"""The text of a settings file -> plain data: YAML in which a key stands once, with references to the environment.

    ${NAME}, ${env:NAME}                      the variable, which must be set
    ${NAME:-default}, ${env:NAME:-default}    the default where it is not set
    $$                                        one dollar sign

References are replaced after YAML is read, in values only, and once: what a variable holds is taken as it is, so that
it can neither add settings nor refer to others. Whatever else looks like a reference is refused, because it would be
used as it stands: as a password, a host, a directory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_DOLLAR = re.compile(
    rf"(?P<dollar>\$\$)|\$\{{(?:env:)?(?P<name>{_NAME})(?::-(?P<default>[^{{}}$]*))?\}}"
    rf"|(?P<odd>\$\{{)|\$(?P<bare>{_NAME}|\([A-Z_][A-Z0-9_]*\))"
)
_MERGE = "tag:yaml.org,2002:merge"
DEEPEST = 50  # levels of a settings file; the settings themselves have seven


class TextError(Exception):
    """One line: which setting or line, what is wrong, what would be right. Never holds a value."""


def read_document(text: str) -> Any:
    """What the YAML says. Raises TextError."""
    try:
        return yaml.load(text, _OnceLoader)  # noqa: S506 a SafeLoader
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        place = f" at line {where.line + 1}, column {where.column + 1}" if where else ""
        problem = getattr(error, "problem", None) or "unreadable text"
        if isinstance(error, _TwiceError):
            raise TextError(problem) from error
        if "'\\t'" in problem:
            problem = "a tab is no indentation in YAML; use blanks"
        raise TextError(f"not YAML{place}: {problem}") from error
    except ValueError as error:
        raise TextError("a value looks like a date or a number, and is none; put it in quotes") from error
    except RecursionError as error:
        raise TextError(f"nested deeper than any setting ({DEEPEST} levels)") from error


def expand(value: Any, environment: Mapping[str, str], path: str = "") -> Any:
    """The document with every reference in a text replaced. Raises TextError, which names the setting."""
    if path.count(".") > DEEPEST:  # also what an alias of YAML makes endless
        raise TextError(f"{path[:80]}…: nested deeper than any setting ({DEEPEST} levels)")
    if isinstance(value, dict):
        return {_key(key, path): expand(item, environment, _below(path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item, environment, _below(path, index)) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def one(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        name, bare = match["name"], match["bare"]
        if bare:
            right = f"${{env:{bare.strip('()')}}}"
            raise TextError(
                f"{path}: ${bare} is no reference here; write {right}, or $${bare} if a dollar sign is meant"
            )
        if not name:
            raise TextError(
                f"{path}: ${{… is no reference that can be read; write ${{env:NAME}} or ${{env:NAME:-default}} "
                "(no reference inside a default), or $${ if a dollar sign is meant"
            )
        found = environment.get(name, match["default"])
        if found is None:
            raise TextError(f"{path}: the environment variable {name} is not set (give a default: ${{env:{name}:-…}})")
        return found

    return _DOLLAR.sub(one, value)


def _key(key: Any, path: str) -> Any:
    if isinstance(key, str) and any(match["name"] or match["odd"] for match in _DOLLAR.finditer(key)):
        raise TextError(f"{_below(path, key)}: the name of a setting cannot come from the environment")
    return key


def _below(path: str, part: object) -> str:
    return f"{path}.{part}" if path else str(part)


class _TwiceError(yaml.MarkedYAMLError):
    """A key that stands twice in one mapping: YAML forbids it, the library keeps the last without a word."""


class _OnceLoader(yaml.SafeLoader):
    """YAML's plain data, in which no mapping has a key twice. A key may still override one that `<<` brings."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            # As it is read: `yes` and `true` are one key, and so are `a` and "a".
            key = "<<" if key_node.tag == _MERGE else self.construct_object(key_node)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise _TwiceError(problem=f"{key_node.value} stands twice, at lines {seen[key]} and {line}; keep one")
            seen[key] = line
        return super().construct_mapping(node, deep)
