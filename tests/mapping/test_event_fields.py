"""Events are built by position, for speed; each value says which field it is, and here is proved that it is so."""

from __future__ import annotations

import ast
import tokenize
from pathlib import Path

import pytest

from mapping.event import Event
from project_files import project_file

BUILDERS = ("mapping/spans/api_call.py", "mapping/spans/actions.py", "mapping/logs/calls.py", "mapping/logs/events.py")


def named_values(path: Path) -> list[list[str]]:
    """Of each `_new(Event, (...))` in a file the names that stand behind its values, in order."""
    with path.open("rb") as file:
        comments = {
            token.start[0]: token.string.lstrip("# ").split(" ")[0]
            for token in tokenize.tokenize(file.readline)
            if token.type == tokenize.COMMENT
        }
    built = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name("_new"), args=[ast.Name("Event"), ast.Tuple(elts=values)]):
                built.append([comments.get(value.end_lineno or 0, "") for value in values])
    return built


@pytest.mark.parametrize("builder", BUILDERS)
def test_every_value_of_an_event_names_its_field(builder: str) -> None:
    for names in named_values(project_file(builder)):
        assert names == list(Event._fields)


def test_all_four_builders_are_found() -> None:
    assert sum(len(named_values(project_file(builder))) for builder in BUILDERS) == 4


def test_a_value_in_the_wrong_place_is_seen(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("_new(Event, (\n    a,  # transaction_id\n    b,  # event_type\n))\n")
    assert named_values(wrong) == [["transaction_id", "event_type"]]
