"""More servers and frameworks as they trace themselves: each call once, with caller, status, route and address.

Two services of each; the first asks the second. The last call of each is given up by its caller after 0.4 s of 1.2.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from captures import CAPTURES, map_requests, requests_of, truth_of
from mapping.event import API_CALL, ENTRY, INNER, OPEN, Event
from mapping.rules.route import template_path
from mapping.settings import MappingSettings

SETTINGS: Final = MappingSettings.model_validate({"identify_user": {"headers": ["X-User-Id"]}})
SYSTEMS: Final = sorted(path.name for path in (CAPTURES / "servers").iterdir())
# What their spans do not say; everything else is as it was.
NO_ADDRESS: Final = (
    "spring-mvc",
    "spring-webflux",
    "next-vercel",
    "sveltekit",
    "micronaut",
    "go-zero",
    "datadog-fastapi",
)
NO_QUERY: Final = ("spring-mvc", "spring-webflux", "go-servemux", "go-kratos")
# Handlers name the user in these: who asks for what no handler serves is not named.
NAMED_BY_HANDLER: Final = (
    *("spring-mvc", "spring-webflux", "quarkus", "next-vercel", "next-node-sdk", "go-servemux"),
    *("micronaut", "go-zero", "rust-tracing-actix-web"),
)
# What the server saw of the call that its caller gave up: it answered all the same, or knows of no status.
GIVEN_UP: Final = {
    "spring-webflux": (0, ""),
    "quarkus": (0, "cancelled"),
    "java-vertx": (0, "cancelled"),
    "go-servemux": (499, "cancelled"),
    "java-armeria": (0, "cancelled"),
    "go-kratos": (0, ""),
}
# What these servers answer before any span of theirs begins.
NOT_TRACED: Final = {"go-zero": (405,), "go-kratos": (404, 405)}
# Which hands the trace on to hosts of Vercel only; which hands on nothing itself.
NO_CHAIN: Final = ("next-vercel", "sveltekit")
VERSIONED: Final = ("django-rest",)  # the version is a part of its routes
WITHOUT_HEAD: Final = ("java-javalin",)  # its span of HEAD is of no route


def calls_of(name: str) -> list[Event]:
    found = [event for request in map_requests(requests_of(f"servers/{name}"), SETTINGS) for event in request]
    calls = (event for event in found if event.event_type == API_CALL and event.direction == "Incoming")
    return sorted(calls, key=lambda event: event.start_unix_ns)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_call_is_one_with_what_was_called(name: str) -> None:
    calls = calls_of(name)
    truth = [call for call in truth_of(f"servers/{name}") if not is_untraced(name, call)]
    customers = [event for event in calls if "/internal/" not in event.uri]
    if name in ("next-node-sdk", "sveltekit-node-sdk"):
        # Its own span of the call that was given up comes in a later request, with the user: the store finds the
        # call above it, and the view gives that the trace's user.
        first, again = customers[-2:]
        assert (again.hop, again.parent_id, urlsplit(again.uri).path) == (OPEN, first.span_id, "/api/v1/slow")
        customers[-2:] = [first._replace(user_id=again.user_id)]
    assert [shown(event) for event in customers] == [wanted(name, call) for call in truth]
    # With a caller's own trace only the store can tell, by what else is in that trace.
    hops = [OPEN if (call["path"], call["method"]) == ("/api/v1/orders/17", "GET") else ENTRY for call in truth]
    assert [event.hop for event in customers] == hops


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_service_behind_is_an_inner_hop_of_its_call(name: str) -> None:
    calls = calls_of(name)
    customers = {event.trace_id: event.user_id for event in calls if event.hop == ENTRY}
    inner = [event for event in calls if "/internal/" in event.uri]
    assert [event.route for event in inner] == ["/internal/orders"] * 2
    if name not in NO_CHAIN:
        assert all(event.hop in (OPEN, INNER) and event.trace_id in customers for event in inner)


def is_untraced(name: str, call: dict[str, Any]) -> bool:
    served = call["route"] and call["method"] in ("GET", "POST")
    return not served and call["status"] in NOT_TRACED.get(name, ())


def shown(event: Event) -> dict[str, Any]:
    url = urlsplit(event.uri)
    return {
        "call": (event.verb, url.path, url.query),
        "route": event.route,
        "status": event.status,
        "error": event.error_type,
        "user": event.user_id,
        "address": event.ip_address,
    }


ERRORS: Final = {401: "auth", 404: "not_found", 405: "client_error", 500: "server"}


def wanted(name: str, call: dict[str, Any]) -> dict[str, Any]:
    url, route, status = urlsplit(call["path"]), call["route"], call["status"]
    error = ERRORS.get(status, "")
    if url.path.endswith("/slow"):
        status, error = GIVEN_UP.get(name, (200, ""))
    if name == "go-kratos" and status not in (401, 404):  # which tells the status of errors that handlers return
        status, error = 0, ""
    served = bool(route)
    if name in VERSIONED and (served or call["method"] == "OPTIONS"):
        route = (route or url.path).replace("/v1/", "/{version}/").replace("{cid}", "{pk}").replace("{oid}", "{pk}")
    if name in WITHOUT_HEAD and call["method"] == "HEAD":
        route = ""
    named = served or name not in NAMED_BY_HANDLER
    if name == "spring-webflux" and url.path.endswith("/stream"):
        named = False
    return {
        "call": (call["method"], url.path, "" if name in NO_QUERY else url.query),
        "route": route or template_path(url.path),
        "status": status,
        "error": error,
        "user": call["who"] if named else "",
        "address": "" if name in NO_ADDRESS else "127.0.0.1",
    }
