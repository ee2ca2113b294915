"""What is counted of calls that sampling drops is what their events would say: over real captures, by every way out."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from mapping.event import API_CALL, Event
from mapping.mapped import Mapped
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.sampling.counts import arrived
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from mapping_requests import NOW, span, traces
from project_files import TESTDATA
from receiver.decode.request import DecodeLimits, decode_request

CORPUS = TESTDATA / "corpus"
CAPTURES = sorted(path.stem for path in CORPUS.glob("*.bin"))
LIMITS = DecodeLimits(max_body_bytes=1 << 26, max_records=100_000, max_elements=10_000_000)
# What is counted, and what tells a call that is told twice.
FIELDS = (
    *("event_type", "transaction_id", "source", "tenant", "trace_id", "span_id", "parent_id", "start_unix_ns"),
    *("end_unix_ns", "duration_ms", "received_unix_ns", "user_id", "company_id", "session_token", "subscription_id"),
    *(
        "application_id",
        "client_id",
        "plan_id",
        "service",
        "environment",
        "region",
        "resource",
        "direction",
        "hop",
        "verb",
        "uri",
    ),
    *("route", "status", "api_version", "name", "span_status", "error_type", "family"),
)
NEVER: dict[str, dict[str, Any]] = {
    "before it is mapped": {"rate": "0.0000002", "randomness": "trace_id"},
    "by a hash": {"rate": "0.0000002", "randomness": "hash"},
    "after it is mapped": {
        "rules": [{"name": "all", "rate": 0, "when": [{"path": "tenant", "op": "eq", "value": "t"}]}]
    },
}


def mapped(capture: str, sampling: dict[str, Any], *, count: bool = True) -> Mapped:
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
    settings = SamplingSettings.model_validate(sampling)
    mapper = Mapper(MappingSettings(), Sampler(settings), count_dropped=count)
    return mapper.map(decoded, received_unix_ns=NOW, tenant="t")


def said(event: Event) -> dict[str, object]:
    found: dict[str, object] = {name: getattr(event, name) for name in FIELDS}
    return found | {"of a route": "uri_from_route" in event.flags}


@pytest.mark.parametrize("way", NEVER)
def test_a_dropped_call_is_counted_as_its_event_would_be(way: str) -> None:
    calls = 0
    for capture in CAPTURES:
        kept, dropped = mapped(capture, {}), mapped(capture, NEVER[way])
        assert dropped.dropped is not None
        if dropped.events:  # a log line that nothing but its content identifies may be kept by chance
            continue
        wanted = [said(event) for event in kept.events if event.event_type == API_CALL]
        assert [said(event) for event in dropped.dropped] == wanted, capture
        assert dropped.sampled_out + dropped.skipped == len(kept.events) + kept.skipped
        calls += len(wanted)
        for event in dropped.dropped:
            assert not event.decision.keep
            assert (event.metadata, event.request_body, event.body) == ("", "", "")
    assert calls > 100


def test_without_counting_nothing_is_mapped_that_is_dropped() -> None:
    found = mapped(CAPTURES[0], NEVER["before it is mapped"], count=False)
    assert (found.dropped, found.events) == (None, [])


@pytest.mark.parametrize(
    ("attributes", "state", "stood_for"),
    [
        ({}, "", 1.0),
        ({}, "ot=th:c", 4.0),
        ({"moesif.weight": 7}, "", 7.0),
        ({"sampling.weight": "2.5"}, "", 2.5),
        ({"moesif.weight": 7}, "ot=th:c", 4.0),  # the threshold is the better word
        ({"moesif.weight": "many"}, "", 1.0),
    ],
)
@pytest.mark.parametrize("sampling", [{"rate": "0.0000002"}, {"rate": "0.0000002", "sample_unit": "user"}, {}])
def test_a_call_counts_what_it_stood_for_on_arrival(
    sampling: dict[str, Any], attributes: dict[str, Any], state: str, stood_for: float
) -> None:
    """Kept or dropped, before it is mapped or after."""
    one = span({"http.request.method": "GET", "user.id": "u", **attributes}, trace_state=state)
    one.trace_id = bytes(9) + b"\xd0" + bytes(5) + b"\x01"
    settings = SamplingSettings.model_validate(sampling)
    decoded = Decoder().traces(traces(one).SerializeToString())
    found = Mapper(MappingSettings(), Sampler(settings), count_dropped=True).map(decoded, received_unix_ns=NOW)
    (call,) = found.events + (found.dropped or [])
    assert arrived(call.decision) == pytest.approx(stood_for)
    assert bool(found.events) is (sampling == {})
