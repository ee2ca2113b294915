"""Requests as public bug reports and the documented formats of gateways, frameworks and libraries show them, each with
what is right: tests/testdata/cases, one `NAME.json` (or `.bin`) with a `NAME.want.json`.

A check reads the line that `weighbridge map` prints for a record: `path` is dotted, a number picks an item of a list.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson
import pytest
import yaml

from mapping.event_json import event_json
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from project_files import TESTDATA
from receiver.decode.request import DecodeLimits, decode_request
from receiver.errors import BadRequest

CASES: Final = TESTDATA / "cases"
NAMES: Final = sorted(path.name.removesuffix(".want.json") for path in CASES.glob("*.want.json"))
RECEIVED: Final = 1_772_442_060_000_000_000  # a minute after the times in the cases
LIMITS: Final = DecodeLimits(max_body_bytes=1 << 26, max_records=100_000, max_elements=10_000_000)
MISSING: Final = object()


def lines_of(name: str, want: dict[str, Any]) -> list[str]:
    """What `weighbridge map` prints for the case, line by line; nothing for what the receiver would refuse."""
    source = next(path for end in ("json", "bin") if (path := CASES / f"{name}.{end}").exists())
    settings = MappingSettings()
    if "config" in want:
        settings = MappingSettings.model_validate(yaml.safe_load((CASES / want["config"]).read_text())["mapping"])
    kind = want.get("content_type", "application/json")
    try:
        decoded = decode_request(Decoder(), want["signal"], kind, "", source.read_bytes(), LIMITS)
    except BadRequest:
        return []
    mapper = Mapper(settings, Sampler(SamplingSettings()))
    mapped = mapper.map(decoded, received_unix_ns=RECEIVED, keep_skips=True, sample=False)
    assert mapped.failed == []
    return [orjson.dumps(event_json(event)).decode() for event in mapped.events]


def at(value: Any, path: str) -> Any:
    """The value at a dotted path, MISSING when there is none. Keys that hold dots come before nested ones."""
    while path:
        if isinstance(value, dict) and path in value:
            return value[path]
        head, _, path = path.partition(".")
        if isinstance(value, dict) and head in value:
            value = value[head]
        elif isinstance(value, list) and head.isdigit() and int(head) < len(value):
            value = value[int(head)]
        else:
            return MISSING
    return value


def holds(check: dict[str, Any], found: Any, line: str) -> bool:
    wanted: Any = check.get("value")
    match check["op"]:
        case "eq":
            return bool(found == wanted)
        case "ne":
            return bool(found != wanted)
        case "in":
            return found in wanted or (found is MISSING and None in wanted)
        case "absent":
            return found is MISSING
        case "present":
            return found is not MISSING
        case "matches":
            return isinstance(found, str) and re.search(str(wanted), found) is not None
        case "approx":
            return isinstance(found, int | float) and abs(found - wanted) <= check.get("tolerance", abs(wanted) / 100)
        case "contains_anywhere":
            return str(wanted) in line
        case "not_contains_anywhere":
            return str(wanted) not in line
    raise AssertionError(check)


@pytest.mark.parametrize("name", NAMES)
def test_a_request_from_the_field_comes_out_right(name: str) -> None:
    want = orjson.loads((CASES / f"{name}.want.json").read_bytes())
    lines = lines_of(name, want)
    wrong = []
    for check in want["checks"]:
        if "record" not in check:
            line = "\n".join(lines)
            value: Any = {"lines": len(lines), "output": line}
        else:
            line = lines[check["record"]]
            value = orjson.loads(line)
        found = at(value, check["path"]) if "path" in check else MISSING
        if not holds(check, found, line):
            wrong.append({**check, "found": "nothing" if found is MISSING else found})
    assert wrong == []


def test_the_cases_are_there() -> None:
    assert len(NAMES) > 0
