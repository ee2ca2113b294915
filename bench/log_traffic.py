"""Log requests of one kind each, 512 records, every id and number new: text, JSON lines, access logs, stack traces."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

RECORDS_PER_REQUEST = 512

_TEXTS = (
    "order {n} accepted for customer {m} in {k} ms",
    "retrying payment {n}: connection to 10.0.0.{k} timed out, attempt 2",
    "cache miss key=cart:{n} shard={k} token_bucket=orders",
    'rendered template "cart.html" for session {n} in {k} ms',
)
_FRAMES = (
    '  File "/srv/app/shop/views.py", line {k}, in handle\n    return self.dispatch(request, *args, **kwargs)\n',
    '  File "/srv/app/shop/payments.py", line {k}, in charge\n    raise PaymentError(code="declined", order={n})\n',
    '  File "/srv/lib/aiohttp/client.py", line {k}, in _request\n    class_name = type(self).__name__\n',
)


def _text(dice: random.Random) -> tuple[str, dict[str, str]]:
    text = dice.choice(_TEXTS).format(n=dice.randrange(10**6), m=dice.randrange(5000), k=dice.randrange(250))
    return text, {"code.function": "handle", "logger.name": "shop.orders", "thread.name": "worker-3"}


def _json(dice: random.Random) -> tuple[str, dict[str, str]]:
    body = {
        "level": "info",
        "message": f"order {dice.randrange(10**6)} accepted",
        "user": {"id": f"user-{dice.randrange(5000)}", "plan": "gold"},
        "amount": dice.randrange(10_000) / 100,
        "items": dice.randrange(9),
        "logger": "shop.orders",
    }
    return orjson.dumps(body).decode(), {"log.file.path": "/var/log/shop/app.log"}


def _access(dice: random.Random) -> tuple[str, dict[str, str]]:
    item = dice.randrange(100_000)
    body = {
        "time_iso8601": "2026-11-20T19:00:00+00:00",
        "remote_addr": f"203.0.113.{item % 250}",
        "request_method": "GET",
        "request_uri": f"/api/orders/{item}?page={item % 20}",
        "status": dice.choice((200, 200, 200, 404, 500)),
        "body_bytes_sent": dice.randrange(10_000),
        "request_time": dice.randrange(1000) / 1000,
        "http_host": "shop.example",
        "http_user_agent": f"shop-app/{item % 7}.2 (Android 14)",
        "user_id": f"user-{item % 5000}",
    }
    return orjson.dumps(body).decode(), {"log.file.path": "/var/log/nginx/access.log"}


def _traceback(dice: random.Random) -> tuple[str, dict[str, str]]:
    numbers = {"n": dice.randrange(10**6), "k": dice.randrange(250)}
    stack = "Traceback (most recent call last):\n" + "".join(frame.format(**numbers) for frame in _FRAMES * 6)
    return "Unhandled error in order " + str(numbers["n"]), {
        "exception.type": "PaymentError",
        "exception.message": f"order {numbers['n']}: card declined",
        "exception.stacktrace": stack,
    }


KINDS: Final[dict[str, Callable[[random.Random], tuple[str, dict[str, str]]]]] = {
    "text logs": _text,
    "JSON logs": _json,
    "access logs -> API calls": _access,
    "logs with stack traces": _traceback,
}


def request(kind: str, seed: int, now_unix_ns: int) -> bytes:
    """One ExportLogsServiceRequest, protobuf; every record belongs to a trace of its own."""
    dice = random.Random(f"{kind} {seed}")
    message = ExportLogsServiceRequest()
    group = message.resource_logs.add()
    group.resource.attributes.add(key="service.name", value=AnyValue(string_value="shop-api"))
    records = group.scope_logs.add().log_records
    make = KINDS[kind]
    for number in range(RECORDS_PER_REQUEST):
        body, attributes = make(dice)
        record = records.add(time_unix_nano=now_unix_ns - number, severity_number=9, severity_text="INFO")
        record.trace_id, record.span_id = dice.randbytes(16), dice.randbytes(8)
        record.body.string_value = body
        record.attributes.extend(KeyValue(key=key, value=AnyValue(string_value=v)) for key, v in attributes.items())
    return message.SerializeToString()
