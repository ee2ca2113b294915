"""Sampling as the bridge runs it: what outlives a process, and exact counts."""

from __future__ import annotations

import contextlib
import json
import random
import time
import urllib.request
from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bridge import BridgeProcess, eventually
from events import event
from mapping.event import Decision, Event
from mapping.mapped import Mapped
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from mapping.sampling.counts import CountKey, Sums, sums_of
from mapping.sampling.ledger import LedgerKey, LedgerRow
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.whole_traces import WholeTraces
from mapping.settings import MappingSettings
from otlp_requests import log, logs, spans_request
from receiver.spool import SpoolSettings
from weighbridge.sampling.minutes import Places, SamplingMinutes
from weighbridge.sampling.running import Sampling
from weighbridge.service import Bridge
from weighbridge.settings import ExporterSettings, Settings
from whole_trace_rig import request

NOW_NS = 1_795_200_000_000_000_000


def sampling(directory: Path, **settings: object) -> Sampling:
    return Sampling(SamplingSettings.model_validate(settings), (), directory)


def no_facts(path: str) -> object:
    return None


def test_hashed_randomness_outlives_the_process(tmp_path: Path) -> None:
    first = sampling(tmp_path / "spool", rate=10)
    dice = random.Random(1)
    for _ in range(600):  # as an old ratio sampler leaves them
        first.sampler.span(dice.randbytes(5) + b"\0" + dice.randbytes(3) + b"\0" * 7, "", no_facts)
    assert not first.sampler.hashed
    first.tick(NOW_NS)
    assert first.sampler.hashed
    assert sampling(tmp_path / "spool", rate=10).sampler.hashed
    assert not sampling(tmp_path / "spool", rate=10, randomness="trace_id").sampler.hashed


def test_what_was_received_before_trace_ids_were_hashed_is_decided_the_same_when_it_is_read_again(
    tmp_path: Path,
) -> None:
    dice = random.Random(1)
    ids = [dice.randbytes(5) + b"\0" + dice.randbytes(3) + b"\0" * 7 for _ in range(600)]
    ids += [dice.randbytes(16) for _ in range(600)]

    def keeps(bridge: Sampling, received: int) -> list[bool]:
        found: list[bool] = []

        def decide() -> None:
            found.extend(bridge.sampler.span(trace_id, "", no_facts).keep for trace_id in ids)

        weighed(bridge, decide, received)
        return found

    first = sampling(tmp_path / "spool", rate=50)
    before = keeps(first, NOW_NS - 2)
    after = keeps(first, NOW_NS)  # turned to hash between the two
    assert first.sampler.hashed
    assert before != after
    waited = keeps(first, NOW_NS - 1)  # came before that, and was mapped after it
    again = sampling(tmp_path / "spool", rate=50)
    for bridge in (first, again):
        assert keeps(bridge, NOW_NS - 2) == before
        assert keeps(bridge, NOW_NS) == after
        assert keeps(bridge, NOW_NS - 1) == waited == before
    (tmp_path / "spool" / "sampling_hashed").write_bytes(b"")  # as earlier versions wrote it: since ever
    assert keeps(sampling(tmp_path / "spool", rate=50), NOW_NS - 2) == after


def decided_by(bridge: Sampling, records: list[tuple[bytes, int]]) -> list[Decision]:
    return [
        bridge.sampler.span(trace_id, "", {"company": "acme", "time_unix_nano": at_ns}.get)
        for trace_id, at_ns in records
    ]


def test_rates_of_a_budget_outlive_the_process(tmp_path: Path) -> None:
    """What is mapped again after a kill is decided as it was, each record by the rates of its time."""
    budget = {"events_per_second": 5, "epoch_s": "10s"}
    first = sampling(tmp_path / "spool", budget=budget)
    dice = random.Random(8)
    records: list[tuple[bytes, int]] = []
    decisions: list[Decision] = []
    for second in range(95):
        now_ns = NOW_NS + second * 10**9
        first.tick(now_ns)
        new = [(dice.randbytes(16), now_ns + n) for n in range(10 + second)]
        records += new
        decisions += decided_by(first, new)
    assert len({decision.config for decision in decisions}) > 5
    with (tmp_path / "spool/sampling_budget.jsonl").open("ab") as file:
        file.write(b'{"from_unix_ns":17')  # killed inside a write
    again = sampling(tmp_path / "spool", budget=budget)
    again.tick(NOW_NS + 96 * 10**9)
    assert decided_by(again, records) == decisions
    assert decided_by(sampling(tmp_path / "elsewhere", budget=budget), records) != decisions
    # New rates of the second process do not change those of the first, also for a third.
    decided_by(again, [(dice.randbytes(16), NOW_NS + 97 * 10**9 + n) for n in range(500)])
    again.tick(NOW_NS + 107 * 10**9)
    third = sampling(tmp_path / "spool", budget=budget)
    third.tick(NOW_NS + 108 * 10**9)
    assert decided_by(third, records) == decisions
    assert third.sampler.budget is not None
    assert third.sampler.budget.tables[0].from_unix_ns == NOW_NS + 107 * 10**9


def test_a_request_that_is_mapped_again_is_decided_by_the_rates_of_its_time(tmp_path: Path) -> None:
    """Spans, logs, and spans of a sender whose clock is an hour ahead; the rates have changed meanwhile."""
    bridge = sampling(tmp_path, budget={"events_per_second": 5, "epoch_s": "10s"})
    mapper, decoder, dice = Mapper(MappingSettings(), bridge.sampler), Decoder(), random.Random(8)

    def decisions(decoded: Decoded, received_unix_ns: int) -> list[tuple[str, Decision]]:
        events = mapper.map(decoded, received_unix_ns=received_unix_ns).events
        return [(event.trace_id, event.decision) for event in events]

    first = []
    for second in range(60):
        now_ns = NOW_NS + second * 10**9
        bridge.tick(now_ns)
        ahead_ns = 3600 * 10**9 if second % 3 == 0 else -(10**7)
        traces = [dice.randbytes(16) for _ in range(20 + second)]
        for decoded in (
            decoder.traces(request([(trace_id, 200) for trace_id in traces], now_ns + ahead_ns, 1)),
            decoder.logs(logs_request(traces, now_ns + ahead_ns)),
        ):
            found = decisions(decoded, now_ns)
            first.append((decoded, now_ns, found))
    configs = {decision.config for _, _, found in first for _, decision in found}
    assert len(configs) > 4
    for decoded, now_ns, found in first:
        assert decisions(decoded, now_ns) == found


def logs_request(traces: list[bytes], at_unix_ns: int) -> bytes:
    lines = [log("done", trace_id=trace_id, time_unix_nano=at_unix_ns) for trace_id in traces]
    return logs(*lines, resource={}).SerializeToString()


def test_rates_that_are_long_out_of_date_do_not_hold_for_new_records(tmp_path: Path) -> None:
    budget = {"events_per_second": 5, "epoch_s": "10s"}
    first = sampling(tmp_path, budget=budget)
    dice = random.Random(8)
    for second in range(25):
        first.tick(NOW_NS + second * 10**9)
        decided_by(first, [(dice.randbytes(16), NOW_NS + second * 10**9) for _ in range(100)])
    again = sampling(tmp_path, budget=budget)
    later_ns = NOW_NS + 24 * 3600 * 10**9
    again.tick(later_ns)
    old, new = decided_by(again, [(b"\xf0" * 16, NOW_NS + 22 * 10**9), (b"\xf0" * 16, later_ns)])
    assert old.p < 0.5
    assert new.p == 1


def weighed(
    bridge: Sampling, decide: Callable[[], Any], received: int = NOW_NS
) -> tuple[Mapping[CountKey, Sums], list[Event]]:
    """What is decided while a request is mapped, and the events it becomes."""

    def steps() -> Generator[None, None, Mapped]:
        yield
        found = decide()
        return Mapped(found if isinstance(found, list) else [], 0, 0, [])

    def ended() -> Generator[None, None, None]:
        results.append((yield from bridge.weigh(steps(), NOW_NS, received)))

    results: list[tuple[Mapped, Mapping[CountKey, Sums]]] = []
    assert list(ended()) == [None]
    [(mapped, decided)] = results
    return decided, mapped.events


def test_a_request_counts_once_however_often_it_is_mapped(tmp_path: Path) -> None:
    bridge = sampling(tmp_path, rules=[{"name": "none", "rate": 0}])
    for first_time in (True, False, False):
        decided, _ = weighed(bridge, lambda: bridge.sampler.span(b"\1" * 16, "", no_facts))
        if first_time:
            bridge.decided("t1", NOW_NS, decided, [])
    row = bridge.sums["none", "t1"]
    assert (row.received, row.dropped_rule_zero, row.kept) == (1, 1, 0)


def test_what_a_request_that_cannot_be_mapped_left_is_in_no_books(tmp_path: Path) -> None:
    exporter = ExporterSettings.model_validate({"sinks": [{"name": "none", "type": "blackhole"}]})
    books = Bridge(Settings(spool=SpoolSettings(directory=tmp_path), exporter=exporter)).lane.books

    def steps(records: int, fault: bool) -> Generator[None, None, Mapped]:
        for _ in range(records):
            books.sampling.sampler.span(b"\1" * 16, "", no_facts)
            yield
        if fault:
            raise ValueError("a span nobody thought of")
        return Mapped([], 0, 0, [])

    for records, fault in ((3, True), (5, False), (2, True)):
        with contextlib.suppress(ValueError):
            list(books.weigh(steps(records, fault), NOW_NS))
        books.count("t1", NOW_NS)
        books.count("t1", NOW_NS)  # a count takes what was weighed: it cannot be in the books twice
    assert sum(sums.records for sums in books.sampling.totals.values()) == 5


def calls_of_users(bridge: Sampling, dice: random.Random) -> list[Event]:
    """Those that are kept of 200 users' fifty calls each."""
    kept = []
    for _ in range(200):
        user = f"u{dice.getrandbits(60)}"
        for _ in range(50):
            trace_id = dice.randbytes(16)
            decision = bridge.sampler.span(trace_id, "", {"user": user}.get)
            if decision.keep:
                kept.append(event(trace_id=trace_id.hex(), user_id=user, decision=decision))
    return kept


def test_calls_of_a_user_are_one_cluster_to_the_audit_when_users_are_sampled(tmp_path: Path) -> None:
    """Fifty calls of a user share one fate, each in a trace of its own: by trace, z would be 7 times as large."""
    largest = 0.0
    for seed in range(8):
        bridge = sampling(tmp_path, rate=10, sample_unit="user")
        dice = random.Random(seed)
        decided, kept = weighed(bridge, partial(calls_of_users, bridge, dice))
        bridge.decided("t1", NOW_NS, decided, kept)
        largest = max(largest, bridge.ledger.audits["default", "t1"].z())
    assert 0.3 < largest < 4


def test_whole_traces_count_when_they_are_decided(tmp_path: Path) -> None:
    bridge = sampling(tmp_path, rate=25, tail={})
    whole: WholeTraces[int] = WholeTraces(bridge.sampler, counted=False)
    dice = random.Random(5)

    def map_spans() -> list[Event]:
        ids = [dice.randbytes(16) for _ in range(400)]
        return [event(trace_id=i.hex(), decision=bridge.sampler.span(i, "ot=th:8", no_facts)) for i in ids]

    decided, undecided = weighed(bridge, map_spans)
    bridge.decided("t1", NOW_NS, decided, undecided)
    assert bridge.sums == {}
    finished = [*whole.add([(one, 0) for one in undecided], 0.0), *whole.drain()]
    kept = [one.event for one in finished if one.event is not None]
    bridge.decided("t1", NOW_NS, sums_of(one.decision for one in finished if one.decision), kept)
    row = bridge.sums["default", "t1"]
    consistent = sum(int(one.trace_id[18:], 16) >= 1 << 55 for one in undecided)
    assert row.received == 400
    assert row.received_adjusted == 2 * consistent + (400 - consistent)
    assert row.kept == len(kept) > 50
    assert row.kept_adjusted == sum(one.decision.adjusted_count for one in kept)
    assert not bridge.sampler.tally.take()


@pytest.mark.parametrize(
    "waits",
    [{}, {"tail": {"decision_wait_s": "1s"}}, {"budget": {"events_per_second": 10, "window_s": "300ms"}}],
    ids=["streaming", "whole traces", "windows"],
)
def test_the_ledger_by_the_minute_is_exact_over_kills(tmp_path: Path, waits: dict[str, object]) -> None:
    """Also about records of rate 0 that one process received and the next mapped. All of it outlives the processes."""
    bridge = BridgeProcess(
        tmp_path,
        sampling={"rate": 0, **waits},
        exporter={"sinks": [{"name": "hole", "type": "blackhole"}], "batch": {"max_age_s": 0.1}},
    )
    dice = random.Random(5)

    def counted() -> list[int]:
        with urllib.request.urlopen(f"http://127.0.0.1:{bridge.admin}/sampling?minutes=60") as answer:
            rows = json.loads(answer.read())
        assert {row["rule"] for row in rows} <= {"default"}
        return [sum(row[name] for row in rows) for name in ("received", "dropped_rule_zero", "kept")]

    sent = 0
    try:
        for pause_s in (0.0, 1.2):
            bridge.start()
            for _ in range(4):
                assert bridge.post("/v1/traces", spans_request(dice, 50)[1])[0] == 200
                sent += 50
            time.sleep(pause_s)
            bridge.kill()
        bridge.start()
        eventually(lambda: counted() == [sent, sent, 0], f"{sent} are counted")
        assert bridge.stop() == 0
        bridge.start()
        assert counted() == [sent, sent, 0]
        lines = bridge.command("ledger", "--minutes", "60", "--format", "csv").stdout.splitlines()
        assert lines[0] == "minute,rule,tenant,received,received_adjusted,kept,kept_adjusted,dropped_rule_zero,lost"
        assert sum(int(line.split(",")[3]) for line in lines[1:]) == sent
        assert bridge.stop() == 0
    finally:
        bridge.kill()


def test_a_minutes_file_that_cannot_be_used_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "minutes"
    path.write_bytes(b"no database" * 100)
    minutes = SamplingMinutes(path)
    assert minutes.places() is None
    minutes.add({LedgerKey(60, "r", "t"): LedgerRow(received=1)}, Places(1, 1))
    assert minutes.since(0) == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert path.read_bytes() == b"no database" * 100


def test_the_oldest_minutes_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weighbridge.sampling.minutes.MAX_ROWS", 10)
    minutes = SamplingMinutes(tmp_path / "minutes")
    for minute in range(30):
        minutes.add({LedgerKey(minute * 60, "r", tenant): LedgerRow(1, 1.5) for tenant in "ab"}, Places(minute, 0))
        minutes.add({LedgerKey(minute * 60, "r", "b"): LedgerRow(1, 1.5)}, Places(minute, 1))
    rows = minutes.since(0)
    assert [row["minute_unix_s"] // 60 for row in rows] == [m for m in range(30 - len(rows) // 2, 30) for _ in "ab"]
    assert 6 <= len(rows) <= 10
    assert [(row["tenant"], row["received"], row["received_adjusted"]) for row in rows[-2:]] == [
        ("a", 1, 1.5),
        ("b", 2, 3),
    ]
    assert SamplingMinutes(tmp_path / "minutes").places() == (29, 1)


def test_a_rate_of_0_and_one_of_100_are_counted_exactly_by_the_running_bridge(tmp_path: Path) -> None:
    rules = [{"name": "customers", "rate": 100, "when": [{"path": "user", "op": "eq", "value": "user-1"}]}]
    bridge = BridgeProcess(
        tmp_path,
        sampling={"rate": 0, "rules": rules},
        exporter={"sinks": [{"name": "hole", "type": "blackhole"}]},
    )
    bridge.start()
    try:
        _, body = spans_request(random.Random(3), 200)
        assert [bridge.post("/v1/traces", body)[0] for _ in range(2)] == [200, 200]

        def rows() -> list[dict[str, object]]:
            with urllib.request.urlopen(f"http://127.0.0.1:{bridge.admin}/sampling") as answer:
                found: list[dict[str, object]] = json.loads(answer.read())
            return found

        by_rule = {str(row["rule"]): row for row in eventually(rows, "the request is mapped")}
        kept = body.count(b"user-1")
        assert by_rule["customers"]["kept"] == by_rule["customers"]["received"] == kept > 0
        assert by_rule["default"]["dropped_rule_zero"] == by_rule["default"]["received"] == 200 - kept
        assert "customers" in bridge.command("ledger").stdout
        assert bridge.stop() == 0
    finally:
        bridge.kill()
