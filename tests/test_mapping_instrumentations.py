"""What real instrumentations send, reproduced attribute by attribute; each test names the version that sent it."""

from __future__ import annotations

from typing import Any

import pytest

from mapping_requests import one


@pytest.mark.parametrize("status", [200, 404])
def test_falcon_and_django_0_66_under_wsgiref_send_no_path_and_none_is_made_up(status: int) -> None:
    """New conventions: no url.path, and no http.route where nothing matched (or Django's route is empty)."""
    sent: dict[str, Any] = {
        "http.request.method": "GET",
        "url.scheme": "http",
        "server.address": "shop.example",
        "server.port": 8000,
        "client.address": "127.0.0.1",
        "http.response.status_code": status,
        "http.request.header.host": ["shop.example"],
    }
    event = one(sent, name="GET")
    assert (event.uri, event.route, event.flags) == ("http://shop.example/", "", ("uri_from_route",))
    matched = one({**sent, "http.route": "orders/<int:oid>"}, name="GET orders/<int:oid>")
    assert (matched.uri, matched.route) == ("http://shop.example/orders/{oid}", "/orders/{oid}")
    assert matched.flags == ("uri_from_route",)


def test_tornado_0_66_names_a_handler_by_its_format_string() -> None:
    """No http.route; the name holds the reverse pattern of the rule, and url.full is only a target."""
    sent = {
        "http.request.method": "GET",
        "url.scheme": "http",
        "server.address": "shop.example",
        "url.path": "/files/a%20b/5",
        "url.full": "/files/a%20b/5",
        "client.address": "127.0.0.1",
        "tornado.handler": "app.Files",
        "http.response.status_code": 200,
    }
    event = one(sent, name="GET /files/%s/%s")
    assert (event.route, event.uri) == ("/files/{param}/{param}", "http://shop.example/files/a%20b/5")
    assert one(sent, name="GET /files/{a}/{b}").route == "/files/{a}/{b}"
