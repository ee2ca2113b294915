"""CPU per span of deciding, by kind of decision: `python -m bench.sampling`.

The same trace ids through samplers with different settings; CPU time of this process, the best of the rounds.
The last column compares with the plain case, a rate without conditions, because absolute times belong to a
machine.

Then the whole way of a span through decoding and mapping (bench.mapping's spans of 16 attributes): decoding
comes before the answer to the sender, so sampling cannot save it; a rate without conditions saves the mapping.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.mapping import Bench, traffic
from mapping.sampling.randomness import record_bytes
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings

CALL: Mapping[str, object] = {
    "service": "shop",
    "status": 200,
    "duration_ms": 12.5,
    "url.path": "/items/4711",
    "company": "globex",
    "time_unix_nano": 1_795_200_000_000_000_000,
}
FIVE_RULES = [
    {"name": "health", "when": [{"path": "url.path", "op": "regex", "value": "^/health"}], "rate": 0},
    {"name": "errors", "when": [{"path": "status", "op": "gte", "value": 500}], "rate": 100},
    {"name": "slow", "when": [{"path": "duration_ms", "op": "gte", "value": 2000}], "rate": 100},
    {"name": "acme", "when": [{"path": "company", "op": "eq", "value": "acme"}], "rate": 50},
    {"name": "base", "rate": 10},
]
CASES: list[tuple[str, dict[str, Any], str, str]] = [  # what, settings, tracestate, signal
    ("one rate, 10 %", {"rate": 10}, "", "span"),
    ("everything kept", {}, "", "span"),
    ("randomness pinned to the trace id", {"rate": 10, "randomness": "trace_id"}, "", "span"),
    ("upstream th, believable", {"rate": 10}, "ot=th:c", "sampled span"),
    ("upstream th, stale", {"rate": 10}, "ot=th:c", "stale span"),
    ("upstream rv, each another", {"rate": 10}, "ot=th:0;rv:{}", "span"),
    ("randomness hashed", {"rate": 10, "randomness": "hash"}, "", "span"),
    ("five rules, one a pattern", {"rules": FIVE_RULES}, "", "span"),
    ("budget", {"budget": {"events_per_second": 1000}}, "", "span"),
    ("log with a trace", {"rate": 10}, "", "log"),
    ("log without a trace", {"rate": 10}, "", "bare log"),
]


def facts(path: str) -> object:
    return CALL.get(path)


def record() -> bytes:
    return record_bytes(
        attributes={"http.route": "/login", "n": 3},
        body="user logged in",
        scope="auth.web",
        time_unix_nano=1_795_200_000_000_000_000,
        service_name="auth",
        severity_number=9,
    )


def one_pass(sampler: Sampler, ids: list[bytes], state: str, signal: str) -> Callable[[], float]:
    """A function that decides for all ids once and returns CPU seconds for each."""
    span, log = sampler.span, sampler.log
    if signal == "sampled span":
        ids = [i for i in ids if i[9] >= 0xC0]
    elif signal == "stale span":
        ids = [i for i in ids if i[9] < 0xC0]
    states = [state.format(i[2:9].hex()) for i in ids]

    def spans() -> None:
        for trace_id, text in zip(ids, states, strict=True):
            span(trace_id, text, facts)

    def logs() -> None:
        for trace_id in ids:
            log(trace_id, None, None, record, facts)

    def bare_logs() -> None:
        for _ in ids:
            log(b"", None, None, record, facts)

    run = {"log": logs, "bare log": bare_logs}.get(signal, spans)

    def timed() -> float:
        began = time.process_time()
        run()
        return (time.process_time() - began) / len(ids)

    return timed


WAYS: list[tuple[str, dict[str, Any]]] = [
    ("everything kept", {}),
    ("one in ten million, count: kept", {"rate": "0.00001", "count": "kept"}),
    ("one in ten million, count: all", {"rate": "0.00001"}),
    ("the same, randomness hashed", {"rate": "0.00001", "randomness": "hash"}),
    ("the same, and a rule for errors", {"rate": "0.00001", "rules": FIVE_RULES[1:2]}),
]


def whole_way(settings: dict[str, Any], rounds: int) -> tuple[float, float]:
    """CPU seconds per span of decoding and of mapping, sampling included."""
    bench = Bench(SamplingSettings.model_validate(settings))
    bench.round(traffic(4, 0))
    best = min((bench.round(traffic(12, 1000 * (n + 1))) for n in range(rounds)), key=lambda found: found[2])
    _, decoding, mapping, records = best
    return decoding / records, mapping / records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    rng = random.Random(1)
    ids = [rng.randbytes(16) for _ in range(wanted.traces)]
    table = Table("decision", "µs", "× plain")
    plain = 0.0
    for what, settings, state, signal in CASES:
        sampler = Sampler(SamplingSettings.model_validate(settings))
        sampler.tick(1_795_200_000_000_000_000)
        decide_all = one_pass(sampler, ids, state, signal)
        seconds = min(decide_all() for _ in range(wanted.rounds))
        plain = plain or seconds
        table.add_row(what, f"{seconds * 1e6:.2f}", f"{seconds / plain:.1f}")
    Console().print(table)
    gc.set_threshold(50_000, 20, 50)
    ways = Table("whole way of a span", "decode µs", "map µs")
    for what, settings in WAYS:
        ways.add_row(what, *(f"{seconds * 1e6:.2f}" for seconds in whole_way(settings, wanted.rounds)))
    Console().print(ways)


if __name__ == "__main__":
    main()
