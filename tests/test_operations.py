"""docs/operations.md says what the program says: its log lines, and the fields of /readyz."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import exporter
import mapping
import receiver
import weighbridge
from project_files import ROOT

OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
# In a line of the table: names in capitals, numbers, and what stands for a reason.
_FILLED_IN = re.compile(r"\b(?:N requests|[A-Z]{1,9}|why)\b|\d[\d.]*|…|: receiver$")


def folder_of(package: ModuleType) -> Path:
    """Where it is installed, which need not be here."""
    return Path(next(iter(package.__path__)))


def section(title: str) -> str:
    return OPERATIONS.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@cache
def texts() -> str:
    """Every text in the code, parts that are filled in left out."""
    found: list[str] = []
    for package in (exporter, mapping, receiver, weighbridge):
        for path in sorted(folder_of(package).rglob("*.py")):
            constants = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
            found += (value for value in constants if isinstance(value, str))
    return "\n".join(found)


def test_every_log_line_that_is_explained_is_one_of_the_program() -> None:
    lines = [
        line for row in re.findall(r"^\| (`.*?`) \| ", section("Log lines"), re.MULTILINE) for line in line_texts(row)
    ]
    assert len(lines) > 20
    unsaid = {
        (line, part)
        for line in lines
        for part in (text.strip(" :,;()") for text in _FILLED_IN.split(line))
        if len(part) > 3 and part not in texts() and not all(half in texts() for half in part.split(", ", 1))
    }
    assert unsaid == set()


def line_texts(row: str) -> list[str]:
    return re.findall(r"`([^`]+)`", row)


def test_every_field_of_readyz_is_explained() -> None:
    explained = set(
        re.findall(r"`(\w+)(?:\.NAME)?`", "".join(re.findall(r"^\| (.*?) \|", section("Is it well?"), re.MULTILINE)))
    )
    health = ast.parse((folder_of(weighbridge) / "admin" / "health.py").read_text(encoding="utf-8"))
    (facts,) = (node for node in ast.walk(health) if isinstance(node, ast.FunctionDef) and node.name == "facts")
    fields = {
        key.value
        for node in ast.walk(facts)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    assert fields | {"status", "reasons"} == explained
