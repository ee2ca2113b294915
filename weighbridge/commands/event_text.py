"""One stored event as one line of text, coloured for a terminal: what `tail` and `trace` print."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from rich.text import Text

from weighbridge.commands.plain_text import visible as visible

LONGEST_BODY = 400  # characters of a log body on a line; `query` shows the whole
LONGEST_URI = 160
MOVED = "event_time_clamped"  # flag of an event whose sender's clock says what cannot be, or what is too old to keep


class Seen(NamedTuple):
    """The part of a stored event that people look at, and what places it in its trace. Named as the store's columns."""

    event_type: str
    event_time: datetime  # UTC
    service: str
    method: str
    endpoint: str
    uri: str
    name: str
    action: str
    family: str
    direction: str
    status_code: int  # 0: no response was seen
    error_type: str
    duration_ms: float | None  # None: unknown
    user_id: str
    company_id: str
    weight: int
    severity: str
    body: str
    trace_id: str
    span_id: str
    parent_span_id: str
    attributes: str  # JSON
    flags: Sequence[str] = ()


class Failure(NamedTuple):
    """An exception that a span or a log record tells of."""

    said: str  # its type and message, as far as they are known
    stack: str  # "" when it was not recorded


def seen(row: Mapping[str, Any]) -> Seen:
    """A row of the store, whose columns are named as the fields; times without a zone are UTC."""
    values: dict[str, Any] = {name: row[name] for name in Seen._fields if name in row}
    for name, value in values.items():
        if isinstance(value, str) and name not in ("body", "attributes"):  # they are read first, and then made visible
            values[name] = visible(value)
    if values["event_time"].tzinfo is None:
        values["event_time"] = values["event_time"].replace(tzinfo=UTC)
    return Seen(**values)


def what_happened(event: Seen) -> Text:
    """The event in words: the call and its status, the action, or the log line."""
    if event.event_type == "log":
        severity = (f"{event.severity or 'LOG'}", severity_style(event.severity))
        return Text.assemble(severity, " ", body_text(event.body, event.attributes))
    text = Text()
    if event.event_type == "api_call":
        if event.direction == "outgoing":
            text.append("→ ", "dim")
        text.append(f"{event.method} ", "bold")
        text.append(_place(event))
        text.append("  ")
        text.append(str(event.status_code) if event.status_code else "no response", status_style(event))
    else:
        text.append(f"{event.family or 'action'} ", "dim")
        text.append(event.action or event.name)
    if event.error_type:
        space = " " if event.event_type == "api_call" else "  "  # beside the status, but apart from an action's name
        text.append(
            f"{space}{event.error_type}", "red" if event.status_code >= 500 or not event.status_code else "yellow"
        )
    if event.duration_ms is not None:
        text.append(f"  {duration_text(event.duration_ms)}", "cyan")
    return text


def _place(event: Seen) -> str:
    """The route of a call to us; the whole address of a call to others, whose routes nobody knows."""
    if event.endpoint and event.direction != "outgoing":
        return event.endpoint
    return _short(event.uri, LONGEST_URI)


def who(event: Seen) -> Text:
    """User, company and weight, as far as they are known and say something."""
    text = Text()
    for label, value in (("user", event.user_id), ("company", event.company_id)):
        if value:
            text.append(f"  {label} ", "dim")
            text.append(value)
    return text


def weight_text(event: Seen) -> Text:
    return Text(f"  ×{event.weight}", "bold magenta" if event.weight != 1 else "dim")


def clock(event: Seen) -> str:
    """Time of day in UTC with milliseconds."""
    return event.event_time.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def moment(event: Seen, now: datetime) -> str:
    """As `clock`, after the date where it is another than now."""
    day = event.event_time.astimezone(UTC)
    return clock(event) if day.date() == now.date() else f"{day:%Y-%m-%d} {clock(event)}"


def duration_text(milliseconds: float) -> str:
    if milliseconds < 1:
        return f"{milliseconds * 1000:.0f} µs"
    if milliseconds < 1000:
        return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.2f} s"


def status_style(event: Seen) -> str:
    if not event.status_code:
        return "bold magenta"
    if event.status_code >= 500:
        return "bold red"
    if event.status_code >= 400:
        return "bold yellow"
    return "green"


def gravity(severity: str) -> Literal["error", "warning", "info", "other"]:
    """How bad a log event is, by the word that its logger used."""
    word = severity.upper()
    if word.startswith(("ERROR", "FATAL", "CRIT", "EMERG", "ALERT")):
        return "error"
    if word.startswith("WARN"):
        return "warning"
    return "info" if word.startswith("INFO") else "other"


def severity_style(severity: str) -> str:
    return {"error": "bold red", "warning": "bold yellow", "info": "blue", "other": "dim"}[gravity(severity)]


def body_text(body: str, attributes: str = "") -> str:
    """A log for reading: its text, or the message of a JSON object, then the other fields and the attributes."""
    fields = _object(body)
    message = _one_line(body)
    if fields is not None:
        keys = (key for key in ("message", "msg", "event") if isinstance(fields.get(key), str))
        message = _one_line(fields.pop(next(keys, ""), ""))
    for told_already in ("level", "severity", "trace_id", "span_id"):
        (fields or {}).pop(told_already, None)
    # An exception is told apart; where in the code a line was written, SDKs say of every line.
    more = {key: value for key, value in (_object(attributes) or {}).items() if key not in ("error", "code")}
    rest = " ".join(f"{key}={_value(value)}" for key, value in ((fields or {}) | more).items())
    return _short(f"{message}  {visible(rest)}".strip(), LONGEST_BODY)


def failure(event: Seen) -> Failure | None:
    """The exception in the attributes, where there is one (spec/mapping.md, `metadata.error`)."""
    error = (_object(event.attributes) or {}).get("error")
    if not isinstance(error, dict):
        return None
    kind, message, stack = (error.get(key) or "" for key in ("type", "message", "stacktrace"))
    said = ": ".join(_one_line(str(part)) for part in (error.get("exception_type") or kind, message) if part)
    return Failure(_short(said, LONGEST_BODY), str(stack)) if message or stack else None


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()))


def _object(body: str) -> dict[str, Any] | None:
    if not body.startswith("{"):
        return None
    try:
        fields = json.loads(body)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _value(value: object) -> str:
    if isinstance(value, str):
        return value if value and not any(letter.isspace() for letter in value) else json.dumps(value)
    return (
        json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if isinstance(value, Mapping | list)
        else str(value)
    )


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
