"""Lengths of time and sizes as people write them: 30s, 1m30s, 5 minutes, 1d; 10GB, 64MiB, 1.5 GiB.

The one reader of both, for the settings and for the commands. A plain number is left to the caller, who knows whether
it means seconds, days, bytes or nothing.
"""

from __future__ import annotations

import math
import re

# By every name that a unit has; plurals and full stops apart. A month and a year have no fixed length.
_TIME_UNITS = {
    1e-9: "ns nanosecond",
    1e-6: "us µs μs microsecond",
    1e-3: "ms msec millisecond",
    1.0: "s sec second",
    60.0: "m min minute",
    3600.0: "h hr hour",
    86_400.0: "d day",
    604_800.0: "w wk week",
}
_SECONDS = {name: seconds for seconds, names in _TIME_UNITS.items() for name in names.split()}
_SIZES = {"b": 1, "byte": 1}
for _power, _letter in enumerate("kmgtp", 1):
    _SIZES[f"{_letter}b"] = 1000**_power
    _SIZES[f"{_letter}ib"] = _SIZES[f"{_letter}i"] = 1024**_power

_NUMBER = r"[0-9]{1,20}(?:_[0-9]{3}){0,6}(?:\.[0-9]{1,20})?"  # longer ones are no quantities, but somebody's id
_PART = re.compile(rf"\s*({_NUMBER})\s*([A-Za-zµμ]+)\.?", re.ASCII | re.IGNORECASE)
_LONGEST_TEXT = 100  # characters; the longest that is meant has five parts

A_TIME = "a length of time such as 500ms, 30s, 5m, 12h, 7d"
A_SIZE = "a size such as 64MiB or 10GB"


def seconds(text: str) -> float:
    """The seconds of a text with units, added up. Raises ValueError, which says what would be right."""
    return math.fsum(number * unit for number, unit in _parts(text, _SECONDS, A_TIME))


def size_bytes(text: str) -> int:
    """The bytes of a text with a unit: kB, MB, GB are powers of 1000, KiB, MiB, GiB of 1024. Raises ValueError."""
    parts = _parts(text, _SIZES, A_SIZE)
    if len(parts) > 1:
        raise ValueError(f"{text!r} is not {A_SIZE}")
    return round(parts[0][0] * parts[0][1])


def has_unit(text: str) -> bool:
    """Whether the text is more than a number, so that one of the readers here is meant."""
    try:
        float(text)
    except ValueError:
        return True
    return False


def _parts(text: str, units: dict[str, float] | dict[str, int], wanted: str) -> list[tuple[float, float]]:
    place, found = 0, []
    stripped = text.strip()
    while place < len(stripped) <= _LONGEST_TEXT:
        part = _PART.match(stripped, place)
        unit = _unit(part[2], units) if part else None
        if part is None or unit is None:
            break
        found.append((float(part[1].replace("_", "")), float(unit)))
        place = part.end()
    if not found or place != len(stripped):
        raise ValueError(f"{text[:_LONGEST_TEXT]!r} is not {wanted}{_hint(stripped, wanted)}")
    return found


def _unit(name: str, units: dict[str, float] | dict[str, int]) -> float | None:
    small = name.lower()
    if name in ("M", "Ms", "MS"):  # not minutes and not milliseconds for certain
        return None
    return units.get(small, units.get(small.removesuffix("s")))


def _hint(text: str, wanted: str) -> str:
    last = text[-1:].lower()
    if wanted == A_SIZE and last in "kmgtp" and text[:-1].strip().replace(".", "").isdigit():
        letter = last.upper()
        return f": {letter}B (a power of 1000) or {letter}iB (of 1024)?"
    return ""
