"""Rules about a call reach its logs and actions, in any order of requests, and no sum of weights moves by that."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import pytest
import yaml
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from mapping.event import ACTION, LOG, Event
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.sampling.moesif import parse_config
from mapping.sampling.recent_calls import service_key
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.thresholds import M, th_text, threshold
from mapping.sampling.whole_traces import WholeTraces
from mapping.settings import MappingSettings
from otlp_requests import CLIENT, INTERNAL, NOW, SERVER, log, logs, span, traces
from project_files import ROOT

TRACES = 800
CALL, STEP, QUERY = 1, 2, 3  # span numbers of a trace

Request = tuple[str, bytes]

ERRORS = {"name": "errors", "rate": 100, "when": [{"path": "status", "op": "gte", "value": 500}]}


class Bridge:
    """A mapper and what it kept of requests, in their order."""

    def __init__(self, mapping: dict[str, Any] | None = None, **sampling: Any) -> None:
        self.sampler = Sampler(SamplingSettings.model_validate(sampling))
        self.mapper = Mapper(MappingSettings.model_validate(mapping or {}), self.sampler)
        self.kept: list[Event] = []
        self.now = NOW

    def send(self, *requests: Request, tenant: str = "") -> None:
        for signal, body in requests:
            decoded = Decoder().traces(body) if signal == "traces" else Decoder().logs(body)
            mapped = self.mapper.map(decoded, received_unix_ns=self.now, tenant=tenant)
            assert not mapped.failed
            self.kept += mapped.events

    def weights(self) -> Counter[str]:
        """Sums of exact weights by kind of record."""
        sums: Counter[str] = Counter()
        for event in self.kept:
            sums[event.event_type] += event.decision.adjusted_count  # type: ignore[assignment]
        return sums


def ids(count: int, seed: int = 3) -> list[bytes]:
    """Trace ids whose randomness is spread evenly: what is kept of them is exact, not a draw."""
    dice = random.Random(seed)
    shift = dice.randrange(M // count)
    return [dice.randbytes(9) + (place * M // count + shift).to_bytes(7, "big") for place in range(count)]


def call(status: int = 503, route: str = "/orders/{id}", more: dict[str, Any] | None = None) -> dict[str, Any]:
    path = route.replace("{id}", "7")
    told = {"http.request.method": "GET", "http.route": route, "url.path": path, "http.response.status_code": status}
    return {**told, **(more or {})}


def spans(trace_id: bytes, attributes: dict[str, Any], state: str = "", took_ms: int = 5) -> list[Span]:
    """A call, a step inside of it, and a query inside of that; exported with the parent last."""
    of: dict[str, Any] = {"trace_id": trace_id, "trace_state": state}
    began = NOW - took_ms * 1_000_000
    return [
        span({"db.system.name": "postgresql"}, kind=CLIENT, name="SELECT", number=QUERY, parent=STEP, **of),
        span({}, kind=INTERNAL, name="step", number=STEP, parent=CALL, **of),
        span(attributes, kind=SERVER, number=CALL, start_time_unix_nano=began, **of),
    ]


def request_of(*made: Sequence[Span]) -> Request:
    return "traces", traces(*(one for spans_ in made for one in spans_)).SerializeToString()


def lines(trace_id: bytes, numbers: Iterable[int] = (CALL, STEP, QUERY, 0), **attributes: Any) -> Request:
    """A log record for each span; 0: one that names the trace alone."""
    made = [
        log(f"of {number}", attributes, trace_id=trace_id, span_id=number.to_bytes(8, "big") if number else b"")
        for number in numbers
    ]
    return "logs", logs(*made).SerializeToString()


LOW = b"\1" * 9 + bytes(7)  # a trace that no rate but 100 % keeps


@pytest.mark.parametrize(
    ("condition", "attributes"),
    [
        (("status", "gte", 500), call(503)),
        (("status_class", "eq", "5xx"), call(503)),
        (("route", "eq", "/orders/{id}"), call(200)),
        (("url.path", "prefix", "/orders"), call(200)),
        (("method", "in", ["GET", "HEAD"]), call(200)),
        (("duration_ms", "gte", 2000), call(200)),
        (("ip_address", "eq", "203.0.113.9"), call(200, more={"client.address": "203.0.113.9"})),
        (("company", "eq", "acme"), call(200, more={"company.id": "acme"})),
        (("request.headers.x-plan", "eq", "gold"), call(200, more={"http.request.header.x-plan": ["gold"]})),
    ],
)
def test_a_rule_about_a_call_reaches_its_actions_and_the_logs_of_all_its_spans(
    condition: tuple[str, str, object], attributes: dict[str, Any]
) -> None:
    path, op, value = condition
    rule = {"name": "of_call", "rate": 100, "when": [{"path": path, "op": op, "value": value}]}
    bridge = Bridge(rate=10, rules=[rule])
    bridge.send(request_of(spans(LOW, attributes, took_ms=3000)), lines(LOW))
    assert [event.event_type for event in bridge.kept] == [ACTION, ACTION, "api_call", LOG, LOG, LOG, LOG]
    assert {(event.decision.rule, event.decision.weight) for event in bridge.kept} == {("of_call", 1)}
    without = Bridge(rate=10, rules=[rule])
    without.send(request_of(spans(LOW, call(200, "/other"))), lines(LOW))
    assert without.kept == ([] if path != "method" else without.kept)


def test_what_belongs_to_a_call_that_is_dropped_is_dropped_with_it() -> None:
    health = {"name": "health", "rate": 0, "when": [{"path": "url.path", "op": "regex", "value": "^/health"}]}
    bridge = Bridge(rate=100, rules=[health])
    bridge.send(request_of(spans(LOW, call(200, "/health"))), lines(LOW))
    assert bridge.kept == []
    early = Bridge(rate=100, rules=[health])
    early.send(lines(LOW), request_of(spans(LOW, call(200, "/health"))))
    assert {event.event_type for event in early.kept} == {LOG}  # it came before the call did


def test_the_nearest_call_above_is_the_call_and_its_own_word_comes_first() -> None:
    bridge = Bridge(rate=10, rules=[ERRORS])
    inner = [
        span({"db.system.name": "redis"}, kind=CLIENT, name="GET", number=6, parent=5, trace_id=LOW),
        span(call(200, "/inner"), number=5, parent=QUERY, trace_id=LOW),
    ]
    bridge.send(request_of(inner, spans(LOW, call(503))), lines(LOW, (5, 6, CALL)))
    assert [(event.event_type, int(event.span_id or "0", 16)) for event in bridge.kept] == [
        (ACTION, QUERY),
        (ACTION, STEP),
        ("api_call", CALL),
        (LOG, CALL),
    ]
    own = Bridge(rate=10, rules=[ERRORS])
    own.send(request_of(spans(LOW, call(503))), lines(LOW, (CALL,), **{"http.response.status_code": 204}))
    own.send(lines(LOW, (9,), **{"http.response.status_code": 500}))  # of a call that nobody knows
    assert [event.event_type for event in own.kept] == [ACTION, ACTION, "api_call", LOG]
    assert own.kept[-1].span_id == (9).to_bytes(8, "big").hex()


def test_an_access_line_speaks_for_the_other_lines_of_its_span_whatever_their_order() -> None:
    line = log(
        {"method": "GET", "path": "/orders/7", "status": 502, "duration_ms": 3},
        trace_id=LOW,
        span_id=(CALL).to_bytes(8, "big"),
    )
    about = log("cannot reach the store", trace_id=LOW, span_id=(CALL).to_bytes(8, "big"))
    bare = log("giving up", trace_id=LOW)
    other = log("fine", trace_id=LOW, span_id=(9).to_bytes(8, "big"))
    bridge = Bridge(rate=10, rules=[ERRORS])
    bridge.send(("logs", logs(about, bare, other, line).SerializeToString()))
    assert [event.event_type for event in bridge.kept] == [LOG, LOG, "api_call"]
    later = Bridge(rate=10, rules=[ERRORS])
    later.send(("logs", logs(line).SerializeToString()), ("logs", logs(about, bare, other).SerializeToString()))
    assert [event.event_type for event in later.kept] == ["api_call", LOG, LOG]


def test_calls_are_known_for_their_time_their_tenant_and_their_rules_alone() -> None:
    bridge = Bridge(rate=10, rules=[ERRORS])
    bridge.send(request_of(spans(LOW, call(503))), tenant="a")
    bridge.send(lines(LOW), tenant="b")
    assert [event.tenant for event in bridge.kept] == ["a"] * 3
    bridge.now += 61 * 10**9
    bridge.send(lines(LOW), tenant="a")
    assert len(bridge.kept) == 3
    same_request_alone = Bridge({"inherit_across_requests_s": 0}, rate=10, rules=[ERRORS])
    same_request_alone.send(request_of(spans(LOW, call(503))), lines(LOW))
    assert [event.event_type for event in same_request_alone.kept] == [ACTION, ACTION, "api_call"]


def test_a_call_is_remembered_in_as_many_bytes_whatever_its_service_is_called() -> None:
    """A hundred thousand are: names of four kilobytes would be 400 MB."""
    names = ("a", "b", "\U0001f600" * 1024, "\U0001f600" * 1023, "\ud800", "")
    keys = [service_key(bytes(16), name, "t") for name in names]
    assert len({*keys}) == len(names)
    assert len({*map(len, keys)}) == 1


def test_patterns_set_in_moesif_reach_what_belongs_to_a_call() -> None:
    bridge = Bridge(rate=10, moesif_remote={"enabled": True, "application_id": "a"})
    condition = {"path": "response.status", "value": "^5"}
    body = b'{"sample_rate": 10, "regex_config": [{"conditions": [%s], "sample_rate": 100}]}'
    remote = parse_config(body % str(condition).replace("'", '"').encode())
    bridge.sampler.use_remote(remote, "v1")
    bridge.sampler.tick(NOW)
    bridge.send(request_of(spans(LOW, call(503))), lines(LOW))
    assert [event.event_type for event in bridge.kept] == [ACTION, ACTION, "api_call", LOG, LOG, LOG, LOG]


def upstream(percent: int) -> tuple[int, str]:
    """(threshold, tracestate) of an SDK that keeps so much of the spans."""
    t = threshold(Fraction(percent, 100), 4)
    return t, f"ot=th:{th_text(t)}" if t else ""


@pytest.mark.parametrize("order", ["after", "before", "shuffled"])
@pytest.mark.parametrize("of_spans", [100, 25, 3])
@pytest.mark.parametrize(
    ("rate", "of_call", "mode"),
    [
        *((10, 100, "equalizing"), (50, 10, "equalizing"), (10, 25, "equalizing"), (100, 10, "equalizing")),
        *((60, 15, "equalizing"), (25, 100, "proportional")),
    ],
)
def test_sums_by_weight_are_true_in_any_order_of_requests(
    order: str, of_spans: int, rate: int, of_call: int, mode: str
) -> None:
    """Every log of 800 traces of which an SDK lets through a part of the spans: what stands for them is them all."""
    t, state = upstream(of_spans)
    rule = {"name": "failed", "rate": of_call, "when": [{"path": "status", "op": "gte", "value": 500}]}
    bridge = Bridge(rate=rate, rules=[rule], mode=mode)
    through = [one for one in ids(TRACES) if int.from_bytes(one[9:], "big") >= t]
    told = [request_of(*(spans(one, call(503), state) for one in part)) for part in parts(through, 100)]
    said = [("logs", logs(*(line_of(one) for one in part)).SerializeToString()) for part in parts(ids(TRACES), 100)]
    if order == "shuffled":  # blindly to the randomness, as the network does it
        requests = [*told, *said]
        random.Random(11).shuffle(requests)
    else:
        requests = [*told, *said] if order == "after" else [*said, *told]
    bridge.send(*requests)
    sums = bridge.weights()
    # Of evenly spread randomness each threshold keeps its share but for one record.
    slack = 4 * max(100 / rate, 100 / of_call, 100 / of_spans) * (100 / of_spans if mode == "proportional" else 1)
    assert abs(sums["api_call"] - TRACES) <= slack
    if order != "shuffled":
        assert abs(sums[LOG] - TRACES) <= slack
        assert abs(sums[ACTION] - 2 * TRACES) <= 2 * slack
    else:
        # Which logs meet their call is drawn by the order; within six standard deviations of so many draws.
        error = (TRACES * max(100 / rate, 100 / of_call, 1)) ** 0.5
        assert abs(sums[LOG] - TRACES) <= slack + 6 * error


def line_of(trace_id: bytes) -> Any:
    return log("it failed", trace_id=trace_id, span_id=(STEP).to_bytes(8, "big"))


def parts(made: list[bytes], size: int) -> list[list[bytes]]:
    mixed = list(made)
    random.Random(5).shuffle(mixed)
    return [mixed[at : at + size] for at in range(0, len(mixed), size)]


@pytest.mark.parametrize("of_spans", [100, 25])
def test_where_an_sdk_thins_spans_the_logs_of_what_it_kept_are_kept_with_them(of_spans: int) -> None:
    t, state = upstream(of_spans)
    bridge = Bridge(rate=10, rules=[ERRORS])
    through = [one for one in ids(TRACES) if int.from_bytes(one[9:], "big") >= t]
    for part in parts(through, 100):
        bridge.send(request_of(*(spans(one, call(503), state) for one in part)))
    for part in parts(ids(TRACES), 100):
        bridge.send(("logs", logs(*(line_of(one) for one in part)).SerializeToString()))
    kept = {kind: {event.trace_id for event in bridge.kept if event.event_type == kind} for kind in (LOG, "api_call")}
    assert kept[LOG] == kept["api_call"] == {one.hex() for one in through}
    assert abs(bridge.weights()[LOG] - TRACES) <= 100 / of_spans


def test_randomness_of_an_sdk_of_its_own_keeps_logs_with_their_spans_and_sums_true() -> None:
    """rv beside th: logs follow it once a span has told it, and count for the traces that were kept."""
    dice = random.Random(2)
    t = threshold(Fraction(1, 4), 4)
    bridge = Bridge(rate=10, rules=[ERRORS])
    values = [int.from_bytes(one[9:], "big") for one in ids(TRACES)]
    made = [(dice.randbytes(16), rv) for rv in values]
    told = [spans(one, call(503), f"ot=th:{th_text(t)};rv:{rv:014x}") for one, rv in made if rv >= t]
    bridge.send(request_of(*told))
    bridge.send(("logs", logs(*(line_of(one) for one, _ in made)).SerializeToString()))
    seen = {one.hex() for one, rv in made if rv >= t}
    lines_kept = [event for event in bridge.kept if event.event_type == LOG]
    assert {event.trace_id for event in lines_kept if event.trace_id in seen} == seen
    total = sum(event.decision.adjusted_count for event in lines_kept)
    assert abs(total - TRACES) < 6 * (TRACES * 10) ** 0.5


def test_a_span_whose_threshold_is_not_believed_lends_nothing() -> None:
    """Its randomness tells that it was not kept by that threshold: logs that follow it would follow the randomness."""
    trace_id = b"\1" * 9 + (M // 4).to_bytes(7, "big")
    for state in ("ot=th:c", f"ot=th:{'f' * 13}"):
        bridge = Bridge(rate=10, rules=[ERRORS])
        bridge.send(request_of(spans(trace_id, call(503), state)), lines(trace_id))
        assert {event.event_type for event in bridge.kept} == {"api_call"}
    configured = Bridge(rate=10, rules=[ERRORS], head_rate={"shop": 25})
    configured.send(request_of(spans(trace_id, call(503))), lines(trace_id))
    assert [event.event_type for event in configured.kept] == ["api_call"]


def test_rules_that_ask_nothing_of_calls_cost_and_change_nothing() -> None:
    for rules in ([], [{"name": "loud", "rate": 50, "when": [{"path": "severity", "op": "gte", "value": "WARN"}]}]):
        assert not Bridge(rate=10, rules=rules).sampler.calls
    assert not Bridge(rate=10, rules=[ERRORS], tail={}).sampler.calls


def test_the_documented_example_keeps_what_it_says() -> None:
    """Failing and slow calls with all their logs and actions, nothing of health checks, a tenth of the rest."""
    text = (ROOT / "docs/sampling.md").read_text(encoding="utf-8")
    example = next(one for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "health" in one)
    settings = yaml.safe_load(example)["sampling"]
    kinds = {
        "errors": (call(503), 5),
        "slow": (call(200), 3000),
        "health": (call(500, "/health"), 5),
        "default": (call(200), 5),
    }
    bridge = Bridge(**settings)
    whole: WholeTraces[int] = WholeTraces(bridge.sampler)
    traces_of = {kind: ids(200, seed) for seed, kind in enumerate(kinds)}
    for kind, (attributes, took_ms) in kinds.items():
        bridge.send(*(lines(one) for one in traces_of[kind]))  # logs come first, as SDKs send them
        bridge.send(*(request_of(spans(one, attributes, took_ms=took_ms)) for one in traces_of[kind]))
    finished = [*whole.add([(one, 0) for one in bridge.kept], 0.0), *whole.drain()]
    kept = Counter(one.event.decision.rule for one in finished if one.event is not None)
    assert kept == {"errors": 7 * 200, "slow": 7 * 200, "default": 7 * 20}
