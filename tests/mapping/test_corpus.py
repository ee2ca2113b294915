"""Every item of every capture of real instrumented applications maps to what was written down for it by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from mapping.event import API_CALL, LOG, SKIP, Event
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.presets import Presets
from mapping.rules import ids
from mapping.rules.identity_settings import IdentifyCompany, IdentifyUser
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from project_files import TESTDATA
from receiver.decode.request import DecodeLimits, decode_request

CORPUS = TESTDATA / "corpus"
CAPTURES = sorted(path.stem for path in CORPUS.glob("*.bin"))
RECEIVED = 1_795_193_700_000_000_000  # shortly after the captures were made
LIMITS = DecodeLimits(max_body_bytes=1 << 26, max_records=100_000, max_elements=10_000_000)

C0 = MappingSettings()
C1 = MappingSettings(
    identify_user=IdentifyUser(headers=("X-User-Id",), jwt_claim="sub"),
    identify_company=IdentifyCompany(headers=("X-Company-Id",), jwt_claim="company_id"),
)
C2 = MappingSettings(
    presets=Presets.model_validate(
        {
            "krakend": {
                "user_id_headers": ["X-User-Id", "Authorization"],
                "user_id_jwt_claim": "client_id",
                "identify_company": {"jwt_claim": "tenant.id"},
            }
        }
    )
)

# (capture, item, what) -> why the mapping differs on purpose. A disagreement that vanishes fails the test too.
KNOWN: dict[tuple[str, int, str], str] = {
    ("flask-new-002-traces", 3, "masked_headers"): "the sender had already written [REDACTED] into x-secret",
    ("graphql-001-traces", 11, "error_type"): "the call says the error of the operation that failed behind its 200",
    ("flask-old-002-traces", 3, "masked_headers"): "x-secret names a secret, though no list of headers has it",
}


def events(capture: str, settings: MappingSettings) -> list[Event]:
    headers = dict(orjson.loads((CORPUS / f"{capture}.headers.json").read_bytes())["headers"])
    headers = {name.lower(): value for name, value in headers.items()}
    decoded = decode_request(
        Decoder(),
        "logs" if capture.endswith("logs") else "traces",
        headers["content-type"],
        headers.get("content-encoding", ""),
        (CORPUS / f"{capture}.bin").read_bytes(),
        LIMITS,
    )
    assert decoded.refused == 0
    mapper = Mapper(settings, Sampler(SamplingSettings()))
    return mapper.map(decoded, received_unix_ns=RECEIVED, keep_skips=True).events


def expected(capture: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = orjson.loads((CORPUS / f"{capture}.expected.json").read_bytes())["items"]
    return items


def compare(event: Event, item: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
    """(what, got, wanted) of everything that is written down for an item; absent is None."""
    yield "kind", event.event_type, item["kind"]
    yield "trace_id", event.trace_id, item["trace_id"]
    yield "span_id", event.span_id, item["span_id"]
    if item["signal"] == "span":
        yield "name", event.name, item["name"]
        yield "family", event.family, item["family"]
        yield "parent_id", event.parent_id, item["parent_id"]
        yield "start", event.start_unix_ns, int(item["start_ns"])
        yield "end", event.end_unix_ns, int(item["end_ns"])
        yield "duration", event.duration_ms, (int(item["end_ns"]) - int(item["start_ns"])) / 1e6
    else:
        yield "time", event.end_unix_ns, int(item["time_ns"])
        yield "severity_number", event.severity_number, item["severity_number"]
    if item["kind"] == SKIP:
        return
    yield "user_id", event.user_id, item["user_id"]
    yield "company_id", event.company_id, item["company_id"]
    if item["kind"] == LOG:
        yield "event_name", event.event_name, item["event_name"]
        yield "body_kind", {"json": "map"}.get(event.body_encoding, event.body_encoding), _kind(item["body_kind"])
        metadata = orjson.loads(event.metadata)
        yield "exception_type", metadata.get("error.type"), item["exception_type"]
        return
    if "is_error" in item:
        yield "is_error", bool(event.error_type), item["is_error"]
    yield "action_name", event.action_name, item["action_name"]
    yield "direction", event.direction, item["direction"]
    if "weight" in item:
        yield "weight", event.decision.weight, item["weight"]
    if item["dedupe_key"]:
        yield "transaction_id", event.transaction_id, ids.transaction_id(item["dedupe_key"])
    if item["kind"] == API_CALL:
        yield from compare_call(event, item)


def _kind(body_kind: str) -> str | None:
    return {"json": "map", "kvlist": "map", "none": None}.get(body_kind, body_kind)


def compare_call(event: Event, item: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
    request, response = item["request"], item["response"] or {}
    yield "uri", event.uri, request["uri"]
    yield "verb", event.verb, request["verb"]
    yield "route", event.route, request["route"]
    yield "ip_address", event.ip_address, request["ip_address"]
    yield "api_version", event.api_version, request["api_version"]
    yield "user_agent", event.user_agent, request["user_agent"]
    yield "request_body", body(event.request_body, event.request_body_encoding), request.get("body")
    yield "status", event.status, response.get("status")
    yield "response_body", body(event.response_body, event.response_body_encoding), response.get("body")
    yield "response_ip_address", event.response_ip_address, response.get("ip_address")
    yield "error_type", event.error_type, item["error_type"]
    if "duration_ms" in item:
        yield "duration_ms", event.duration_ms, item["duration_ms"] if item["duration_ms"] is not None else -1.0
    if "masked_headers" in item:
        headers = {**event.request_headers, **event.response_headers}
        masked = sorted(name for name, value in headers.items() if value == "[REDACTED]")
        yield "masked_headers", masked, sorted(item["masked_headers"])


def body(text: str, encoding: str) -> object:
    return orjson.loads(text) if encoding == "json" else text


@pytest.mark.parametrize("capture", CAPTURES)
def test_capture_maps_to_what_was_written_down(capture: str) -> None:
    items = expected(capture)
    mapped = events(capture, C0)
    assert len(mapped) == len(items)
    different = {}
    for event, item in zip(mapped, items, strict=True):
        for what, got, wanted in compare(event, item):
            if (got or None) != (wanted or None):
                different[capture, item["index"], what] = (got, wanted)
    known = {key for key in KNOWN if key[0] == capture}
    assert set(different) == known, different


@pytest.mark.parametrize(("name", "settings"), [("C1", C1), ("C2", C2)], ids=["headers", "krakend"])
@pytest.mark.parametrize("capture", CAPTURES)
def test_identity_follows_the_configuration(capture: str, name: str, settings: MappingSettings) -> None:
    """C1 reads X-User-Id and X-Company-Id first; C2 is KrakenD's strict way."""
    got, wanted = [], []
    for event, item in zip(events(capture, settings), expected(capture), strict=True):
        if "identity" in item:
            got.append((event.user_id or None, event.company_id or None))
            wanted.append((item["identity"][name]["user_id"], item["identity"][name]["company_id"]))
    assert got == wanted


def test_the_corpus_is_whole() -> None:
    """591 items of 33 captures; a lost file would pass every other test here."""
    assert len(CAPTURES) == 33
    assert sum(len(expected(capture)) for capture in CAPTURES) == 591
