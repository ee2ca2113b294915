"""Lines of logs that tests of the mapping put into what loggers, shippers and clouds write, and the event of one."""

from __future__ import annotations

from typing import Any

import orjson

from mapping.event import Event
from mapping_requests import log, logs, mapped

TRACE = "0af7651916cd43dd8448eb211c80319c"
AT = 1_772_442_000_000_000_000  # 2026-03-02T09:00:00Z
COMBINED = '203.0.113.7 - ann [02/Mar/2026:09:00:00 +0000] "GET /v1/items/7?x=1 HTTP/1.1" 200 13 "-" "curl/8"'
PLAIN = '{"method":"GET","path":"/v1/items/7","status":200,"user_id":"ann"}'


def of(body: Any, attributes: dict[str, Any] | None = None, resource: dict[str, Any] | None = None) -> Event:
    """The event of one log record without a time; a body that is no text is JSON, unless attributes come with it."""
    text = body if isinstance(body, str) or attributes is not None else orjson.dumps(body).decode()
    sent = logs(log(text, attributes, time_unix_nano=0), resource=resource or {"service.name": "shop"})
    (event,) = mapped(sent).events
    return event
