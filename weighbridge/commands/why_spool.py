"""What the spool still says of an id: which requests hold it, and what becomes of its records by the rules of now."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from mapping.event import SKIP, Decision, Event
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.sampling.sampler import CEILING, Sampler
from receiver.decode.compression import inflate, parse_codings
from receiver.decode.request import decode_request
from receiver.errors import BadRequest
from receiver.spool.entry import Entry
from receiver.spool.looking import Seen, remembered, requests_in
from weighbridge.commands.why_masks import said_of_masks
from weighbridge.settings import Settings

LOOK_S: Final = 60.0  # at the most; a spool can hold days of an outage


class Asked(NamedTuple):
    """What is looked for: a trace id of 32 hex digits, an event id, or a request's digest of 16 bytes."""

    trace_id: str = ""
    event_id: str = ""
    digest: bytes = b""


class Look(NamedTuple):
    """lines: what was found. complete: whether all of the spool was looked at. found: whether anything was."""

    lines: list[str]
    complete: bool
    found: bool


def look_in_spool(settings: Settings, directory: Path, asked: Asked) -> Look:
    """Raises OSError where there is no spool that can be read."""
    lines: list[str] = []
    deadline = time.monotonic() + LOOK_S
    complete = True
    told_of = _Teller(settings)
    for seen in requests_in(directory):
        if time.monotonic() > deadline:
            complete = False
            break
        if asked.digest and seen.header.digest == asked.digest:
            lines += [_request(seen), *told_of.records(seen, lambda event: True)]
        elif asked.trace_id and _may_hold(seen, asked.trace_id):
            found = told_of.records(seen, lambda event: event.trace_id == asked.trace_id)
            lines += [_request(seen), *found] if found else []
        elif asked.event_id:
            found = told_of.records(seen, lambda event: event.transaction_id == asked.event_id)
            lines += [_request(seen), *found] if found else []
    if asked.digest and not lines:
        for index in remembered(directory, asked.digest):
            lines.append(
                f"a request with this digest came between {_moment(index.received_min_unix_ns)} and "
                f"{_moment(index.received_max_unix_ns)}; its segment {index.number} has been delivered and deleted"
            )
    return Look(lines, complete, bool(lines))


class _Teller:
    """Maps requests as the bridge would now."""

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.receiver.decode_limits()
        self._mapper = Mapper(settings.mapping, _Telling(settings.sampling, ceiling=CEILING))

    def records(self, seen: Seen, wanted: Callable[[Event], bool]) -> list[str]:
        """A line for each of its records that is asked for."""
        entry = seen.entry()
        if entry is None:
            return ["  its body is damaged"]
        try:
            decoded = decode_request(
                Decoder(), entry.signal, _media(entry), entry.content_encoding, entry.body, self._limits
            )
        except BadRequest as error:
            return [f"  it cannot be decoded: {error.message}"]
        terms = {"received_unix_ns": entry.received_unix_ns, "tenant": entry.tenant}
        every = self._mapper.map(decoded, keep_skips=True, **terms)  # type: ignore[arg-type]
        return [f"  {_record(event)}" for event in every.events if wanted(event)]


class _Telling(Sampler):
    """Decides as the bridge does, and drops nothing: what it would drop has a decision of weight 0."""

    def span(self, *asked: Any) -> Decision:
        return _told(super().span(*asked))

    def log(self, *asked: Any) -> Decision:
        return _told(super().log(*asked))


def _told(decision: Decision) -> Decision:
    return decision if decision.keep else decision._replace(keep=True, weight=0)


def _record(event: Event) -> str:
    what = f"{event.event_type} {event.transaction_id}"
    if event.event_type == SKIP:
        return f"{what}: skipped: {event.reason}"
    decision, masks = event.decision, said_of_masks(event._asdict())
    by = f"rule {decision.rule} ({decision.reason}, p = {decision.p:g})"
    if not decision.weight:
        return f"{what}: sampled out by {by}{masks}"
    return f"{what}: kept by {by}, weight {decision.weight}{masks}"


def _request(seen: Seen) -> str:
    entry = seen.entry()
    of = f" of tenant {entry.tenant}" if entry and entry.tenant else ""
    return (
        f"request {seen.position:#x}{of}, received {_moment(seen.header.received_unix_ns)}, "
        f"{seen.header.body_size} bytes, digest {seen.header.digest.hex()}"
    )


def _may_hold(seen: Seen, trace_id: str) -> bool:
    """False when the bytes of the id are nowhere in the request, in any spelling."""
    entry = seen.entry()
    if entry is None:
        return False
    try:
        body = inflate(entry.body, parse_codings(entry.content_encoding), 1 << 30)
    except BadRequest:
        return True
    raw = bytes.fromhex(trace_id)
    return any(spelling in body for spelling in _spellings(raw, body))


def _spellings(raw: bytes, body: bytes) -> Iterator[bytes]:
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    yield base64.b64encode(raw)


def _media(entry: Entry) -> str:
    return entry.content_type.partition("; weighbridge=")[0]


def _moment(unix_ns: int) -> str:
    return datetime.fromtimestamp(unix_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
