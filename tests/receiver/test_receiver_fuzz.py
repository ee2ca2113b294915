"""Whatever is sent: a 4xx with a message or a 200, never a fault of ours, and the next request is answered."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from codings import CODINGS
from mapping.otlp.decode import Decoder
from otlp_http import (
    JSON,
    PROTOBUF,
    RunningReceiver,
    chunked,
    json_logs,
    json_span,
    json_spans,
    logs,
    receiver,
    request,
    spans,
)
from receiver import connection
from receiver.decode.request import BadRequest, DecodeLimits, decode_request

LIMITS = DecodeLimits(200_000, 500, 5_000)
DECODER = Decoder()
SIGNALS = st.sampled_from(["traces", "logs"])


def decode(signal: str, content_type: str, encoding: str, raw: bytes) -> None:
    """Returns or raises BadRequest, as a handler expects; anything else fails the test."""
    refusal = None
    try:
        decoded = decode_request(DECODER, signal, content_type, encoding, raw, LIMITS)
        assert decoded.accepted or not decoded.refused
        assert decoded.message or not decoded.refused
    except BadRequest as error:
        refusal = error
    if refusal:
        assert refusal.status in (400, 413, 415)
        assert 0 < len(refusal.message.encode()) < 2000


@st.composite
def damaged(draw: st.DrawFn, sources: list[bytes]) -> bytes:
    """A good body with a few bytes changed, removed, repeated or put in."""
    body = bytearray(draw(st.sampled_from(sources)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(body) - 1)))
        match draw(st.integers(0, 4)):
            case 0:
                body[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del body[at : at + draw(st.integers(1, 50))]
            case 2:
                body[at:at] = draw(st.binary(max_size=20))
            case 3:
                body[at:at] = body[at : at + draw(st.integers(1, 200))]
            case _:
                del body[at:]
    return bytes(body)


@settings(max_examples=500, deadline=None)
@given(SIGNALS, damaged([spans(3), logs(3), b""]))
def test_damaged_protobuf(signal: str, body: bytes) -> None:
    decode(signal, PROTOBUF, "", body)


@settings(max_examples=300, deadline=None)
@given(SIGNALS, st.sampled_from([PROTOBUF, JSON]), st.binary(max_size=400))
def test_any_bytes(signal: str, content_type: str, body: bytes) -> None:
    decode(signal, content_type, "", body)


@settings(max_examples=300, deadline=None)
@given(SIGNALS, damaged([json_spans(json_span()).encode(), json_logs({"body": {"stringValue": "x"}}).encode()]))
def test_damaged_json(signal: str, body: bytes) -> None:
    decode(signal, JSON, "", body)


@pytest.mark.parametrize("coding", sorted(set(CODINGS) - {"identity", "empty"}))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_compression(coding: str, data: st.DataObject) -> None:
    name, pack = CODINGS[coding]
    decode("traces", PROTOBUF, name, data.draw(damaged([pack(spans(3)), pack(bytes(150_000)), pack(bytes(300_000))])))


json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(exclude_categories=[]), max_size=8),
        st.sampled_from(["0", "-1", "NaN", "Infinity", "18446744073709551616", "SPAN_KIND_SERVER", "AA==", "1e999"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["key", "value", "values", "stringValue", "arrayValue", "code"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)
SPAN_KEYS = [
    *json_span(),
    *(
        "parentSpanId",
        "traceState",
        "events",
        "links",
        "status",
        "flags",
        "droppedAttributesCount",
        "droppedLinksCount",
    ),
]
LOG_KEYS = [
    *("timeUnixNano", "observedTimeUnixNano", "severityNumber", "severityText", "body", "attributes", "traceId"),
    *("spanId", "flags", "eventName", "droppedAttributesCount"),
]
attributes = st.lists(
    st.fixed_dictionaries(
        {"key": json_values},
        optional={
            "value": st.one_of(
                json_values,
                st.dictionaries(
                    st.sampled_from(
                        [
                            "stringValue",
                            "boolValue",
                            "intValue",
                            "doubleValue",
                            "arrayValue",
                            "kvlistValue",
                            "bytesValue",
                        ]
                    ),
                    json_values,
                    max_size=2,
                ),
            )
        },
    ),
    max_size=3,
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(SPAN_KEYS), json_values, max_size=4), attributes)
@example({"startTimeUnixNano": -0.0}, [])
@example({"kind": 1e308}, [{"key": "k", "value": {"intValue": -9.223372036854776e18}}])
def test_any_json_in_any_field_of_a_span(fields: dict[str, Any], items: list[Any]) -> None:
    body = json_spans(json_span(), json_span(attributes=items), json_span(**fields))
    decode("traces", JSON, "", body.encode("utf-8", "surrogatepass"))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(LOG_KEYS), json_values, max_size=4), attributes)
def test_any_json_in_any_field_of_a_log_record(fields: dict[str, Any], items: list[Any]) -> None:
    body = json_logs({}, {"attributes": items}, fields)
    decode("logs", JSON, "", body.encode("utf-8", "surrogatepass"))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["resourceSpans", "resource", "scopeSpans", "scope", "spans", "schemaUrl"]),
    json_values,
)
def test_any_json_in_the_envelope(field: str, value: Any) -> None:
    scope: dict[str, Any] = {"scope": {}, "spans": [json_span()], "schemaUrl": ""}
    group: dict[str, Any] = {"resource": {}, "scopeSpans": [scope], "schemaUrl": ""}
    document: dict[str, Any] = {"resourceSpans": [group]}
    for level in (document, group, scope):
        if field in level:
            level[field] = value
    decode("traces", JSON, "", json.dumps(document).encode("utf-8", "surrogatepass"))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_labels(content_type: str, content_encoding: str) -> None:
    decode("traces", content_type, "", spans())
    decode("traces", PROTOBUF, content_encoding, spans())


# -- over the socket --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[RunningReceiver]:
    """Patient for a fraction of a second only, as many of these requests never end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "_LINGER_S", 0.2)
        with receiver(
            max_body_bytes=200_000, body_timeout_s=0.2, header_timeout_s=0.2, keepalive_timeout_s=0.5
        ) as running:
            yield running


GOOD = [
    request(spans(), headers=("Connection: close",)),
    request(gzip.compress(spans(20)), encoding="gzip"),
    request(zlib.compress(json_spans(json_span()).encode()), JSON, encoding="deflate"),
    chunked(spans(3), 20),
    request(spans(), headers=("Expect: 100-continue",)),
]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(damaged(GOOD), min_size=1, max_size=2))
def test_damaged_http(server: RunningReceiver, requests: list[bytes]) -> None:
    """Every answer that comes is HTTP and no server error, except to what was cut and given up as too slow."""
    with server.connect() as wire:
        wire.socket.settimeout(60)
        answers = b""
        try:
            wire.send(b"".join(requests))
            wire.send(b"\r\n\r\n" + request(b"", path="/the-end", headers=("Connection: close",)))
            while part := wire.socket.recv(65536):
                answers += part
        except ConnectionError:
            pass
    assert b"HTTP/1.1 5" not in answers
    assert b"Traceback" not in answers


def test_the_receiver_is_well_after_all_that(server: RunningReceiver) -> None:
    assert server.is_well()
    assert not [key for key in server.counts.refused_requests if key.reason == "internal"]
