"""Times in the fields of a log: numbers of any unit, ISO 8601, the common log format, HTTP's and mail's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from mapping.bounds import LAST_NS, LONGEST_MS, held

_FIRST_NS = 946_684_800 * 1_000_000_000  # 2000-01-01: before OpenTelemetry, and before any log that is sent today
_LONGEST_NS = round(LONGEST_MS * 1e6)  # of a call
_AHEAD_NS = 86_400 * 1_000_000_000  # a clock may be ahead of the collector's by a time zone

_ISO = re.compile(
    r"(\d{4}[-/]\d\d[-/]\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)? ?"
    r"([Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)(?:\[[\w/+-]{1,40}\])?",
    re.ASCII,
).fullmatch
# As in HTTP and mail: Mon, 02 Mar 2026 09:00:00 GMT.
_MAIL = re.compile(r"[A-Z][a-z]{2}, \d\d? [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:GMT|UTC|[+-]\d{4})", re.ASCII).fullmatch
_CLF = re.compile(r"\[?(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\]?", re.ASCII).fullmatch
_NUMBER = re.compile(r"\d{1,19}(?:\.\d{1,9})?", re.ASCII).fullmatch


def unix_ns(value: object) -> int:
    """Nanoseconds since the epoch of a number (unit by magnitude), or of a text in ISO 8601 or as in HTTP; else 0.

    0 as well for what lies beyond LAST_NS: languages write their greatest date, 9999-12-31, for "never".
    """
    return held(_unix_ns(value))


def _unix_ns(value: object) -> int:
    if isinstance(value, str):
        if _NUMBER(value):
            value = float(value) if "." in value else int(value)
        else:
            return _iso_ns(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 2**63:
        return 0
    # 10^11 s is the year 5138: up to there seconds, then milli-, micro- and nanoseconds.
    for limit, factor in ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000)):
        if value < limit:
            return _scaled(value, factor)
    return int(value)


def _scaled(value: int | float, factor: int) -> int:
    if isinstance(value, int):
        return value * factor
    whole = int(value)
    return whole * factor + round((value - whole) * 1_000_000) * factor // 1_000_000


def _iso_ns(text: str) -> int:
    found = _ISO(text.strip()) if len(text) < 64 else None
    if found is None:
        return _mail_ns(text) if _MAIL(text[:64]) else 0
    date, clock, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{date.replace('/', '-')}T{clock}{zone if zone[0] in '+-' else '+00:00'}")
    except ValueError:
        return 0
    return max(int(moment.timestamp()) * 1_000_000_000 + int((fraction or "0").ljust(9, "0")), 0)


def _mail_ns(text: str) -> int:
    try:
        return max(int(parsedate_to_datetime(text).timestamp()), 0) * 1_000_000_000
    except ValueError:
        return 0


def time_in(flat: Mapping[str, object], keys: tuple[str, ...], seen_unix_ns: int) -> int:
    """The first of the values that can be the record's time. seen_unix_ns: when the record was observed, 0 unknown."""
    last = seen_unix_ns + _AHEAD_NS if _FIRST_NS < seen_unix_ns < LAST_NS else LAST_NS
    for key in keys:
        value = flat.get(key)
        # Elapsed times and counters have the same names: what no line of today says is none.
        if value is not None and _FIRST_NS <= (found := unix_ns(value) or _clf_ns(value)) <= last:
            return found
    return 0


def between_ms(flat: Mapping[str, object], starts: tuple[str, ...], ends: tuple[str, ...]) -> float:
    """Milliseconds from start to end, -1.0 when these are not known."""
    start, end = time_in(flat, starts, 0), time_in(flat, ends, 0)
    return (end - start) / 1e6 if 0 < start <= end <= start + _LONGEST_NS else -1.0


def _clf_ns(value: object) -> int:
    """Nanoseconds of the common log format's time, `[02/Mar/2026:09:00:00 +0000]`; 0 for anything else."""
    found = _CLF(value) if isinstance(value, str) and len(value) < 40 else None
    if found is None:
        return 0
    try:
        moment = datetime.strptime(found[1], "%d/%b/%Y:%H:%M:%S %z")
    except ValueError:
        return 0
    return held(int(moment.timestamp()) * 1_000_000_000)
