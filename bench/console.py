"""How long a page of the console takes on a large store: until it is shown, and until all of it is there.

    python -m bench.console [--events 10000000] [--keep FOLDER]

Fills a store with calls, actions and logs of 14 days, five events a trace, and with their counts by minute; starts the
bridge on it and asks every page three times: the longest time until it is shown is told, and the median until it is
whole. A browser asks for parts that are not counted yet after it has shown the page; so it is done here. A folder that
is kept is filled once.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from html import unescape
from pathlib import Path
from typing import NamedTuple

from bench.process import Program, free_port
from exporter.clickhouse.durations import GAMMA
from exporter.clickhouse.engine.endpoint import WRITER, Endpoint, password, read_published
from exporter.clickhouse.reader import connected

DAYS = 14
TIMES = 3  # each page is asked for
ENDPOINT, COMPANY = "endpoint=POST%20/v1/orders/3", "company=company-7"
PAGES = {
    "Now": "/?{hour}",
    "Events": "/events?{hour}",
    "Events of a company": "/events?where=company%3Dcompany-7&{hour}",
    "Events with a text": "/events?text=payment&{hour}",
    "Trace, its time known": "/trace/{trace}?at={at}",
    "Trace, of any time": "/trace/{trace}",
    "Customers": "/customers?{hour}",
    "Customer": f"/customer?{COMPANY}&{{hour}}",
    "Endpoints": "/endpoints?{hour}",
    "Endpoint": f"/endpoint?{ENDPOINT}&{{hour}}",
    "Bridge": "/bridge",
    "Now, a day": "/?{day}",
    "Events, a day": "/events?{day}",
    "Customers, a day": "/customers?{day}",
    "Customer, a day": f"/customer?{COMPANY}&{{day}}",
    "Endpoint, a day": f"/endpoint?{ENDPOINT}&{{day}}",
    "Now, 7 days": "/?{week}",
    "Events, 7 days": "/events?{week}",
    "Customers, 7 days": "/customers?{week}",
    "Endpoints, 7 days": "/endpoints?{week}",
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
# As the sink counts them: what was dropped beside what was kept, by minute and name, durations in buckets.
COUNT = """
INSERT INTO api_minutes (minute, company_id, service, method, endpoint, status_code, error_type, direction, hop,
    environment, records, kept, calls, duration_sum_ms, durations)
SELECT toStartOfMinute(event_time) AS minute, company_id, service, method, endpoint, status_code, error_type, direction,
    hop, environment, toUInt64(sum(adjusted_count)), count(), sum(adjusted_count), sum(adjusted_count * duration_ms),
    sumMap(map(toInt16(ceil(log(assumeNotNull(duration_ms)) / log({gamma:Float64}))), adjusted_count))
FROM api_events WHERE event_type = 'api_call' AND toDate(event_time) = {day:Date}
GROUP BY minute, company_id, service, method, endpoint, status_code, error_type, direction, hop, environment
"""
STEP = 1_000_000  # events of one insert


def fill(data: Path, events: int) -> int:
    """Write the events through the running engine. When the newest of them is, in seconds of the Unix time."""
    found = read_published(data)
    assert found is not None, "the engine does not run"
    client = connected(
        Endpoint("127.0.0.1", found.port, WRITER, password(data, WRITER), "analytics"), database="analytics"
    )
    end = int(time.time())
    given = {"end": end, "seconds": DAYS * 86_400, "traces": events // 5}
    for first in range(0, events, STEP):
        client.command(FILL, parameters={**given, "first": first, "count": min(STEP, events - first)})
        print(f"  {first + STEP:,} events", file=sys.stderr)
    days = client.query("SELECT DISTINCT toDate(event_time) FROM api_events ORDER BY 1").result_rows
    for (day,) in days:
        client.command(COUNT, parameters={"gamma": GAMMA, "day": str(day)})
    client.close()
    return end


class Took(NamedTuple):
    """Seconds until the page is here, and until all of its parts are; its bytes; parts that met a limit."""

    shown_s: float
    whole_s: float
    size: int
    limited: int


def ask(base: str, token: str, path: str) -> Took:
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/html"}
    began, shown_s, text = time.monotonic(), 0.0, ""
    later: str | None = path
    while later:
        try:
            with urllib.request.urlopen(urllib.request.Request(base + later, headers=headers), timeout=120) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:  # 504: all of its parts met a limit, which the page names
            if error.code != 504:
                raise
            text = 'role="status">This '
        shown_s = shown_s or time.monotonic() - began
        found = re.search(r'data-later="([^"]+)"', text)
        later = unescape(found[1]) if found else None
    return Took(shown_s, time.monotonic() - began, len(text), text.count('role="status">This '))


def moment(unix_s: float) -> str:
    return f"{int(unix_s)}000000us"


def answers(base: str) -> bool:
    try:
        with urllib.request.urlopen(f"{base}/healthz", timeout=10) as answer:
            return int(answer.status) == 200
    except OSError:
        return False


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
            filled.write_text(str(fill(folder / "store", events)))
    with serve(folder, receiver, admin) as bridge:
        bridge.wait_until(lambda: read_published(folder / "store") is not None, "the engine")
        bridge.wait_until(lambda: answers(base), "the console")
        token = (folder / "spool" / "console.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{base}/events.json?since=30d&where=status%3D500&limit=1", headers=headers)

        with urllib.request.urlopen(request, timeout=120) as answer:
            (one,) = json.load(answer)["events"]
        end = int(filled.read_text())  # a store that is kept has nothing of today
        ages = {"hour": 3600, "day": 86_400, "week": 7 * 86_400}
        times = {name: f"since={moment(end - age)}&until={moment(end)}" for name, age in ages.items()}
        print("| page | shown, s | whole, s | KiB |\n|---|---|---|---|")
        for name, path in PAGES.items():
            where = path.format(trace=one["trace_id"], at=urllib.parse.quote(one["at"]), **times)
            found = [ask(base, token, where) for _ in range(TIMES)]
            shown_s, whole_s = max(one.shown_s for one in found), statistics.median(one.whole_s for one in found)
            limited = max(one.limited for one in found)
            said = f" ({limited} parts met a limit)" if limited else ""
            print(f"| {name} | {shown_s:.2f} | {whole_s:.2f}{said} | {found[-1].size / 1024:.0f} |", flush=True)


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
