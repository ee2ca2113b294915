"""Stories of destinations that answer, and not what is wished: by HTTP, where the proxies know of bytes only."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from email.utils import formatdate

import orjson
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from faults.gate import Decide, Gate, Reply, nothing_wrong
from faults.plan import rows
from faults.producer import Log
from faults.proxy import NONE, Fault
from faults.system import System

Story = Callable[[System, random.Random, float], Awaitable[None]]
INSERT = b"INSERT INTO"
WAIT_S = 2  # what a Retry-After asks for
LARGEST_INSERT = 64 << 10  # bytes
BEGINNING = 300  # bytes of a body in which the statement is
_TWO_SPAN_IDS = re.compile(rb"\x10([0-9a-f]{16})\x10[0-9a-f]{16}")  # in ClickHouse's Native format, uncompressed


def inserts(reply: Callable[[bytes], Reply | None]) -> Decide:
    """Only of inserts; reply is given the body."""
    return lambda body: reply(body) if INSERT in body[:BEGINNING] else None


def while_the_gate(make: Callable[[System, random.Random], Decide]) -> Story:
    """Wrong answers to inserts from a sixth of the time to five sixths."""

    async def story(system: System, dice: random.Random, seconds: float) -> None:
        await asyncio.sleep(seconds / 6)
        system.gate.decide = make(system, dice)
        await asyncio.sleep(seconds * 4 / 6)
        assert await system.ready(), "a store that refuses must not make the bridge refuse"
        assert system.gate.refused_at, "nothing was refused"
        system.gate.decide = nothing_wrong
        await asyncio.sleep(seconds / 6)

    return story


def half_of_them_5xx(system: System, dice: random.Random) -> Decide:
    """Half of these, again, when the rows are already stored."""

    def reply(body: bytes) -> Reply | None:
        if dice.random() < 0.5:
            return None
        return Reply(dice.choice((500, 502, 503, 504)), body=b"<html>no</html>", after_work=dice.random() < 0.5)

    return inserts(reply)


def not_its_own_200(system: System, dice: random.Random) -> Decide:
    pages = (
        Reply(200, {"Content-Type": "text/html"}, b"<html>please log in</html>"),
        Reply(200, body=b"Code: 241. DB::Exception: Memory limit (total) exceeded. (MEMORY_LIMIT_EXCEEDED)"),
        Reply(200, {"X-ClickHouse-Exception-Code": "252"}, b"Code: 252. DB::Exception: Too many parts."),
        Reply(204),
        Reply(200, after_work=True),
    )
    return inserts(lambda body: dice.choice(pages) if dice.random() < 0.5 else None)


def only_small_ones(system: System, dice: random.Random) -> Decide:
    return inserts(lambda body: Reply(413) if len(body) > LARGEST_INSERT else None)


async def one_row_refused(system: System, dice: random.Random, seconds: float) -> None:
    """The first row of the first insert that comes, as by a store that cannot parse it."""
    await asyncio.sleep(seconds / 6)

    def reply(body: bytes) -> Reply | None:
        if not system.refused_for_good and (found := _TWO_SPAN_IDS.search(body)):
            system.refused_for_good.add(found[1].decode())
        if any(span_id.encode() in body for span_id in system.refused_for_good):
            return Reply(400, {"X-ClickHouse-Exception-Code": "27"}, b"Code: 27. DB::Exception: Cannot parse input.")
        return None

    system.gate.decide = inserts(reply)
    await asyncio.sleep(seconds * 5 / 6)
    assert system.refused_for_good, "no row was refused"
    assert len(system.gate.refused_at) <= 15, f"{len(system.gate.refused_at)} tries to find one row"


async def no_entry(system: System, dice: random.Random, seconds: float) -> None:
    await asyncio.sleep(seconds / 6)
    system.gate.decide = lambda body: Reply(dice.choice((401, 402, 403)))
    await asyncio.sleep(seconds * 4 / 6)
    assert await system.metric("weighbridge_sink_unauthorised") == 1, "no alarm"
    tries = len(system.gate.refused_at)
    assert 0 < tries <= 3 + 2 * seconds, f"{tries} tries within {seconds * 4 / 6:.0f} s"
    assert await system.ready(), "a store that refuses must not make the bridge refuse"
    system.gate.decide = nothing_wrong
    await asyncio.sleep(seconds / 6)


async def told_to_wait(system: System, dice: random.Random, seconds: float) -> None:
    """Moesif says 429 with all kinds of Retry-After; the others are not held up."""
    asked: list[float] = []  # when it may be tried again; monotonic

    def reply(body: bytes) -> Reply:
        form = dice.randrange(3)
        asked.append(time.monotonic() + (WAIT_S if form == 0 else 0))
        text = (str(WAIT_S), formatdate(time.time() + WAIT_S, usegmt=True), "soon")[form]
        return Reply(429, {"Retry-After": text})

    system.moesif.decide = reply
    await asyncio.sleep(seconds * 5 / 6)
    tries = system.moesif.refused_at
    assert tries, "nothing was sent to Moesif"
    assert len(tries) <= 3 + seconds, f"{len(tries)} tries within {seconds * 5 / 6:.0f} s"
    early = [later for due, later in zip(asked, tries[1:], strict=False) if later < due - 0.05]
    assert not early, f"{len(early)} tries before the time that Retry-After names"
    assert await system.store.count(), "the store waits for Moesif"
    system.moesif.decide = nothing_wrong
    await asyncio.sleep(seconds / 6)


async def one_of_four_is_away(system: System, dice: random.Random, seconds: float) -> None:
    """The endpoint of the copies refuses, the file and the store go on; then the store is away too, for a while."""
    system.copy.decide = lambda body: Reply(503)
    await asyncio.sleep(seconds / 3)
    stored, written = await system.store.count(), system.lines.stat().st_size
    await asyncio.sleep(seconds / 3)
    assert await system.store.count() > stored, "the store is held up"
    assert system.lines.stat().st_size > written, "the file is held up"
    await system.to_store.set_fault(Fault(refuse=True))
    written = system.lines.stat().st_size
    await asyncio.sleep(seconds / 6)
    assert system.lines.stat().st_size > written, "the file is held up by two that are away"
    await system.to_store.set_fault(NONE)
    system.copy.decide = nothing_wrong
    await asyncio.sleep(seconds / 6)


# -- what the other destinations hold ----------------------------------------------------------------------------


def wrong_elsewhere(system: System, log: Log) -> list[str]:
    """What is missing, invented or, in the file, twice."""
    sent = {row.span_id for number in log.sent for row in rows(log.plan, number)}
    wanted = [row for number in log.acknowledged for row in rows(log.plan, number)]
    everything = {row.span_id for row in wanted}
    calls = {row.span_id for row in wanted if row.event_type == "api_call"}
    problems = []
    for name, found, must in (
        ("the file", Counter(_in_lines(system)), everything),
        ("Moesif", Counter(_in_moesif(system.moesif)), calls),
        ("the copy", Counter(_in_copies(system.copy)), everything),
    ):
        missing, invented = len(must - found.keys()), len(found.keys() - sent)
        twice = sum(count > 1 for count in found.values()) if name == "the file" else 0
        if missing or invented or twice:
            problems.append(f"{name}: {missing} missing, {invented} invented, {twice} twice")
    return problems


def _in_lines(system: System) -> Iterator[str]:
    for line in system.lines.read_bytes().splitlines():
        yield orjson.loads(line)["span"]["id"]


def _in_moesif(gate: Gate) -> Iterator[str]:
    for _, body in gate.taken:
        yield from (row["span"]["id"] for row in orjson.loads(body))


def _in_copies(gate: Gate) -> Iterator[str]:
    """Requests as they were sent: JSON or protobuf, spans or logs."""
    for path, body in gate.taken:
        is_logs = path == "/v1/logs"
        message: Message = ExportLogsServiceRequest() if is_logs else ExportTraceServiceRequest()
        if body.startswith(b"{"):
            found = orjson.loads(body)
            names = ("resourceLogs", "scopeLogs", "logRecords") if is_logs else ("resourceSpans", "scopeSpans", "spans")
            for group in found[names[0]]:
                yield from (record["spanId"] for scope in group[names[1]] for record in scope[names[2]])
            continue
        message.ParseFromString(body)
        names = (
            ("resource_logs", "scope_logs", "log_records") if is_logs else ("resource_spans", "scope_spans", "spans")
        )
        for group in getattr(message, names[0]):
            yield from (
                record.span_id.hex() for scope in getattr(group, names[1]) for record in getattr(scope, names[2])
            )
