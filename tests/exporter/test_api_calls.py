"""The view `api_calls`: in whatever order a trace's spans came, a customer's call is one entry, with its owner."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

import events
from captures import map_requests, requests_of, truth_of
from engine_process import EngineProcess
from exporter.clickhouse import queries
from exporter.clickhouse.reader import StoreError, StoreReader
from exporter.sinks.clickhouse import Settings
from mapping.event import ACTION, Event
from stored import store_events

NOW = time.time_ns() - 3600 * 10**9
EVER = "since = '2000-01-01 00:00:00', until = '2100-01-01 00:00:00'"
_spans = itertools.count(1)


class Trace:
    """A trace in the making: its spans are stored as if each came in a request of its own."""

    def __init__(self) -> None:
        self.trace_id = f"{random.getrandbits(128):032x}"
        self.rows: list[Event] = []

    def span(self, service: str, parent: str = "", direction: str = "Incoming", **changes: Any) -> str:
        """Adds a call, or with direction "" an action; returns its span id."""
        span_id = f"{next(_spans):016x}"
        start = NOW + len(self.rows) * 1_000_000
        hop = "" if direction != "Incoming" else "open" if parent else "entry"
        fields = {"trace_id": self.trace_id, "span_id": span_id, "parent_id": parent, "service": service, "hop": hop}
        times = {"start_unix_ns": start, "end_unix_ns": start + 1000, "received_unix_ns": start + 10**9}
        kind = {} if direction else {"event_type": ACTION, "status": 0, "verb": "", "route": ""}
        self.rows.append(events.event(**{**fields, **times, **kind, "direction": direction, **changes}))
        return span_id


def entries(client: Client, where: str = "1") -> Counter[str]:
    """Entry calls by service."""
    rows = client.query(f"SELECT service FROM api_calls({EVER}) WHERE entry AND {where}").result_rows
    return Counter(str(row[0]) for row in rows)


ROOT, THEIRS = "", "b7ad6b7169203331"  # the parent of a gateway's span: none, or one of the caller's own


@pytest.mark.parametrize("above", [ROOT, THEIRS])
def test_a_chain_of_services_is_one_call_of_the_gateway(clean: EngineProcess, client: Client, above: str) -> None:
    trace = Trace()
    here = trace.span("gateway", above)
    for service in ("orders", "stock", "prices"):
        work = trace.span(trace.rows[-1].service, here, "")
        here = trace.span(service, trace.span(trace.rows[-1].service, work, "Outgoing"))
    store_events(clean, random.sample(trace.rows, len(trace.rows)))
    assert entries(client) == {"gateway": 1}


@pytest.mark.parametrize("above", [ROOT, THEIRS])
def test_spans_between_two_hops_may_be_missing(clean: EngineProcess, client: Client, above: str) -> None:
    """Plumbing is not stored: the outgoing span's parent is not there, but its service has a call of the trace."""
    trace = Trace()
    trace.span("gateway", above)
    trace.span("orders", trace.span("gateway", "00000000deadbeef", "Outgoing"))
    store_events(clean, trace.rows)
    assert entries(client) == {"gateway": 1}


@pytest.mark.parametrize("above", [ROOT, THEIRS])
def test_a_gateway_that_tries_again_got_one_call(clean: EngineProcess, client: Client, above: str) -> None:
    trace = Trace()
    gateway = trace.span("gateway", above)
    for _ in range(3):
        trace.span("orders", trace.span("gateway", gateway, "Outgoing"))
    store_events(clean, trace.rows)
    assert entries(client) == {"gateway": 1}


def test_a_proxy_without_outgoing_spans_is_the_entry(clean: EngineProcess, client: Client) -> None:
    """Envoy and nginx hand on the id of their own SERVER span."""
    trace = Trace()
    trace.span("orders", trace.span("envoy", THEIRS))
    store_events(clean, trace.rows)
    assert entries(client) == {"envoy": 1}


def test_calls_of_one_caller_in_one_trace_are_calls_each(clean: EngineProcess, client: Client) -> None:
    """A caller with a trace of its own makes three calls, at once or one after the other, some with the same parent."""
    trace = Trace()
    for parent in (THEIRS, THEIRS, "00000000000000aa"):
        gateway = trace.span("gateway", parent)
        trace.span("orders", trace.span("gateway", gateway, "Outgoing"))
    store_events(clean, trace.rows)
    assert entries(client) == {"gateway": 3}


def test_where_only_an_inner_service_reports_its_calls_count(clean: EngineProcess, client: Client) -> None:
    trace = Trace()
    trace.span("orders", THEIRS)
    store_events(clean, trace.rows)
    assert entries(client) == {"orders": 1}


def test_a_job_that_calls_its_own_service_makes_one_call(clean: EngineProcess, client: Client) -> None:
    trace = Trace()
    job = trace.span("orders", "", "", family="internal")
    trace.span("orders", trace.span("orders", job, "Outgoing"))
    store_events(clean, trace.rows)
    assert entries(client) == {"orders": 1}


def test_a_trace_of_inner_calls_only_still_has_an_entry(clean: EngineProcess, client: Client) -> None:
    """A worker calls its own service twice: both look as if below the other."""
    trace = Trace()
    job = trace.span("orders", THEIRS, "", family="internal")
    for _ in range(2):
        trace.span("orders", trace.span("orders", job, "Outgoing"))
    store_events(clean, trace.rows)
    assert sum(entries(client).values()) >= 1


def test_the_traces_of_two_tenants_never_meet(clean: EngineProcess, client: Client) -> None:
    ours, theirs = Trace(), Trace()
    theirs.trace_id = ours.trace_id
    parent = ours.span("gateway", ROOT, tenant="a")
    theirs.span("orders", parent, tenant="b")
    store_events(clean, ours.rows + theirs.rows)
    assert entries(client) == {"gateway": 1, "orders": 1}


def test_an_entry_without_a_name_takes_the_one_its_trace_agrees_on(clean: EngineProcess, client: Client) -> None:
    known, torn = Trace(), Trace()
    for trace, users in ((known, ("ann", "ann")), (torn, ("ann", "bob"))):
        gateway = trace.span("gateway", THEIRS, user_id="", company_id="")
        for user in users:
            outgoing = trace.span("gateway", gateway, "Outgoing", user_id="", company_id="")
            trace.span("orders", outgoing, user_id=user, company_id="acme")
    store_events(clean, random.sample(known.rows + torn.rows, 10))
    asked = client.query(f"SELECT trace_id, user_id, company_id FROM api_calls({EVER}) WHERE entry").result_rows
    assert {tuple(row) for row in asked} == {(known.trace_id, "ann", "acme"), (torn.trace_id, "", "acme")}


def test_questions_count_a_call_once_and_all_its_hops_when_asked(clean: EngineProcess, client: Client) -> None:
    trace = Trace()
    trace.span("orders", trace.span("gateway", trace.span("gateway", THEIRS), "Outgoing"))
    store_events(clean, trace.rows)
    since, until = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC)
    for hops, calls in (("entry", 1.0), ("all", 2.0)):
        asked = queries.totals(since, until, hops=hops)
        (row,) = client.query(asked.sql, parameters=dict(asked.parameters)).named_results()
        assert row["calls"] == calls
    with pytest.raises(ValueError, match="hops is entry or all, not 'inner'"):
        queries.totals(since, until, hops="inner")


def test_readers_of_the_engine_may_ask_the_view(clean: EngineProcess, client: Client) -> None:
    trace = Trace()
    trace.span("gateway", company_id="acme")
    store_events(clean, trace.rows)
    sql = "SELECT company_id, ip_family, organization_id FROM api_calls(since = now() - INTERVAL 1 DAY, until = now())"
    assert clean.ask(sql, database="analytics", default_format="TSV") == (0, "acme\t\tacme\n")
    with StoreReader(Settings(name="s", dsn=f"chdb://{clean.data}")) as reader:
        assert reader.query(sql).rows == [("acme", "", "acme")]
        for asked in ("api_calls", "api_calls AS c WHERE entry", "api_calls(since = now())"):
            with pytest.raises(StoreError, match=r"asked about a time: FROM api_calls\(since = .*, until = now\(\)\)"):
                reader.query(f"SELECT 1 FROM {asked}")


CHAINS = {"java-gw-spring": "edge-gw", "caddy-go": "edge-caddy", "go-gin": "go-gin", "rust-axum-otel": "axum-otel"}


@pytest.mark.parametrize("system", CHAINS)
@pytest.mark.parametrize("order", ["as sent", "backwards", "shuffled"])
def test_real_gateways_and_services_have_as_many_entries_as_there_were_calls(
    clean: EngineProcess, client: Client, system: str, order: str
) -> None:
    bodies = requests_of(system)
    if order != "as sent":
        bodies = bodies[::-1] if order == "backwards" else random.Random(7).sample(bodies, len(bodies))
    store_events(clean, newest_of(map_requests(bodies)))
    assert entries(client, "source = 'span'") == {CHAINS[system]: len(truth_of(system))}


def newest_of(mapped: Sequence[Sequence[Event]]) -> list[Event]:
    """The events of all requests, each transaction once, the span before the log, as the pipeline delivers them."""
    kept: dict[str, Event] = {}
    for event in sorted(itertools.chain.from_iterable(mapped), key=lambda event: event.source == "log"):
        kept.setdefault(event.transaction_id, event)
    return list(kept.values())


def line_of(trace: Trace, call: int, **changes: Any) -> None:
    """Adds the call of an access-log line about the call at this place, which came too late to be one with it."""
    told = trace.rows[call]
    at = told.end_unix_ns + 50_000_000
    fields = {
        "source": "log",
        "parent_id": "",
        "span_id": "",
        "hop": "open",
        "transaction_id": events.event().transaction_id,
    }
    trace.rows.append(told._replace(**{**fields, "start_unix_ns": at, "end_unix_ns": at, **changes}))


@pytest.mark.parametrize("above", [ROOT, THEIRS])
@pytest.mark.parametrize("span_id", ["", "00000000000000cc", "its own"])
def test_a_line_whose_span_came_too_late_is_no_second_entry(
    clean: EngineProcess, client: Client, above: str, span_id: str
) -> None:
    trace = Trace()
    gateway = trace.span("gateway", above)
    trace.span("orders", trace.span("gateway", gateway, "Outgoing"))
    line_of(trace, 0, span_id=gateway if span_id == "its own" else span_id, status=504)
    line_of(trace, 0, service="", span_id=span_id and "00000000000000dd")  # of another log, without a service's name
    store_events(clean, random.sample(trace.rows, len(trace.rows)))
    assert entries(client) == {"gateway": 1}


def test_lines_without_a_span_of_their_call_are_entries(clean: EngineProcess, client: Client) -> None:
    """Of one trace of a caller's: one call that a span tells of, three that only lines do, at one service or later."""
    trace = Trace()
    trace.span("gateway", THEIRS)
    line_of(trace, 0, verb="POST")
    line_of(trace, 0, service="orders", route="/orders")
    much_later = trace.rows[0].end_unix_ns + 60 * 10**9
    line_of(trace, 0, start_unix_ns=much_later, end_unix_ns=much_later)
    store_events(clean, trace.rows)
    assert entries(client) == {"gateway": 3, "orders": 1}


def test_lines_alone_are_calls_each(clean: EngineProcess, client: Client) -> None:
    trace = Trace()
    trace.span("gateway", THEIRS)
    for _ in range(3):
        line_of(trace, len(trace.rows) - 1)
    store_events(clean, trace.rows[1:])
    assert entries(client) == {"gateway": 3}
