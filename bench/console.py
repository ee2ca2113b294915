"""How long a page of the console takes on a large store, whole, as a browser gets it.

    python -m bench.console [--events 10000000] [--keep FOLDER]

Fills a store with calls, actions and logs of 14 days, five events a trace, starts the bridge on it and asks every page:
cold, the first time after the start, and warm, the median of three more. A folder that is kept is filled once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from bench.process import Program, free_port
from exporter.clickhouse.engine.endpoint import WRITER, Endpoint, password, read_published
from exporter.clickhouse.reader import connected

DAYS = 14
PAGES = {
    "Now": "/",
    "Events": "/events",
    "Events of a company": "/events?where=company%3Dcompany-7",
    "Events with a text": "/events?text=payment",
    "Trace, its time known": "/trace/{trace}?at={at}",
    "Trace, of any time": "/trace/{trace}",
    "Customers": "/customers",
    "Customer, a day": "/customer?company=company-7",
    "Endpoint": "/endpoint?endpoint=POST%20/v1/orders/3",
    "Bridge": "/bridge",
    "Now, a day": "/?since=24h",
    "Events, a day": "/events?since=24h",
    "Now, 7 days": "/?since=7d",
}
# One row in five each: the customer's call, an inner call below it, an action, two logs.
FILL = """
INSERT INTO api_events (event_type, event_time, received_at, event_id, source, trace_id, span_id, parent_span_id,
    start_unix_ns, end_unix_ns, company_id, user_id, service, environment, direction, hop, method, endpoint, uri,
    status_code, error_type, duration_ms, name, action, family, severity, severity_number, body, user_agent, metadata,
    weight, adjusted_count, sampling_p)
WITH intDiv(number, 5) AS t, number % 5 AS k, cityHash64(t) AS dice,
     toDateTime64({end:UInt32} - (1 - t / {traces:UInt64}) * {seconds:UInt32}, 6, 'UTC') AS at,
     toUInt32(floor(pow((dice % 1000000) / 1000000, 3) * 400)) AS who, dice % 97 < 3 AS bad,
     lower(hex(sipHash128(t))) AS trace
SELECT multiIf(k < 2, 'api_call', k = 2, 'action', 'log'), at + INTERVAL k MILLISECOND, at + INTERVAL 1 SECOND,
    toString(generateUUIDv4(number)), if(k < 3, 'span', 'log'), trace, lower(hex(cityHash64(t, least(k, 2)))),
    if(k = 0, '', lower(hex(cityHash64(t, 0)))), toUnixTimestamp64Nano(toDateTime64(at, 9)), 0,
    if(k < 3, concat('company-', toString(who)), ''), if(k < 3, concat('user-', toString(dice % 20000)), ''),
    if(k IN (1, 4), 'payments', 'storefront'), 'production', multiIf(k < 2, 'incoming', k = 2, 'internal', ''),
    multiIf(k = 0, 'entry', k = 1, 'open', ''), if(k < 2, 'POST', ''),
    multiIf(k = 0, concat('/v1/orders/', toString(dice % 40)), k = 1, '/v1/charges', ''),
    if(k < 2, concat('http://shop.example/v1/orders/', toString(number)), ''),
    if(k < 2, if(bad AND (k = 0 OR dice % 2), 500, 200), 0), if(bad AND k = 0, 'server', ''),
    if(k < 3, 5 + (dice % 100000) / 300, NULL), if(k < 3, 'POST /v1/orders', ''), if(k = 2, 'SELECT orders', ''),
    if(k = 2, 'db', 'http'), multiIf(k < 3, '', bad, 'ERROR', 'INFO'), multiIf(k < 3, 0, bad, 17, 9),
    if(k > 2, concat('{"message": "', if(bad, 'payment failed', 'order placed'), '", "order": ', toString(number), '}'),
       ''),
    if(k < 2, concat('client/', toString(dice % 30)), ''),
    if(k = 0 AND bad, '{"error": {"message": "no answer"}}', '{}'),
    4, 4, 0.25
FROM numbers({first:UInt64}, {count:UInt64})
"""
STEP = 1_000_000  # events of one insert


def fill(data: Path, events: int) -> None:
    """Write the events through the running engine."""
    found = read_published(data)
    assert found is not None, "the engine does not run"
    client = connected(
        Endpoint("127.0.0.1", found.port, WRITER, password(data, WRITER), "analytics"), database="analytics"
    )
    given = {"end": int(time.time()), "seconds": DAYS * 86_400, "traces": events // 5}
    for first in range(0, events, STEP):
        client.command(FILL, parameters={**given, "first": first, "count": min(STEP, events - first)})
        print(f"  {first + STEP:,} events", file=sys.stderr)
    client.close()


def ask(base: str, token: str, path: str) -> tuple[float, int]:
    """Seconds until the whole page is here, and its bytes."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/html"}
    began = time.monotonic()
    with urllib.request.urlopen(urllib.request.Request(base + path, headers=headers), timeout=120) as answer:
        size = len(answer.read())
    return time.monotonic() - began, size


def serve(folder: Path, receiver: int, admin: int) -> Program:
    config = folder / "weighbridge.yaml"
    config.write_text(
        f"receiver: {{endpoint: '127.0.0.1:{receiver}'}}\nadmin: {{endpoint: '127.0.0.1:{admin}'}}\n"
        f"spool: {{directory: '{folder}/spool'}}\n"
        f"exporter: {{sinks: [{{name: store, type: clickhouse, dsn: 'chdb://{folder}/store'}}]}}\n"
    )
    return Program([sys.executable, "-m", "weighbridge", "serve", "--config", str(config)], folder / "bridge.log")


def measure(folder: Path, events: int) -> None:
    receiver, admin = free_port(), free_port()
    base = f"http://127.0.0.1:{admin}"
    filled = folder / "filled"
    if not filled.exists():
        with serve(folder, receiver, admin) as bridge:
            bridge.wait_until(lambda: read_published(folder / "store") is not None, "the engine")
            time.sleep(2)  # the table is made after that
            fill(folder / "store", events)
            filled.touch()
    with serve(folder, receiver, admin) as bridge:
        bridge.wait_until(lambda: read_published(folder / "store") is not None, "the engine")
        time.sleep(2)
        token = (folder / "spool" / "console.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{base}/events.json?since=30d&where=status%3D500&limit=1", headers=headers)

        with urllib.request.urlopen(request, timeout=120) as answer:
            (one,) = json.load(answer)["events"]
        print("| page | cold, s | warm, s | KiB |\n|---|---|---|---|")
        for name, path in PAGES.items():
            where = path.format(trace=one["trace_id"], at=urllib.parse.quote(one["at"]))
            try:
                cold, size = ask(base, token, where)
            except urllib.error.HTTPError as error:  # 504: the limit of a question, which the page names
                print(f"| {name} | {error.code} | | |", flush=True)
                continue
            warm = statistics.median(ask(base, token, where)[0] for _ in range(3))
            print(f"| {name} | {cold:.2f} | {warm:.2f} | {size / 1024:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds a page of the console takes on a large store.")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--keep", type=Path, help="folder of the store; filled where it is new")
    arguments = parser.parse_args()
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        measure(arguments.keep.absolute(), arguments.events)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), arguments.events)


if __name__ == "__main__":
    main()
