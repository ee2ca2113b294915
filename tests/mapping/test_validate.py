"""What is said of a request that is only looked at is what decoding it says."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from mapping.bounds import DEEPEST_VALUE
from mapping.otlp.decode import DecodeError, Decoder
from mapping.otlp.records import Decoded
from mapping.otlp.validate import Validated, Validator
from mapping.otlp.wire import Logs, Traces
from otlp_requests import spans_request


def sized(tag: int, inside: bytes) -> bytes:
    """A field that has a length."""
    size, head = len(inside), bytearray((tag,))
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + inside


def nested(depth: int, dice: random.Random, end: str) -> bytes:
    """An AnyValue on the wire; protobuf's own classes take no deeper ones than they can read."""
    value = sized(0x0A, end.encode())
    for _ in range(depth):
        if dice.random() < 0.7:
            value = sized(0x2A, sized(0x0A, b"\x18\x01") + sized(0x0A, value))
        else:
            value = sized(0x32, sized(0x0A, sized(0x0A, b"inner") + sized(0x12, value)))
    return value


def pair(value: bytes) -> bytes:
    """A KeyValue."""
    return sized(0x0A, b"deep") + sized(0x12, value)


def traces(dice: random.Random, depth: int) -> bytes:
    request = Traces.FromString(spans_request(dice, 6)[1])
    deep = pair(nested(depth, dice, "x" * dice.randrange(200)))
    group = request.resource_spans[0]
    span = group.scope_spans[0].spans[dice.randrange(6)]
    place = dice.randrange(5)
    if place == 0:
        span.attributes.append(deep)
    elif place == 1:
        span.events.append(sized(0x12, b"event") + sized(0x1A, deep))
    elif place == 2:
        span.links.append(sized(0x0A, b"1" * 16) + sized(0x22, deep))
    elif place == 3:
        group.resource += sized(0x0A, deep)
    else:
        group.scope_spans[0].scope += sized(0x1A, deep)
    return request.SerializeToString()  # type: ignore[no-any-return]


def logs(dice: random.Random, depth: int) -> bytes:
    request = Logs()
    for number in range(4):
        record = request.resource_logs.add().scope_logs.add().log_records.add()
        record.trace_id = dice.randbytes(16)
        record.body = sized(0x0A, f"line {number}".encode())
    value = nested(depth, dice, "x" * dice.randrange(200))
    if dice.random() < 0.5:
        record.body = value
    else:
        record.attributes.append(pair(value))
    return request.SerializeToString()  # type: ignore[no-any-return]


def said(look: Callable[[bytes], Decoded], body: bytes) -> tuple[Any, ...]:
    try:
        found = look(body)
    except DecodeError as error:
        return (str(error),)
    return found.signal, found.accepted, found.refused, found.message, found.size, found.first_trace_id


@pytest.mark.parametrize("signal", ["traces", "logs"])
def test_sound_or_not_it_says_what_the_decoder_says(signal: str) -> None:
    dice = random.Random(signal)
    make = traces if signal == "traces" else logs
    decoder, validator = Decoder(), Validator()
    seen = set()
    for number in range(600):
        body = make(dice, number % (DEEPEST_VALUE + 18))
        mutated = bytearray(body)
        for _ in range(dice.choice((0, 0, 1, 3))):
            mutated[dice.randrange(len(mutated))] = dice.randrange(256)
        if dice.random() < 0.1:
            del mutated[dice.randrange(len(mutated)) :]
        told = said(getattr(decoder, signal), bytes(mutated))
        assert said(getattr(validator, signal), bytes(mutated)) == told, (number, mutated.hex())
        seen.add(len(told) == 1 or told[2] > 0)
    assert seen == {True, False}


def test_a_sound_request_is_not_decoded() -> None:
    dice = random.Random(1)
    found = Validator().traces(spans_request(dice, 50)[1])
    assert isinstance(found, Validated)
    assert (found.accepted, found.groups) == (50, [])
    assert isinstance(Validator().logs(logs(dice, 3)), Validated)


@pytest.mark.parametrize("depth", range(DEEPEST_VALUE - 2, DEEPEST_VALUE + 4))
@pytest.mark.parametrize("kind", ["lists", "maps"])
def test_values_may_be_as_deep_as_for_the_decoder(depth: int, kind: str) -> None:
    value = b"\x18\x01"
    for _ in range(depth):
        value = sized(0x2A, sized(0x0A, value)) if kind == "lists" else sized(0x32, sized(0x0A, sized(0x12, value)))
    request = Traces.FromString(spans_request(random.Random(2), 2)[1])
    request.resource_spans[0].scope_spans[0].spans[0].attributes.append(pair(value))
    body = request.SerializeToString()
    told = said(Decoder().traces, body)
    assert said(Validator().traces, body) == told
    assert told[1:3] == ((2, 0) if depth <= DEEPEST_VALUE else (1, 1))
