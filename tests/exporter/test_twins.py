"""Calls that several instrumentations of one process tell of in different requests: in any order each is one entry."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

import events
from clickhouse_rig import with_sink
from engine_process import EngineProcess
from exporter.ancestry import Ancestry, is_open
from exporter.clickhouse.sink import ClickHouseSink
from exporter.sink import Batch
from exporter.twins import MOST_TWINS, siblings_of, told_again, told_by
from mapping.event import ACTION, UNSAMPLED, Event

MS = 1_000_000
NOW = (time.time_ns() - 3600 * 10**9) // MS * MS
EVER = "since = '2000-01-01 00:00:00', until = '2100-01-01 00:00:00'"
THEIRS, OTHERS = "b7ad6b7169203331", "ffffffffffffffaa"  # spans of callers, which never come
# What a Java agent and Micrometer's bridge say of one process.
AGENT = {"host.name": "shop-7f", "process.pid": 31, "service.instance.id": "c5a7", "telemetry.distro.name": "agent"}
BRIDGE = {"telemetry.sdk.name": "opentelemetry"}
SCOPES = ("io.opentelemetry.tomcat-10.0", "org.springframework.boot", "framework", "router")
ODD_RESOURCES = (
    "",
    "{}",
    '{"resource":{"host.name":"a"',
    '{"resource":{"process.pid":[1],"host.name":"h\\u00e4\\n1"},"scope":{"name":"fr\\u00e4mework"}}',
    '{"resource":{"process.pid":"7","host.name":7},"scope":{"name":7}}',
)
_spans = itertools.count(1)


def told(scope: str, begins_ms: float, ends_ms: float, place: dict[str, Any] | None = None, **changes: Any) -> Event:
    """A call as one instrumentation tells of it, alone in its request."""
    fields = {
        "trace_id": "", "span_id": f"{next(_spans):016x}", "parent_id": THEIRS, "hop": "open", "service": "shop",
        "start_unix_ns": NOW + int(begins_ms * MS), "end_unix_ns": NOW + int(ends_ms * MS),
        "received_unix_ns": NOW + 10**9, "resource": json.dumps({"resource": place or {}, "scope": {"name": scope}}),
    }  # fmt: skip
    return events.event(**{**fields, **changes})


def of_trace(spans: Sequence[Event]) -> list[Event]:
    trace_id = f"{random.getrandbits(128):032x}"
    return [span._replace(trace_id=trace_id) for span in spans]


def store(engine: EngineProcess, traces: Sequence[Sequence[Event]]) -> None:
    """Each trace's spans come in this order, each in a request of its own."""

    async def write(sink: ClickHouseSink) -> None:
        for number, rows in enumerate(itertools.zip_longest(*traces), 1):
            await sink.write(Batch(number, [row for row in rows if row is not None]), in_doubt=False)

    with_sink(engine, write)


def entries(client: Client) -> set[str]:
    return {row[0] for row in client.query(f"SELECT span_id FROM api_calls({EVER}) WHERE entry").result_rows}


def nested(count: int) -> list[Event]:
    """One call as so many instrumentations tell of it, the outer one first."""
    places: list[dict[str, Any]] = [AGENT, BRIDGE, {}, {"service.instance.id": "c5a7"}]
    return [told(SCOPES[n], n, 100 - n, places[n]) for n in range(count)]


def test_in_any_order_of_arrival_the_outer_one_is_the_entry(clean: EngineProcess, client: Client) -> None:
    traces = [list(of_trace(order)) for n in (2, 3, 4) for order in itertools.permutations(nested(n))]
    at_once = [told(scope, 0, 5) for scope in SCOPES]  # clocks of milliseconds: all begin and end together
    tied = [of_trace(order) for order in itertools.permutations(at_once)]
    store(clean, [*traces, *tied])
    found = entries(client)
    for trace in traces:
        assert [span.start_unix_ns for span in trace if span.span_id in found] == [NOW]
    winners = Counter(span.span_id for trace in tied for span in trace if span.span_id in found)
    assert sum(winners.values()) == len(found & {span.span_id for span in at_once}) * 24 == 24


CALL = told("agent", 0, 100, AGENT, environment="production")
TWO = {
    "the same instrumentation": told("agent", 1, 99, AGENT),
    "another service": told("bridge", 1, 99, service="stock"),
    "another parent": told("bridge", 1, 99, parent_id=OTHERS),
    "another method": told("bridge", 1, 99, verb="POST"),
    "another path": told("bridge", 1, 99, uri="http://shop.example/items/4712"),
    "another status": told("bridge", 1, 99, status=404),
    "another environment": told("bridge", 1, 99, environment="canary"),
    "not within the other": told("bridge", 50, 103),
    "one after the other": told("bridge", 100.001, 100.002),
    "another host": told("bridge", 1, 99, {"host.name": "shop-8a"}),
    "another worker of the host": told("bridge", 1, 99, {"host.name": "shop-7f", "service.instance.id": "77"}),
    "another instance": told("bridge", 1, 99, {"service.instance.id": "d001"}),
    "no method": told("bridge", 1, 99, verb=""),
}
ONE = {
    "two SDKs": told("bridge", 1, 99, BRIDGE),
    "no path": told("bridge", 1, 99, uri="http://shop/x", flags=("uri_from_route",)),
    "another host and query in the address": told("bridge", 1, 99, uri="https://10.0.0.7:8080/items/4711/?page=2#end"),
    "no status": told("bridge", 1, 99, status=0),
    "another route": told("bridge", 1, 99, route="/items/4711"),
    "a start cut to milliseconds": told("bridge", 1, 100.9, BRIDGE),
    "an id of its own": told("bridge", 1, 99, {"host.name": "shop-7f", "process.pid": 31, "service.instance.id": "77"}),
    "a version of its own": told("bridge", 1, 99, {"service.version": "2"}),
    "only the bridge says where": told("bridge", 1, 99, {"k8s.pod.name": "shop-1", "container.id": "9d1"}),
}
# Of two pods, or of one whose SDKs know different names of the host: what both know best tells.
PODS: list[tuple[dict[str, Any], dict[str, Any], int]] = [
    ({"k8s.pod.name": "shop-1", "host.name": "a"}, {"k8s.pod.name": "shop-1", "host.name": "ip-10-0-0-1"}, 1),
    ({"k8s.pod.name": "shop-1", "host.name": "a"}, {"k8s.pod.name": "shop-2", "host.name": "a"}, 2),
    ({"k8s.pod.uid": "1"}, {"k8s.pod.uid": "2"}, 2),
    ({"container.id": "1"}, {"container.id": "2"}, 2),
    ({"container.id": "1", "service.instance.id": "x"}, {"container.id": "1", "service.instance.id": "y"}, 1),
    ({"faas.instance": "1"}, {"faas.instance": "2"}, 2),
    ({"host.name": "a", "process.pid": 7}, {"host.name": "a", "process.pid": 8}, 1),  # one of them before a fork
    ({"service.namespace": "eu"}, {"service.namespace": "us"}, 2),
]


def test_what_may_be_one_call_and_what_may_not(clean: EngineProcess, client: Client) -> None:
    cases = {name: (of_trace([CALL, other]), 2) for name, other in TWO.items()}
    cases |= {name: (of_trace([other, CALL]), 1) for name, other in ONE.items()}
    for mine, its, calls in PODS:
        pair = [told("agent", 0, 100, mine), told("bridge", 1, 99, its)]
        cases[f"{mine} {its}"] = of_trace(pair[:: random.choice((1, -1))]), calls
    store(clean, [trace for trace, _ in cases.values()])
    asked = client.query(f"SELECT trace_id, count() FROM api_calls({EVER}) WHERE entry GROUP BY trace_id").result_rows
    found = {str(trace_id): calls for trace_id, calls in asked}
    assert {name: found[trace[0].trace_id] for name, (trace, _) in cases.items()} == {
        name: calls for name, (_, calls) in cases.items()
    }


def test_a_gateway_without_spans_that_asks_two_pods_makes_two_calls(clean: EngineProcess, client: Client) -> None:
    """At once or again while the first still works; each pod has two instrumentations, of which two know no place."""
    hedged = [told("agent", 0, 100, {"host.name": "a"}), told("bridge", 1, 99)]
    hedged += [told("agent", 30, 60, {"host.name": "b"}), told("bridge", 31, 59)]
    traces = [of_trace(order) for order in itertools.permutations(hedged)]
    store(clean, traces)
    found = entries(client)
    for trace in traces:
        assert [span.start_unix_ns for span in trace if span.span_id in found].count(NOW) == 1
        assert len([span for span in trace if span.span_id in found]) == 2


@pytest.mark.parametrize("of_all", [True, False])
def test_calls_of_one_parent_are_as_many_as_were_made(clean: EngineProcess, client: Client, *, of_all: bool) -> None:
    """A browser's page, a load tester: one traceparent for all calls, at once and one after the other."""
    dice = random.Random(of_all)
    traces, made = [], []
    for count in (2, 3, 4, 5, 8, 10, 40, 300) if of_all else range(2, 9):
        spans: list[Event] = []
        scopes = SCOPES[: dice.choice((2, 3))]
        for _ in range(count):
            begins, path = dice.randrange(40), dice.choice("ab")
            ends = begins + 10 + dice.randrange(50)
            for n, scope in enumerate(scopes):
                if of_all or not n or dice.random() < 0.7:  # inner ones may be lost
                    spans.append(told(scope, begins + n, ends - n, uri=f"http://shop.example/{path}"))
        traces.append(of_trace(dice.sample(spans, len(spans))))
        made.append(count)
    store(clean, [[span] for trace in traces for span in trace])
    found = entries(client)
    assert [sum(span.span_id in found for span in trace) for trace in traces] == made


def test_the_view_and_the_sinks_of_entries_decide_alike(clean: EngineProcess, client: Client) -> None:
    """Whatever the spans say: the view against the plain rule of exporter/twins.py."""
    dice = random.Random(5)
    said = {
        "k8s.pod.uid": ("u1", "u2"), "k8s.pod.name": ("p1", "p2"), "container.id": ("c", "d"), "faas.instance": ("f",),
        "host.name": ("h1", "h2", ""), "process.pid": (7, 8), "service.instance.id": ("i", "j"),
        "service.namespace": ("n",),
    }  # fmt: skip
    uris = ("http://h/a", "http://h/a/?x=/b#y", "https://h:1/b", "http://h", "http://h/", "http://h?x=/a", "/a", "")
    traces = []
    for _ in range(400):
        spans = []
        for _ in range(dice.choice((2, 3, 4, 6, MOST_TWINS, MOST_TWINS + 1))):
            begins = dice.randrange(20) / 2
            place = {name: dice.choice(values) for name, values in said.items() if dice.random() < 0.15}
            decision = UNSAMPLED._replace(adjusted_count=dice.choice((1.0, 1.0, 2.5)))
            ends = begins + dice.choice((0, 1, 2, 4, 10, 20)) / 2
            span = told(dice.choice(SCOPES), begins, ends, place, decision=decision, uri=dice.choice(uris))
            spans.append(
                span._replace(
                    parent_id=dice.choice((THEIRS,) * 9 + (OTHERS,)),
                    hop=dice.choice(("open",) * 9 + ("entry",)),
                    flags=dice.choice(((),) * 5 + (("uri_from_route",),)),
                    status=dice.choice((200, 200, 200, 0, 503)),
                    environment=dice.choice(("",) * 5 + ("prod", "dev")),
                    resource=dice.choice((span.resource,) * 9 + ODD_RESOURCES),
                )
            )
        traces.append(of_trace(spans))
    store(clean, traces)
    beside: defaultdict[Any, list[Event]] = defaultdict(list)
    for span in itertools.chain.from_iterable(traces):
        beside[span.trace_id, siblings_of(span)].append(span)
    again = set[str]().union(*(told_again([told_by(span) for span in spans]) for spans in beside.values()))
    assert len(again) > 500
    assert entries(client) == {span.span_id for span in itertools.chain.from_iterable(traces)} - again


def chains(dice: random.Random) -> list[Event]:
    """A trace of one to three calls of a caller through a few services; spans between them may be missing."""
    spans: list[Event] = []

    def call(service: str, parent: str, begins_ms: float, takes_ms: float, depth: int) -> None:
        top = f"{next(_spans):016x}"
        for n, scope in enumerate(dice.choice((SCOPES[:1], SCOPES[:1], SCOPES[:2], SCOPES[:3]))):
            if dice.random() < 0.9:
                at = begins_ms + n / 1000
                spans.append(told(scope, at, begins_ms + takes_ms - n / 1000, parent_id=parent, service=service))
                top = spans[-1].span_id
        for n in range(dice.choice((0, 1, 1, 2)) if depth < 3 else 0):
            at, above = begins_ms + (n + 1) * dice.random(), top
            for direction in ("Internal", "Outgoing")[dice.random() < 0.6 :]:
                kind = {"event_type": ACTION} if direction == "Internal" else {}
                more: dict[str, Any] = {
                    "direction": direction,
                    "hop": "",
                    "service": service,
                    "parent_id": above,
                    **kind,
                }
                span = told("between", at, at + takes_ms / 4, **more)
                spans.extend([span] * (dice.random() < 0.85))
                above = span.span_id
            call(dice.choice(("gateway", "shop", "stock")), above, at + 0.001, takes_ms / 5, depth + 1)

    for n in range(dice.choice((1, 1, 2, 3))):
        call("gateway", THEIRS, n * dice.randrange(50), 40, 0)
    return of_trace(spans)


def sent(trace: Sequence[Event]) -> set[str]:
    """Span ids of the calls that a sink of entries sends when these come in this order, all before the first is due."""
    ancestry, waiting, found = Ancestry(), dict[str, Event](), set[str]()
    for event in trace:
        ancestry.note([event])
        if is_open(event):
            waiting[event.span_id] = event
        waiting = {span_id: call for span_id, call in waiting.items() if not ancestry.is_inner(call)}
    for span_id, call in waiting.items():
        if not ancestry.is_inner(call, is_due=True):
            ancestry.sent(call)
            found.add(span_id)
    return found


def test_sinks_of_entries_send_what_are_entries_in_the_view(clean: EngineProcess, client: Client) -> None:
    dice = random.Random(8)
    traces = [trace for trace in (chains(dice) for _ in range(500)) if trace]
    store(clean, [[span] for trace in traces for span in trace])
    found = entries(client)
    assert len(found) > 500
    for trace in traces:
        assert sent(dice.sample(trace, len(trace))) == found & {span.span_id for span in trace}


def test_calls_told_twice_below_a_gateway_are_none(clean: EngineProcess, client: Client) -> None:
    gateway = told("envoy", 0, 200, service="gateway")
    outgoing = told("envoy", 1, 190, service="gateway", direction="Outgoing", hop="", parent_id=gateway.span_id)
    spans = [gateway, outgoing, *(span._replace(parent_id=outgoing.span_id) for span in nested(3))]
    traces = [of_trace(random.sample(spans, len(spans))) for _ in range(8)]
    alone = of_trace([span for span in spans if span is not gateway])  # its call was sampled away: the shop's is left
    store(clean, [*traces, alone])
    assert entries(client) == {gateway.span_id, spans[2].span_id}


def test_a_browser_that_reports_here_too_makes_one_call(clean: EngineProcess, client: Client) -> None:
    click = told("web", -5, 300, service="web", parent_id=THEIRS, event_type=ACTION, direction="Internal", hop="")
    fetch = told("web", -4, 200, service="web", parent_id=click.span_id, direction="Outgoing", hop="")
    calls = [span._replace(parent_id=fetch.span_id) for span in nested(3)]
    line = told("", 101, 101, source="log", span_id="", parent_id="")  # too late to be one with its span
    traces = [of_trace(random.sample(spans, len(spans))) for spans in ([click, fetch, *calls, line],) * 8]
    store(clean, traces)
    assert entries(client) == {calls[0].span_id}


def test_what_one_request_tells_holds_for_the_call_in_another(clean: EngineProcess, client: Client) -> None:
    """Their parent, plumbing that is not stored, came with one of them: an inner hop, or an entry for certain."""
    outer, inner = nested(2)
    below = of_trace([outer, inner._replace(hop="inner")])
    sure = of_trace([outer, inner._replace(hop="entry")])
    other = told("gateway", -9, 200, service="gateway", parent_id=OTHERS, trace_id=below[0].trace_id)
    store(clean, [[*below, other], sure])
    asked = client.query(f"SELECT trace_id, span_id FROM api_calls({EVER}) WHERE entry").result_rows
    assert {tuple(row) for row in asked} == {(other.trace_id, other.span_id), (sure[0].trace_id, inner.span_id)}


def test_the_entry_has_the_owner_that_the_inner_one_names(clean: EngineProcess, client: Client) -> None:
    outer, inner = nested(2)
    named = inner._replace(user_id="ann", company_id="acme")
    store(clean, [of_trace([outer, named]), of_trace([named, outer])])
    asked = client.query(f"SELECT span_id, user_id, company_id FROM api_calls({EVER}) WHERE entry").result_rows
    assert [tuple(row) for row in asked] == [(outer.span_id, "ann", "acme")] * 2


def test_sums_stay_right_where_rules_keep_one_more_often_than_the_other(clean: EngineProcess, client: Client) -> None:
    """Randomness is the trace's, so of a rate of a tenth and one of all the rare one is never there alone."""
    outer, inner = nested(2)
    tenth = UNSAMPLED._replace(weight=10, adjusted_count=10.0, p=0.1)
    traces = []
    for number in range(100):
        rare, kept = (outer, inner) if number % 2 else (inner, outer)
        both = [rare._replace(decision=tenth), kept] if number % 20 < 2 else [kept]
        traces.append(of_trace(both))
    traces += [of_trace([span._replace(decision=tenth) for span in (outer, inner)]) for _ in range(10)]
    store(clean, traces)
    assert client.query(f"SELECT sum(weight) FROM api_calls({EVER}) WHERE entry").result_rows == [(200,)]


def test_a_trace_of_very_many_spans_is_resolved(clean: EngineProcess, client: Client) -> None:
    """What a load tester with one traceparent did: nothing compares each of its spans with each."""
    spans: list[Event] = []
    for n in range(3000):
        call = told("agent", n, n + 2)
        spans += [call, told("bridge", n, n + 1)]
        work: dict[str, Any] = {"event_type": ACTION, "direction": "Internal", "hop": "", "parent_id": call.span_id}
        spans += [told("db", n, n + 1, **work), told("db", n, n + 1, **work)]
    line: dict[str, Any] = {"source": "log", "span_id": "", "parent_id": ""}
    spans += [told("", n, n, **line) for n in range(500)]
    store(clean, [[span] for span in of_trace(spans)])
    assert len(entries(client)) == 3000


def test_the_rule_is_bounded() -> None:
    many = [told_by(told(SCOPES[n % 2], n, n + 3)) for n in range(4_000)]
    assert len(told_again(random.sample(many, len(many)))) == 2_000
