"""Moments and lengths of time as people type them: 2026-11-20, 2026-11-20T18:00, 90m, 12h, 7d, 2w."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from weighbridge.commands.errors import CommandError

_LENGTH = re.compile(r"([0-9]{1,9})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_length(text: str, what: str) -> timedelta:
    """Raises CommandError, which names `what`."""
    length = _length(text)
    if length is None:
        raise CommandError(f"{what}: {text!r} is no length of time such as 90m, 12h, 7d")
    return length


def parse_since(text: str, now: datetime, what: str = "--since") -> int:
    """Nanoseconds since the epoch of a date, a time (UTC where it names no zone) or an age. Raises CommandError."""
    try:
        ago = _length(text)
        moment = datetime.fromisoformat(text.strip()) if ago is None else now - ago
    except (ValueError, OverflowError) as error:
        raise CommandError(
            f"{what} {text}: write 2026-11-20, 2026-11-20T18:00, or an age such as 90m, 12h, 3d"
        ) from error
    return int((moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()) * 10**9


def _length(text: str) -> timedelta | None:
    length = _LENGTH.fullmatch(text.strip().lower())
    if length is None:
        return None
    try:
        return timedelta(**{_UNITS[length[2]]: int(length[1])})
    except OverflowError:
        return None
