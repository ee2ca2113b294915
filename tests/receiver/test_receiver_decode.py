"""Decoding apart from any socket: as the replay from the spool and `weighbridge map` use it."""

from __future__ import annotations

import gzip
import json

import pytest

from mapping.otlp.decode import Decoder
from otlp_http import JSON, PROTOBUF, json_span, json_spans, logs, spans, spans_message
from receiver.decode.request import BadRequest, DecodeLimits, decode_request

LIMITS = DecodeLimits(1 << 20, 10_000, 100_000)


def decode(raw: bytes | str, content_type: str = PROTOBUF, encoding: str = "", signal: str = "traces") -> int:
    body = raw.encode() if isinstance(raw, str) else raw
    return decode_request(Decoder(), signal, content_type, encoding, body, LIMITS).accepted


def test_labels_are_taken_as_they_were_in_the_headers() -> None:
    assert decode(spans(3)) == 3
    assert decode(gzip.compress(spans(3)), "Application/X-Protobuf; a=b", "GZIP") == 3
    assert decode(json_spans(json_span()), "application/json; charset=utf-8") == 1
    assert decode(logs(2), signal="logs") == 2


@pytest.mark.parametrize(
    ("raw", "content_type", "encoding", "status"),
    [
        (b"\xff", PROTOBUF, "", 400),
        (b"x", PROTOBUF, "gzip", 400),
        (b"", "", "", 415),
        (b"", PROTOBUF, "br", 415),
        (gzip.compress(bytes(2 << 20)), PROTOBUF, "gzip", 413),
        (spans(10_001), PROTOBUF, "", 413),
        ("[" * 2000, JSON, "", 400),
    ],
)
def test_what_is_wrong_has_a_status_and_a_message(
    raw: bytes | str, content_type: str, encoding: str, status: int
) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(raw, content_type, encoding)
    assert caught.value.status == status
    assert 0 < len(caught.value.message) < 300


SNAKES = json_spans(json_span()).replace("traceId", "trace_id").replace("spanId", "span_id")


@pytest.mark.parametrize(
    ("raw", "content_type", "encoding", "told"),
    [
        (gzip.compress(json_spans(json_span()).encode()), JSON, "", "needs Content-Encoding"),
        (gzip.compress(spans(3)), PROTOBUF, "", "needs Content-Encoding"),
        (json_spans(json_span()), JSON, "gzip", "needs no Content-Encoding"),
        (spans(3), PROTOBUF, "gzip", "needs no Content-Encoding"),
        (spans(3), JSON, "", "needs Content-Type application/x-protobuf"),
        ("", JSON, "", "it is empty"),
        (json_spans(json_span()).encode("utf-16"), JSON, "", "looks like UTF-16"),
        (SNAKES, JSON, "", 'no key "trace_id", which is "traceId"'),
    ],
)
def test_what_was_meant_is_told(raw: bytes | str, content_type: str, encoding: str, told: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(raw, content_type, encoding)
    assert (caught.value.status, told in caught.value.message) == (400, True), caught.value.message


@pytest.mark.parametrize("signal", ["traces", "logs"])
def test_an_object_that_is_no_request_is_taken_with_a_word(signal: str) -> None:
    """Unknown keys are ignored, as the protocol wants it; that nothing was taken is said."""
    key = {"traces": "resourceSpans", "logs": "resourceLogs"}[signal]
    for body, told in (('{"message": "hi"}', True), ("{}", False), (f'{{"{key}": []}}', False)):
        decoded = decode_request(Decoder(), signal, JSON, "", body.encode(), LIMITS)
        assert decoded.message == (f'nothing was taken: a request in OTLP/JSON has the key "{key}"' if told else "")


def test_the_same_bytes_are_decoded_the_same_again() -> None:
    """A record stored and read again after a restart must map to the same events."""
    message = spans_message(5)
    message.resource_spans[0].scope_spans[0].spans[2].span_id = b"bad"
    decoder = Decoder()
    first, second = (
        decode_request(decoder, "traces", PROTOBUF, "", message.SerializeToString(), LIMITS) for _ in range(2)
    )
    assert (first.accepted, first.refused, first.message) == (second.accepted, second.refused, second.message)
    assert (first.accepted, first.refused) == (4, 1)


def test_json_and_protobuf_of_the_same_spans_decode_alike() -> None:
    from_json = decode_request(Decoder(), "traces", JSON, "", json_spans(json_span()).encode(), LIMITS)
    message = spans_message()
    span = message.resource_spans[0].scope_spans[0].spans[0]
    del message.resource_spans[0].resource.attributes[:], span.attributes[1]
    from_protobuf = decode_request(Decoder(), "traces", PROTOBUF, "", message.SerializeToString(), LIMITS)
    (one,), (other,) = from_json.groups[0].records, from_protobuf.groups[0].records
    assert one.trace_id == other.trace_id
    assert one.entries == other.entries


@pytest.mark.parametrize(
    ("attribute", "elements"),
    [
        ("{}", 1),
        ('{"key":"a","value":{"stringValue":"b"}}', 1),
        ('{"key":"a","value":{"kvlistValue":{"values":[]}}}', 1),
        ('{"key":"a","value":{"kvlistValue":{"values":[{"key":"b","value":{"intValue":1}}]}}}', 2),
        ('{"key":"a","value":{"arrayValue":{"values":[{},{},{}]}}}', 4),
    ],
)
def test_both_encodings_may_hold_max_elements_and_no_more(attribute: str, elements: int) -> None:
    """JSON is bounded roughly before it is parsed, and then as exactly as protobuf."""
    limits = DecodeLimits(1 << 20, 10, 1000)
    most = (1000 - 3) // elements  # beside the span, its scope and its resource

    def accepted(count: int) -> int:
        body = json_spans(json_span(attributes=json.loads(f"[{','.join([attribute] * count)}]")))
        return decode_request(Decoder(), "traces", JSON, "", body.encode(), limits).accepted

    assert accepted(most) == 1
    with pytest.raises(BadRequest, match="attributes") as caught:
        accepted(most + 4)
    assert caught.value.status == 413
