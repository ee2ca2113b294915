"""W3C tracestate: what upstream samplers decided.

Reading is strict inside the `ot` member and lenient about everybody else's: a broken foreign member must not
cost us a good threshold, because losing it loses a factor of every count (spec/sampling.md §2.2, §2.3).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mapping.sampling.thresholds import parse_rv, parse_th, th_text

MAX_CHARACTERS = 8192
MAX_MEMBERS = 32
MAX_VALUE_CHARACTERS = 256

_SUB_KEY = re.compile(r"[a-z][a-z0-9]*", re.ASCII)
_SUB_VALUE = re.compile(r"[A-Za-z0-9._-]*", re.ASCII)
_LEGACY = re.compile(r"0|[1-9][0-9]?", re.ASCII)


class State(NamedTuple):
    """What one tracestate says about sampling.

    -1 and "" mean absent (or malformed, which is the same to a decision).
    """

    malformed: bool  # bad `ot` syntax or a bad `th`: the threshold is unknown
    th: int
    th_text: str  # normalised
    rv: int
    p: int  # old p-value, 0..62
    r: int  # old r-value, 0..62


ABSENT = State(False, -1, "", -1, -1, -1)
MALFORMED = State(True, -1, "", -1, -1, -1)


def parse(text: str) -> State:
    """The sampling state in a tracestate header value. Never raises."""
    if not text:
        return ABSENT
    members = members_of(text)
    if members is None:
        return MALFORMED
    ours = [value for key, value in members if key == "ot"]
    if not ours:
        return ABSENT
    fields = sub_keys_of(ours[0]) if len(ours) == 1 else None
    if fields is None:
        return MALFORMED
    th = parse_th(fields["th"]) if "th" in fields else -1
    return State(
        malformed="th" in fields and th < 0,
        th=th,
        th_text=th_text(th) if th >= 0 else "",
        rv=parse_rv(fields.get("rv", "")),
        p=_legacy(fields.get("p", "")),
        r=_legacy(fields.get("r", "")),
    )


def members_of(text: str) -> list[tuple[str, str | None]] | None:
    """(key, value) in order, value None for a member without "="; None for a list that must be discarded."""
    if len(text) > MAX_CHARACTERS:
        return None
    members = [member for part in text.split(",") if (member := part.strip(" \t"))]
    if len(members) > MAX_MEMBERS:
        return None
    return [(key, value if equals else None) for key, equals, value in (m.partition("=") for m in members)]


def sub_keys_of(value: str | None) -> dict[str, str] | None:
    """The sub-keys of an `ot` value in order, or None for bad syntax."""
    if value is None or len(value) > MAX_VALUE_CHARACTERS:
        return None
    fields: dict[str, str] = {}
    for part in value.split(";"):
        key, colon, text = part.partition(":")
        if not colon or key in fields or not _SUB_KEY.fullmatch(key) or not _SUB_VALUE.fullmatch(text):
            return None
        fields[key] = text
    return fields


def _legacy(text: str) -> int:
    """0..62, else -1. 63 means "unknown" in the old scheme."""
    return int(text) if _LEGACY.fullmatch(text) and int(text) <= 62 else -1
