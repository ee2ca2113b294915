"""The same faults for rotel and for the bridge as a forwarder, by the same producer: `python -m faults.compare`.

Both forward to one OTLP/HTTP endpoint that counts what arrives; nobody there removes duplicates. rotel has its own
defaults but for the port, OTLP over HTTP as its exporter, and where that sends to. R01 to R31 are the rows of
spec/reliability.md §4.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import yaml
from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.process import free_port
from faults import report
from faults.plan import Plan, Row, rows
from faults.producer import Log, Producer, read_log
from faults.proxy import NONE, Fault, Proxy

SETTLE_S = 60.0  # longer than any pause between retries of either
READY_S = 20.0


class Destination:
    """An OTLP/HTTP endpoint that remembers what arrived: by span id how often, and what it said first."""

    def __init__(self) -> None:
        self.arrived: Counter[str] = Counter()
        self.facts: dict[str, tuple[str, int, int, str]] = {}
        self.port = 0

    async def start(self) -> web.AppRunner:
        app = web.Application(client_max_size=1 << 28)
        app.router.add_post("/v1/{signal}", self._answer)
        runner = web.AppRunner(app, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        return runner

    async def _answer(self, asked: web.Request) -> web.Response:
        body = await asked.read()
        if asked.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if asked.path == "/v1/traces":
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                for span in (span for scope in group.scope_spans for span in scope.spans):
                    times = span.start_time_unix_nano, span.end_time_unix_nano
                    self._count(span.span_id, (span.trace_id.hex(), *times, span.name))
        elif asked.path == "/v1/logs":
            for logs in ExportLogsServiceRequest.FromString(body).resource_logs:
                for record in (record for scope in logs.scope_logs for record in scope.log_records):
                    times = record.time_unix_nano, record.time_unix_nano
                    self._count(record.span_id, (record.trace_id.hex(), *times, record.body.string_value))
        return web.Response(content_type="application/x-protobuf")

    def _count(self, span_id: bytes, facts: tuple[str, int, int, str]) -> None:
        self.arrived[span_id.hex()] += 1
        self.facts.setdefault(span_id.hex(), facts)


class Forwarder:
    """A program that takes OTLP/HTTP on `port` and forwards it."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self._command, self.port, self._log = command, port, log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdout=log, stderr=log)
        until = time.monotonic() + READY_S
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError as error:
                if time.monotonic() > until or self._process.returncode is not None:
                    raise RuntimeError(self._log.read_text()[-2000:]) from error
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return

    async def kill(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


def rotel(folder: Path, to: str) -> Forwarder:
    port = free_port()
    command = [_rotel_binary(), "start", "--otlp-http-endpoint", f"127.0.0.1:{port}"]
    command += ["--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}", "--exporter", "otlp"]
    command += ["--otlp-exporter-endpoint", to, "--otlp-exporter-protocol", "http"]
    return Forwarder(command, port, folder / "log")


def weighbridge(folder: Path, to: str) -> Forwarder:
    port = free_port()
    settings = {
        "receiver": {"endpoint": f"127.0.0.1:{port}"},
        "admin": {"endpoint": f"127.0.0.1:{free_port()}"},
        "spool": {"directory": str(folder / "spool")},
        "exporter": {"sinks": [{"name": "next", "type": "otlphttp", "endpoint": to}]},
    }
    config = folder / "weighbridge.yaml"
    config.write_text(yaml.safe_dump(settings))
    return Forwarder([sys.executable, "-m", "weighbridge", "serve", "--config", str(config)], port, folder / "log")


def _rotel_binary() -> str:
    import rotel as package

    return str(Path(package.__path__[0]) / "rotel-agent")


def versions() -> str:
    said = subprocess.run([_rotel_binary(), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return f"rotel {version('rotel')} from PyPI ({said})"


PROGRAMS = {"rotel": rotel, "weighbridge, forwarding": weighbridge}
FAULTS = {
    "killed": "R01 kill -9 at random times",
    "away": "R06 the destination refuses for 10 s",
    "lost-answers": "a third of the answers to senders is lost",
}


async def put(
    fault: str, program: Forwarder, intake: Proxy, outlet: Proxy, dice: random.Random, seconds: float
) -> None:
    """The fault; all is well again at the end."""
    until = time.monotonic() + seconds
    if fault == "killed":
        while time.monotonic() < until:
            await asyncio.sleep(dice.uniform(0.2, 3.0))
            await program.kill()
            await program.start()
    elif fault == "away":
        await asyncio.sleep(2.0)
        await outlet.set_fault(Fault(refuse=True))
        await asyncio.sleep(10.0)
        await outlet.set_fault(NONE)
        await asyncio.sleep(2.0)
    else:
        await intake.set_fault(Fault(close_after_commit=0.3))
        await asyncio.sleep(seconds)
        await intake.set_fault(NONE)


async def run(name: str, fault: str, folder: Path, options: argparse.Namespace) -> tuple[str, ...]:
    """A line of the report."""
    destination = Destination()
    runner = await destination.start()
    outlet = Proxy("127.0.0.1", destination.port, seed=options.seed)
    await outlet.start()
    program = PROGRAMS[name](folder, f"http://127.0.0.1:{outlet.port}")
    intake = Proxy("127.0.0.1", program.port, seed=options.seed)
    await intake.start()
    try:
        await program.start()
        plan = Plan(options.seed, time.time_ns(), json_percent=0)  # rotel forwards protobuf; so is what both get
        evidence = folder / "evidence"
        producer = Producer(f"http://127.0.0.1:{intake.port}", plan, evidence, records_per_s=options.records_per_s)
        sending = asyncio.create_task(producer.run(3600.0))
        try:
            await put(fault, program, intake, outlet, random.Random(options.seed), options.seconds)
        finally:
            producer.stop()
            sent = await sending
        counts = await settled(read_log(evidence), destination)
    finally:
        await program.kill()
        await intake.stop()
        await outlet.stop()
        await runner.cleanup()
    tries = f"{sent.tries}, {sent.unanswered} / {sum(sent.told_to_wait.values())} / {len(sent.refused)}"
    return (fault, name, f"{sent.records:,}", tries, *(f"{count:,}" for count in counts))


async def settled(log: Log, destination: Destination) -> tuple[int, int, int]:
    """Lost, arrived more than once, altered; when nothing is missing any more or the time is over."""
    expected = {row.span_id: row for number in log.acknowledged for row in rows(log.plan, number)}
    until = time.monotonic() + SETTLE_S
    while any(span_id not in destination.arrived for span_id in expected) and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.5)
    await asyncio.sleep(2.0)
    lost = sum(span_id not in destination.arrived for span_id in expected)
    twice = sum(count > 1 for count in destination.arrived.values())
    altered = sum(destination.facts.get(span_id, _facts(row)) != _facts(row) for span_id, row in expected.items())
    return lost, twice, altered


def _facts(row: Row) -> tuple[str, int, int, str]:
    said = row.body if row.event_type == "log" else f"{row.method} {row.endpoint}"
    return row.trace_id, row.start_unix_ns, row.end_unix_ns, said


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=10.0, help="of killed and lost-answers")
    arguments.add_argument("--records-per-s", type=float, default=3000.0)
    arguments.add_argument("--only", action="append", choices=FAULTS, help="may be given more than once")
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments.add_argument("--report", type=Path, help="Markdown file; default for all faults: docs/reliability.md")
    options = arguments.parse_args()
    environment = report.environment()
    lines = []
    for fault in options.only or FAULTS:
        for name in PROGRAMS:
            with tempfile.TemporaryDirectory(prefix="weighbridge-faults-") as folder:
                line = asyncio.run(run(name, fault, Path(folder), options))
            print(" | ".join(line), flush=True)
            lines.append((f"{fault}: {FAULTS[fault]}", *line[1:]))
    headings = (
        "fault", "program", "records acknowledged", "tries, of them unanswered / 503 / refused", "lost",
        "arrived more than once", "altered",
    )  # fmt: skip
    said = [
        *environment,
        "",
        f"Seed {options.seed}, {options.records_per_s:.0f} records/s, all protobuf. {versions()}: `rotel-agent start "
        "--exporter otlp --otlp-exporter-protocol http`, its defaults otherwise (retries from 5 s to 30 s, for 300 s). "
        "The bridge: a sink of type `otlphttp`, defaults otherwise. The destination removes no duplicates: what the "
        "bridge stores in ClickHouse is in the table of stories.",
        "",
        *report.table(headings, lines),
    ]
    file = options.report or (None if options.only else report.DOCUMENT)
    if file:
        report.write(file, "compared", said)


if __name__ == "__main__":
    main()
