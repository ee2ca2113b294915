"""Rows of the store -> the lines that pages and the API show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from weighbridge.commands.event_text import MOVED, body_text
from weighbridge.console.answers import Failed, Line, Told
from weighbridge.console.asked import microseconds

_LONGEST_TEXT: Final = 2000  # characters of a name, an address or a message on a line; the whole event has all of it
_GRAVE: Final = ("ERROR", "FATAL", "CRIT", "EMERG", "ALERT")


def line_of(row: Mapping[str, Any]) -> Line:
    """An event as `looks.events` returns it."""
    event_type = str(row["event_type"])
    severity = str(row["severity"])
    failed = (
        bool(row["error_type"]) or row["status_code"] >= 400 if event_type == "api_call" else bool(row["error_type"])
    )
    duration = row["duration_ms"]
    return Line(
        event_id=row["event_id"],
        time=aware(row["event_time"]),
        at=microseconds(row["event_time"]),
        received=aware(row["received_at"]),
        event_type=event_type,
        direction=row["direction"],
        service=_short(row["service"]),
        method=_short(row["method"]),
        endpoint=_short(row["endpoint"]),
        uri=_short(row["uri"]),
        name=_short(row["name"]),
        action=_short(row["action"]),
        family=row["family"],
        status_code=row["status_code"],
        error_type=row["error_type"],
        message=_short(row.get("error_message") or ""),
        duration_ms=None if duration is None else float(duration),
        user_id=row["user_id"],
        company_id=row["company_id"],
        severity=severity,
        text=body_text(row["body"], row["attributes"]) if event_type == "log" else "",
        weight=row["weight"],
        trace_id=row["trace_id"],
        span_id=row["span_id"],
        failed=failed or severity.upper().startswith(_GRAVE),
        moved=MOVED in row["flags"],
    )


def failed_of(row: Mapping[str, Any], told: Mapping[str, list[Told]]) -> Failed:
    """A row of `looks.failures`, which has the columns of a call only."""
    rest = {"event_type": "api_call", "direction": "incoming", "name": "", "action": "", "family": "", "severity": ""}
    whole = {**rest, "received_at": row["event_time"], "body": "", "attributes": "", "span_id": "", "flags": (), **row}
    line = line_of({**whole, "error_message": row["message"]})
    return Failed(**line.model_dump(), told=told.get(row["trace_id"], []))


def told_by_trace(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Told]]:
    """Rows of `looks.told_in`."""
    found: dict[str, list[Told]] = defaultdict(list)
    for row in rows:
        text = body_text(row["body"], row["attributes"])
        found[row["trace_id"]].append(
            Told(time=aware(row["event_time"]), service=row["service"], severity=row["severity"], text=text)
        )
    return found


def aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def known(moment: datetime | None) -> datetime | None:
    """None for what ClickHouse says of no rows: the epoch."""
    return None if moment is None or moment.timestamp() <= 0 else aware(moment)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
