"""Durations in the fields of a log: numbers in a unit that their key tells, and texts that name their units.

Milliseconds leave, -1.0 for what is unknown: a number without a unit could be anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mapping.bounds import LONGEST_MS
from mapping.dialects.table import Unit

_DURATION = re.compile(r"(?<!\d)(\d+(?:\.\d+)?)\s?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)", re.ASCII)
_DURATIONS = re.compile(r"(?:\d{1,19}(?:\.\d{1,19})?\s?(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h)\s?){1,6}", re.ASCII).fullmatch
_ISO_DURATION = re.compile(r"PT(?:(\d{1,6})H)?(?:(\d{1,9})M)?(?:(\d{1,12}(?:\.\d{1,9})?)S)?", re.ASCII).fullmatch
_CLOCK = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d(?:\.\d{1,9})?)", re.ASCII).fullmatch  # .NET: 00:00:00.0123
_FEWEST_NS = 10_000  # below, a number that Go may have written may be milliseconds of somebody else
_MS_PER_UNIT = {"ns": 1e-6, "us": 1e-3, "\u00b5s": 1e-3, "\u03bcs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}


def duration_ms(flat: Mapping[str, object], keys: tuple[tuple[str, Unit], ...]) -> float:
    """The first duration whose unit is known, -1.0 without one."""
    for key, unit in keys:
        value = flat[key]
        if value is None:
            continue
        found = -1.0
        number = _number(value)
        if number < 0:
            found = _told_ms(value) if isinstance(value, str) and len(value) < 64 else -1.0
        elif unit == "decimals":
            # Seconds are written with their milliseconds; a whole number could be anything.
            found = number * 1e3 if isinstance(value, float) or (isinstance(value, str) and "." in value) else -1.0
        elif unit == "go":
            found = number * 1e-6 if type(value) is int and number >= _FEWEST_NS else -1.0
        elif unit == "ns" and type(value) is float and value != value // 1:
            found = number * 1e3  # nginx's seconds under Datadog's name: nobody counts parts of nanoseconds
        elif unit != "text":
            found = number * _MS_PER_UNIT[unit]
        if 0 <= found <= LONGEST_MS:
            return found
    return -1.0


def parts_ms(flat: Mapping[str, object], keys: tuple[str, ...]) -> float:
    """The sum of seconds or of texts with units, -1.0 where one is missing: load balancers write -1 where nobody
    answered.
    """
    parts = [_seconds(flat[key]) for key in keys]
    total = round(sum(parts) * 1e3, 6) if min(parts) >= 0 else -1.0  # to the nanosecond
    return total if total <= LONGEST_MS else -1.0


def _seconds(value: object) -> float:
    number = _number(value)
    if number < 0 and isinstance(value, str) and len(value) < 64:
        return max(_told_ms(value), -1e3) / 1e3
    return number


def _told_ms(text: str) -> float:
    """Milliseconds of a duration that names its units, -1.0 for other texts."""
    text = text.strip()
    if _DURATIONS(text):
        return sum(float(number) * _MS_PER_UNIT[unit] for number, unit in _DURATION.findall(text))
    if found := _ISO_DURATION(text):
        hours, minutes, seconds = found.groups()
        if hours or minutes or seconds:
            return float(hours or 0) * 3.6e6 + float(minutes or 0) * 6e4 + float(seconds or 0) * 1e3
    if found := _CLOCK(text):
        return float(found[1]) * 3.6e6 + float(found[2]) * 6e4 + float(found[3]) * 1e3
    return -1.0


def _number(value: object) -> float:
    if isinstance(value, str):
        if len(value) > 32:
            return -1.0
        try:
            value = float(value)
        except ValueError:
            return -1.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value < 1e18:
        return -1.0
    return float(value)
