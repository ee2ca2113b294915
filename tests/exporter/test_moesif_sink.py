"""Events in Moesif's form and within Moesif's limits (spec/mapping.md §1)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from events import NOW_NS, SECOND_NS, event
from exporter.sinks.moesif_events import DAY_NS, MAX_EVENT_BYTES, action, api_call, left_out, requests
from mapping.event import ACTION, LOG, UNSAMPLED
from mapping.event_json import iso

LIMITS: dict[str, Any] = {"max_bytes": 10_000_000, "max_rows": 1000}


def call(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(api_call(event(**changes)))
    return row


def test_an_api_call_has_moesifs_fields() -> None:
    row = call(
        user_id="u", company_id="c", session_token="s", subscription_id="sub", parent_id="aaaaaaaaaaaaaaaa",
        request_headers={"Accept": "*/*"}, request_body='{"a":1}', request_body_encoding="json", user_agent="curl",
        ip_address="10.0.0.1", metadata='{"tier":"gold"}', decision=UNSAMPLED._replace(weight=7), span_status=2,
    )  # fmt: skip
    assert row["request"] == {
        "time": iso(NOW_NS - 2 * SECOND_NS),
        "uri": "http://shop.example/items/4711",
        "verb": "GET",
        "headers": {"Accept": "*/*"},
        "body": {"a": 1},
        "transfer_encoding": "json",
        "ip_address": "10.0.0.1",
    }
    assert row["response"]["status"] == 200
    assert row["span"]["parent_id"] == row["span"]["parent_span_id"] == "aaaaaaaaaaaaaaaa"
    expected = {
        "user_id": "u", "company_id": "c", "session_token": "s", "subscription_id": "sub", "weight": 7,
        "direction": "Incoming",
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected
    assert row["metadata"]["route"] == "/items/{id}"
    assert row["metadata"]["user_agent"] == "curl"
    assert row["metadata"]["duration_ms"] == 1000
    assert row["metadata"]["tier"] == "gold"
    assert len(row["transaction_id"]) == 36
    assert not {"event_type", "family", "reason", "start_time_unix_nano"} & row.keys()


def test_a_call_without_a_response_has_none() -> None:
    assert "response" not in call(status=0)


def test_a_weight_is_at_least_one() -> None:
    assert call(decision=UNSAMPLED._replace(weight=0))["weight"] == 1


@pytest.mark.parametrize("encoding", ["json", "base64"])
def test_a_long_body_is_cut_and_says_so(encoding: str) -> None:
    body = json.dumps("x" * 600_000) if encoding == "json" else base64.b64encode(b"x" * 600_000).decode()
    row = call(request_body=body, request_body_encoding=encoding)
    assert row["request"]["transfer_encoding"] == "base64"
    assert len(row["request"]["body"]) <= 450 * 1024
    assert base64.b64decode(row["request"]["body"]).strip(b'"x') == b""
    assert row["metadata"]["body_truncated"] is True


def test_an_event_over_a_megabyte_loses_bodies_then_headers_then_metadata() -> None:
    body = json.dumps("x" * 400_000)
    bodies = {
        "request_body": body,
        "request_body_encoding": "json",
        "response_body": body,
        "response_body_encoding": "json",
    }
    row = call(**bodies, metadata=json.dumps({"blob": "y" * 300_000}))
    assert "body" not in row["request"]
    assert row["metadata"]["event_truncated"] is True
    assert len(row["metadata"]["blob"]) == 300_000
    row = call(**bodies, request_headers={"X-Big": "z" * 1_200_000}, metadata=json.dumps({"blob": "y" * 300_000}))
    assert row["request"]["headers"] == {}
    assert len(row["metadata"]["blob"]) == 300_000
    row = call(metadata=json.dumps({"blob": "y" * 1_200_000, "tier": "gold"}))
    assert "blob" not in row["metadata"]
    assert row["metadata"]["tier"] == "gold"


def test_an_event_is_never_over_a_megabyte() -> None:
    huge = "x" * 1_200_000
    links = json.dumps([{"trace_id": "a" * 32, "span_id": "b" * 16, "attributes": {"note": huge}}])
    for changes in ({"uri": f"http://h/{huge}"}, {"links": links}, {"user_id": huge}):
        row = call(**changes)
        assert len(json.dumps(row)) < MAX_EVENT_BYTES
        assert row["metadata"]["event_truncated"] is True
    assert len(action(event(event_type=ACTION, action_name=huge))) < MAX_EVENT_BYTES


def test_an_action_carries_its_span_in_metadata_and_always_a_uri() -> None:
    done = event(
        event_type=ACTION, action_name="SELECT a/b", family="db", uri="", verb="", route="", parent_id="b" * 16
    )
    row = json.loads(action(done))
    assert row["action_name"] == "SELECT a/b"
    assert row["request"]["uri"] == "otel://shop/db/SELECT%20a%2Fb"
    expected = {"trace_id": done.trace_id, "span_id": done.span_id, "parent_id": "b" * 16, "direction": "Incoming"}
    assert {key: row["metadata"][key] for key in expected} == expected
    assert row["metadata"]["duration_ms"] == 1000


def test_logs_old_events_and_unless_asked_actions_are_left_out() -> None:
    old = event(start_unix_ns=NOW_NS - 31 * DAY_NS)
    rows = [event(), event(event_type=LOG), event(event_type=ACTION, action_name="a"), old]
    posts = list(requests(rows, NOW_NS, actions=False, **LIMITS))
    assert [(post.path, post.rows) for post in posts] == [("/v1/events/batch", 1)]
    assert left_out(rows, NOW_NS, actions=False) == ([rows[1], rows[2]], [old])
    posts = list(requests(rows, NOW_NS, actions=True, **LIMITS))
    assert [(post.path, post.rows) for post in posts] == [("/v1/events/batch", 1), ("/v1/actions/batch", 1)]
    assert left_out(rows, NOW_NS, actions=True) == ([rows[1]], [old])


def test_unless_asked_for_calls_that_are_no_entries_are_left_out() -> None:
    entry, open_, inner = (event(hop=hop) for hop in ("entry", "open", "inner"))
    rows = [entry, open_, inner, event(direction="Outgoing", hop=""), event(direction="Internal")]
    (post,) = requests(rows, NOW_NS, actions=False, entries_only=True, **LIMITS)
    assert [row["transaction_id"] for row in json.loads(post.body)] == [entry.transaction_id, open_.transaction_id]
    assert left_out(rows, NOW_NS, actions=False, entries_only=True) == (rows[2:], [])
    (post,) = requests(rows, NOW_NS, actions=False, **LIMITS)
    assert post.rows == 5


def test_no_request_is_over_the_limits() -> None:
    big = json.dumps("x" * 400_000)
    rows = [event(request_body=big, request_body_encoding="json") for _ in range(20)] + [event() for _ in range(30)]
    posts = list(requests(rows, NOW_NS + SECOND_NS, actions=False, max_bytes=2_000_000, max_rows=12))
    assert sum(post.rows for post in posts) == 50
    assert max(len(post.body) for post in posts) <= 2_000_000
    assert max(post.rows for post in posts) <= 12
    sent = [row["transaction_id"] for post in posts for row in json.loads(post.body)]
    assert sent == [row.transaction_id for row in rows]
    assert all(len(json.dumps(row)) < MAX_EVENT_BYTES for post in posts for row in json.loads(post.body))
