"""CPU time per row of the store's sink, in this process and in the engine, at batches of 10,000 rows.

    python -m bench.store [--rows 10000] [--batches 6]

Events are built directly: two thirds API calls with headers, a quarter logs, some actions; ids, times and addresses
differ in every row, everything else repeats as it does in real traffic.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from exporter.clickhouse.rows import insert
from exporter.sink import Batch
from exporter.sinks.clickhouse import Settings, create
from mapping.event import ACTION, API_CALL, EMPTY_HEADERS, LOG, UNSAMPLED, Decision, Event

SAMPLED = Decision(True, 10, 9.99939, "e666", "incoming", 0.100006, "trace_id", "none", "", "", "", "kept")


class Traffic:
    """Events of one day, repeatable."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.resources = [
            json.dumps(
                {
                    "resource": {
                        "service.name": f"shop-{number}", "service.version": "1.4.2", "host.name": f"node-{number}",
                        "k8s.pod.name": f"shop-{number}-5d9c7b7f6-x2x{number}", "telemetry.sdk.language": "python",
                        "deployment.environment.name": "production", "cloud.region": "eu-central-1",
                    },
                    "scope": {"name": "opentelemetry.instrumentation.asgi", "version": "0.66b2"},
                }
            )
            for number in range(8)
        ]  # fmt: skip
        self.agents = [f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/{90 + n}.0" for n in range(40)]
        self.routes = [
            f"/v1/{noun}/{{id}}" for noun in ("orders", "items", "carts", "users", "bills") for _ in range(12)
        ]

    def event(self, number: int, start_ns: int) -> Event:
        dice = self.dice
        call, log = number % 12 < 8, number % 12 >= 9
        resource = number // 64 % 8  # spans of one group come together
        started = start_ns + number * 1_000_000
        took_ms = dice.expovariate(1 / 80)
        headers = {
            "Host": "api.shop.example", "Accept": "application/json", "X-Request-Id": dice.randbytes(8).hex(),
            "User-Agent": self.agents[number % 40],
        }  # fmt: skip
        return Event(
            event_type=API_CALL if call else LOG if log else ACTION,
            transaction_id=str(uuid.UUID(bytes=dice.randbytes(16))),
            source="log" if log else "span",
            tenant="",
            trace_id=dice.randbytes(16).hex(),
            span_id=dice.randbytes(8).hex(),
            parent_id="" if number % 3 else dice.randbytes(8).hex(),
            start_unix_ns=started,
            end_unix_ns=started if log else started + int(took_ms * 1e6),
            duration_ms=-1.0 if log else took_ms,
            received_unix_ns=started // 10**9 * 10**9 + 2 * 10**9,
            user_id=f"user-{dice.randrange(20_000)}",
            company_id=f"company-{dice.randrange(400)}",
            session_token="" if number % 3 else dice.randbytes(12).hex(),
            subscription_id="",
            application_id="",
            client_id="",
            plan_id=dice.choice(("free", "pro", "enterprise")),
            service=f"shop-{resource}",
            environment="production",
            region="eu-central-1",
            resource=self.resources[resource],
            direction="Incoming" if call else "" if log else "Internal",
            hop="",
            verb=dice.choice(("GET", "GET", "POST")) if call else "",
            uri=f"https://api.shop.example/v1/orders/{dice.randrange(10**6)}?page={number % 9}" if call else "",
            route=dice.choice(self.routes) if call else "",
            status=dice.choice((200, 200, 200, 201, 404, 500)) if call else 0,
            api_version="v1" if call else "",
            user_agent=self.agents[number % 40] if call else "",
            ip_address=f"10.{number % 200}.{dice.randrange(255)}.{dice.randrange(255)}" if call else "",
            response_ip_address="",
            request_headers=headers if call else EMPTY_HEADERS,
            response_headers={"Content-Type": "application/json"} if call else EMPTY_HEADERS,
            request_body=json.dumps({"sku": dice.randrange(9999), "quantity": 1}) if call and number % 4 == 0 else "",
            request_body_encoding="json" if call and number % 4 == 0 else "",
            response_body="",
            response_body_encoding="",
            request_id=dice.randbytes(8).hex() if call else "",
            name="" if log else "GET /v1/orders/{id}" if call else "SELECT shop.orders",
            span_status=0,
            links="",
            error_type="",
            action_name="" if call or log else "SELECT shop.orders",
            family="" if call or log else "db",
            severity_number=9 if log else 0,
            severity_text="INFO" if log else "",
            event_name="",
            body=json.dumps({"message": f"order {number} stored", "logger": "shop.orders"}) if log else "",
            body_encoding="json" if log else "",
            metadata=json.dumps(
                {"server.port": 8080, "thread.id": dice.randrange(20), "code.function": "handle", "deployment": "blue"}
            ),
            flags=() if number % 50 else ("late",),
            decision=SAMPLED if number % 3 else UNSAMPLED,
            reason="",
        )

    def batch(self, rows: int, start_ns: int) -> list[Event]:
        return [self.event(number, start_ns) for number in range(rows)]


def engine_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def encode_us(events: Sequence[Event]) -> tuple[float, float]:
    """µs per row to make the body of an insert, and its bytes per row."""
    started = time.process_time()
    size = sum(map(len, insert(events, 1, 90).blocks))
    return (time.process_time() - started) / len(events) * 1e6, size / len(events)


async def measure(rows: int, batches: int) -> None:
    traffic = Traffic(1)
    today = time.time_ns() // 86_400_000_000_000 * 86_400_000_000_000
    events = [traffic.batch(rows, today + number * rows * 1_000_000) for number in range(batches + 1)]
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as the bridge runs
    with tempfile.TemporaryDirectory() as folder:
        sink = create(Settings(name="store", dsn=f"chdb://{folder}/store"))
        await sink.open()
        await sink.write(Batch(0, events[0]), in_doubt=False)
        engine = sink._engine
        assert engine is not None
        assert engine.pid is not None
        before, engine_before, started = time.process_time(), engine_cpu_s(engine.pid), time.monotonic()
        for number, batch in enumerate(events[1:], 1):
            await sink.write(Batch(number, batch), in_doubt=False)
        total = rows * batches
        took = time.monotonic() - started
        print(f"this process   {(time.process_time() - before) / total * 1e6:6.2f} us/row")
        print(f"engine         {(engine_cpu_s(engine.pid) - engine_before) / total * 1e6:6.2f} us/row (fsync, merges)")
        print(f"rows per s     {total / took:6.0f} (wall time, both together)")
        encoding = [encode_us(batch) for _ in range(3) for batch in events]
        cost, size = sorted(encoding)[len(encoding) // 2]
        print(f"of it encoding {cost:6.2f} us/row; {size:.0f} bytes/row")
        await sink.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--batches", type=int, default=6)
    arguments = parser.parse_args()
    asyncio.run(measure(arguments.rows, arguments.batches))
