"""A browser without a browser: asks the console of a running bridge with a token or a session."""

from __future__ import annotations

import http.client
import json
import re
import time
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

from bridge import BridgeProcess
from mapping_requests import log, logs, span, traces

ACME_TOKEN = "token-of-acme-0123456789"
SHOP_TOKEN = "token-of-tenant-0123456789"
READ_TOKEN = "token-to-read-0123456789"
TOKENS = [
    {"name": "acme", "token": ACME_TOKEN, "company": "acme"},
    {"name": "shop", "token": SHOP_TOKEN, "tenant": "shop"},
    {"name": "reader", "token": READ_TOKEN},
]
# What nobody may obey, and nobody may miss.
HOSTILE = "<script>alert(1)</script>\"'&\u202e\u200b\x1b[31m</title><img src=x onerror=alert(2)>{{7*7}}"


class Said(NamedTuple):
    status: int
    text: str
    headers: dict[str, str]

    def json(self) -> Any:
        return json.loads(self.text)


class ConsoleClient:
    def __init__(self, port: int, token: str = "") -> None:
        self.port = port
        self.token = token

    def get(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Said:
        """Header names with `_` for `-`. No redirect is followed."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token and "Authorization" not in sent and "Cookie" not in sent:
            sent["Authorization"] = f"Bearer {self.token}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            text = answer.read().decode()
            return Said(answer.status, text, {name.lower(): value for name, value in answer.getheaders()})
        finally:
            connection.close()

    def page(self, path: str) -> str:
        """The HTML of a page that is there, with all of its parts."""
        said = self.whole(path)
        assert said.status == 200, said.text
        assert said.headers["content-type"].startswith("text/html")
        return said.text

    def whole(self, path: str) -> Said:
        """What a page says when nothing of it is still being counted."""
        said = self.get(path, Accept="text/html")
        while said.status == 200 and (later := re.search(r'data-later="([^"]+)"', said.text)):
            said = self.get(unescape(later[1]), Accept="text/html")
        return said


def own_token(bridge: BridgeProcess) -> str:
    return Path(bridge.directory, "spool", "console.token").read_text().strip()


def call(trace_id: bytes, span_id: bytes, *, company: str, user: str = "4711", status: int = 200, **more: Any) -> Any:
    """A server span of a customer's call, a moment ago."""
    now = time.time_ns() - 2_000_000_000
    attributes = {
        "http.request.method": "POST",
        "http.route": "/v1/orders",
        "url.path": "/v1/orders",
        "url.scheme": "http",
        "server.address": "shop.example",
        "http.response.status_code": status,
        "user.id": user,
        "company.id": company,
        **more,
    }
    begin, end = {"start_time_unix_nano": now}, {"end_time_unix_nano": now + 40_000_000}
    return span(attributes, name="POST /v1/orders", trace_id=trace_id, span_id=span_id, **begin, **end)


def sent(bridge: BridgeProcess, spans: list[Any], records: list[Any] | None = None, **headers: str) -> None:
    """Spans and log records of a service, acknowledged."""
    resource = {"service.name": "storefront"}
    assert bridge.post("/v1/traces", traces(*spans, resource=resource).SerializeToString(), **headers)[0] == 200
    if records:
        assert bridge.post("/v1/logs", logs(*records, resource=resource).SerializeToString(), **headers)[0] == 200


def line(
    trace_id: bytes, span_id: bytes, body: Any, severity: int = 17, attributes: dict[str, Any] | None = None
) -> Any:
    """A log record of a span."""
    at = time.time_ns() - 1_990_000_000
    ids = {"trace_id": trace_id, "span_id": span_id}
    return log(body, attributes, severity_number=severity, severity_text="ERROR", time_unix_nano=at, **ids)
