"""Levels of log records, spec/mapping.md §6 L4."""

from __future__ import annotations

from typing import Any

import pytest

from mapping.logs.levels import level_keys, severity
from mapping.logs.record import flatten


def number(body: dict[str, Any]) -> int:
    flat = flatten(body)
    return severity("", flat, level_keys(flat))[0]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("WRN", 13),
        ("FTL", 21),
        ("ERROR+4", 21),
        ("INFO+2", 11),
        ("DEBUG-4", 1),
        ("WARN-1", 12),
        ("ERROR+99", 24),
        ("VRB", 1),
        ("Information", 9),
        ("[WARN]", 13),
        ("\x1b[32minfo\x1b[39m", 9),
        ("finer", 3),
        ("CONFIG", 7),
        ("dpanic", 21),
        ("E", 17),
        ("30", 9),
        (30, 9),
        (30.0, 9),
        ("error2", 18),
        ("DEFAULT", 0),
        ("Metadata", 0),
        ("Request", 0),
        ("ERROR+x", 0),
        ("off", 0),
        (True, 0),
        (None, 0),
        (35, 9),
        (45, 13),
        (69, 21),
        (7, 0),
        (70, 0),
        (10**40, 0),
        (float("nan"), 0),
        ("x" * 100_000, 0),
    ],
)
def test_levels(level: Any, expected: int) -> None:
    assert number({"level": level}) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"PRIORITY": "3"}, 17),
        ({"PRIORITY": 6}, 9),
        ({"priority": "WARN"}, 13),
        ({"levelno": 40, "levelname": "ERROR"}, 17),
        ({"levelno": 20}, 9),
        ({"level": "INFO", "level_value": 20000}, 9),
        ({"level_value": 40000}, 17),
        ({"level": 300, "level_name": "WARNING"}, 13),
        ({"level": 250}, 10),
        ({"severity": 500}, 17),
        ({"severity": "EMERGENCY"}, 24),
        ({"severity": "3"}, 0),
        ({"severityNumber": 17}, 17),
        ({"version": "1.1", "short_message": "m", "level": 4}, 13),
        ({"level": {"level": 40000, "levelStr": "ERROR", "colour": "red"}}, 17),
        ({"record": {"level": {"name": "WARNING", "no": 30}}}, 13),
        ({"log": {"level": "warn"}}, 13),
        ({"log": {"syslog": {"severity": {"code": 3}}}}, 17),
        ({"@l": "Warning"}, 13),
        ({"fields": {"level": "error"}}, 17),
        ({"order": {"level": "error"}}, 0),
        ({"lvl": "crit"}, 21),
    ],
)
def test_keys_and_scales(body: dict[str, Any], expected: int) -> None:
    assert number(body) == expected
