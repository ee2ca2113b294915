"""Web frameworks of Python and Node under their public instrumentations: each call once, with caller, status and route.

Two services of each; the first asks the second. Callers name themselves in a captured header or the handler does.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from captures import CAPTURES, map_requests, requests_of, truth_of
from mapping.event import API_CALL, LOG, Event
from mapping.rules.route import template_path
from mapping.settings import MappingSettings

SETTINGS: Final = MappingSettings.model_validate({"identify_user": {"headers": ["X-User-Id"]}})
FRAMEWORKS: Final = sorted(path.name for path in (CAPTURES / "frameworks").iterdir())
# What spans do not say; everything else is as it was.
NO_ROUTE: Final = frozenset(
    (
        "node-hono",  # no instrumentation of its own: Node's http knows paths only
        "python-litestar",  # the path, as its route
        "python-starlette",  # the prefix that its routes are mounted under
        "python-falcon",  # only where the handler's response says its status as a text
    )
)
NO_PATH: Final = frozenset(("python-flask", "python-django"))  # no url.path in the new conventions, only the route
NO_ADDRESS: Final = frozenset(("python-aiohttp",))
NO_STATUS: Final = {
    "python-aiohttp": ("/boom",),  # the exception instead
    "python-starlette": ("/boom",),
    "python-falcon": ("/orders", "/orders/17", "/orders/999"),  # a status that is a number is not said
}


def incoming(name: str) -> list[Event]:
    found = [event for request in map_requests(requests_of(f"frameworks/{name}"), SETTINGS) for event in request]
    calls = (event for event in found if event.event_type == API_CALL and event.direction == "Incoming")
    return sorted(calls, key=lambda event: event.start_unix_ns)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_every_call_is_one_with_what_was_called(name: str) -> None:
    calls, truth = incoming(name), truth_of(f"frameworks/{name}")
    own = [event for event in calls if "/internal/" not in event.uri]
    assert [shown(event) for event in own] == [wanted(name, call) for call in truth]
    # With a caller's own trace only the store can tell, by what else is in that trace.
    hops = ["open" if call["path"].endswith("/17") else "entry" for call in truth]
    assert [event.hop for event in own] == hops
    inner = [event for event in calls if "/internal/" in event.uri]
    assert [event.route for event in inner] == [path for call in truth for path in call["inner"]]


def shown(event: Event) -> dict[str, Any]:
    return {
        "method": event.verb,
        "path": urlsplit(event.uri).path,
        "route": event.route,
        "status": event.status,
        "user": event.user_id,
        "address": event.ip_address,
        "error": bool(event.error_type),
    }


def wanted(name: str, call: dict[str, Any]) -> dict[str, Any]:
    path, short = urlsplit(call["path"]).path, urlsplit(call["path"]).path.removeprefix("/api/v1")
    silent = short in NO_STATUS.get(name, ())
    routed = call["route"] and not (name in NO_ROUTE and (name != "python-falcon" or silent))
    route = call["route"] if routed else template_path(path)
    if name in NO_PATH:
        path = route if call["route"] else "/"
    if name == "python-django" and not call["route"]:
        route = ""
    return {
        "method": call["method"],
        "path": path,
        "route": route,
        "status": 0 if silent else call["status"],
        "user": call["who"],
        "address": "" if name in NO_ADDRESS else "127.0.0.1",
        "error": call["status"] >= 400 and not (silent and name == "python-falcon"),
    }


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_what_the_handlers_logged_has_its_call(name: str) -> None:
    requests = map_requests(requests_of(f"frameworks/{name}"), SETTINGS)
    events = [event for request in requests for event in request]
    traces = {event.trace_id for event in events if event.event_type == API_CALL}
    logged = [event for event in events if event.event_type == LOG and "listed orders" in event.body]
    assert len(logged) == 2
    assert {event.trace_id for event in logged} <= traces
    assert all(event.span_id for event in logged)
    assert not [event for event in events if "s3cr3t" in repr(event)], "the caller's token is nowhere"
