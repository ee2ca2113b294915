"""Moments and lengths of time as people type them: 2026-11-20, 2026-11-20T18:00, 90m, 12h, 7d, 2w."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mapping.quantities import seconds
from weighbridge.commands.errors import CommandError


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
    try:
        return timedelta(seconds=seconds(text))
    except (ValueError, OverflowError):
        return None
