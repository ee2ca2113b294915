"""`weighbridge map FILE`: one OTLP request body through the receiver's decoding and the mapper; opens no socket."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
import orjson

from mapping.event import SKIP, Event
from mapping.event_json import event_json
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from mapping.sampling.sampler import CEILING, Sampler
from mapping.sampling.whole_traces import WholeTraces
from mapping.sampling.window import cap_of, decided, place_of
from receiver.decode import compression
from receiver.decode.request import decode_request
from receiver.errors import BadRequest
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.commands.map_guess import Hints, guess_encoding, guess_signal, guess_type, read_hints
from weighbridge.commands.plain_text import escaped_json
from weighbridge.pseudonym_table import pseudonyms_of
from weighbridge.settings import Settings


def map_request(
    settings: Settings,
    file: Path,
    signal: str | None,
    content_type: str | None,
    content_encoding: str | None,
    *,
    sample: bool,
    explain: bool = False,
) -> None:
    """Prints one JSON line per record in wire order; what was refused is said on standard error.

    explain: lines of log records and calls also say which dialect and which name gave each field.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    hints = read_hints(file)
    try:
        decoded = _decode(settings, raw, hints, signal, content_type, content_encoding)
    except BadRequest as error:
        raise CommandFailed(f"{file}: the receiver would answer {error.status}: {error.message}") from error
    sampler = Sampler(settings.sampling, ceiling=CEILING)
    mapper = Mapper(settings.mapping, sampler, explain=explain)
    received_unix_ns = hints.received_unix_ns or time.time_ns()
    mapped = mapper.map(decoded, received_unix_ns=received_unix_ns, keep_skips=True, sample=sample)
    events = _decide(sampler, mapped.events) if sample else mapped.events
    if pseudonyms := pseudonyms_of(settings.mapping.pseudonyms, learning=False):
        events = pseudonyms.applied(events)
    sampled_out = mapped.sampled_out + len(mapped.events) - len(events)
    for event in events:
        line = event_json(event)
        if reason := mapper.reasons.get(event.transaction_id):
            line["explained"] = reason
        sys.stdout.write(escaped_json(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE).decode()))
    if not decoded.accepted and not decoded.refused:
        why = f": {decoded.message}" if decoded.message else ""
        click.echo(f"{file}: no span and no log record in it{why}", err=True)
    if decoded.refused:
        click.echo(f"{decoded.refused} records refused: {decoded.message}", err=True)
    if sampled_out:
        click.echo(f"{sampled_out} records sampled out", err=True)


def _decide(sampler: Sampler, events: list[Event]) -> list[Event]:
    """With sampling.tail, as if this request were all there is of its traces; with a window, of the window."""
    budget = sampler.settings.budget
    if budget is not None and budget.window_s is not None:
        return _cap(budget.window_events, events)
    if sampler.settings.tail is None:
        return events
    whole: WholeTraces[int] = WholeTraces(sampler)
    finished = [*whole.add([(event, place) for place, event in enumerate(events)], 0.0), *whole.drain()]
    finished.sort(key=lambda one: one.token)
    return [one.event for one in finished if one.event is not None]


def _cap(budget: int, events: list[Event]) -> list[Event]:
    cap = cap_of((place_of(e.decision, e.trace_id)[:2] for e in events if e.event_type != SKIP), budget)
    kept = []
    for event in events:
        if event.event_type != SKIP:
            decision = decided(event.decision, event.trace_id, cap)
            if decision is None:
                continue
            event = event._replace(decision=decision)
        kept.append(event)
    return kept


def _decode(
    settings: Settings,
    raw: bytes,
    hints: Hints,
    signal: str | None,
    content_type: str | None,
    content_encoding: str | None,
) -> Decoded:
    """The request as the receiver would decode it. Raises BadRequest."""
    limits = settings.receiver.decode_limits()
    encoding = guess_encoding(raw, hints.content_encoding) if content_encoding is None else content_encoding
    plain = compression.inflate(raw, compression.parse_codings(encoding), limits.max_body_bytes)
    media = guess_type(plain[:1024], hints.content_type) if content_type is None else content_type

    def decode(as_signal: str) -> Decoded:
        return decode_request(Decoder(), as_signal, media, encoding, raw, limits)

    def accepted(as_signal: str) -> int:
        try:
            return decode(as_signal).accepted
        except BadRequest:
            return -1

    return decode(signal or guess_signal(plain, media, accepted, hints.signal))
