"""How the events of a trace are arranged and worded."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from weighbridge.commands.event_text import Seen, body_text, duration_text
from weighbridge.commands.trace_tree import Node, arrange, tree_lines

START = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)


def seen(event_type: str, at_ms: float, **values: Any) -> Seen:
    empty = dict.fromkeys(Seen._fields, "") | {"status_code": 0, "duration_ms": None, "weight": 1, "service": "shop"}
    time = START + timedelta(milliseconds=at_ms)
    return Seen(**{**empty, "event_type": event_type, "event_time": time, **values})


def call(span_id: str, parent: str, at_ms: float = 0, duration_ms: float = 10, **values: Any) -> Seen:
    return seen(
        "api_call", at_ms, span_id=span_id, parent_span_id=parent, name=span_id, duration_ms=duration_ms, **values
    )


def log(span_id: str, body: str, at_ms: float = 1) -> Seen:
    return seen("log", at_ms, span_id=span_id, name=body, body=body, severity="INFO")


def shape(nodes: list[Node]) -> list[Any]:
    """The names of the nodes, each followed by the list of what is inside it."""
    return [
        part for node in nodes for part in ([node.event.name, shape(node.inside)] if node.inside else [node.event.name])
    ]


def printed(events: list[Seen]) -> str:
    return "\n".join(line.plain for line in tree_lines("ab" * 16, arrange(events)))


def test_spans_nest_by_parent_whatever_order_they_come_in() -> None:
    events = [call("c", "b", 2), call("a", "", 0), call("b", "a", 1), call("d", "a", 3)]
    assert shape(arrange(events)) == ["a", ["b", ["c"], "d"]]


def test_logs_lie_in_their_span_between_its_children_in_order_of_time() -> None:
    events = [call("a", ""), log("a", "first", 1), call("b", "a", 2), log("b", "inner", 2.5), log("a", "last", 3)]
    assert shape(arrange(events)) == ["a", ["first", "b", ["inner"], "last"]]


def test_a_log_without_a_stored_span_stays_at_the_level_of_the_trace() -> None:
    assert shape(arrange([call("a", ""), log("", "loose", 1), log("gone", "orphan", 2)])) == ["a", "loose", "orphan"]


def test_a_span_whose_parent_is_not_stored_goes_under_the_span_that_contains_it() -> None:
    """Plumbing spans are not stored; what happened below them still belongs to the request."""
    events = [call("a", "", 0, 100), call("b", "a", 10, 50), call("c", "middleware", 20, 5)]
    assert shape(arrange(events)) == ["a", ["b", ["c"]]]


def test_a_span_of_another_service_is_not_adopted() -> None:
    events = [call("a", "", 0, 100), call("c", "unknown", 20, 5, service="other")]
    assert shape(arrange(events)) == ["a", "c"]


def test_two_events_of_one_span_are_both_shown() -> None:
    events = [call("a", ""), call("a", "", 1)]
    assert shape(arrange(events)) == ["a", ["a"]]


def test_parents_in_a_circle_lose_no_event() -> None:
    nodes = arrange([call("a", "b", 0), call("b", "a", 1)])
    assert shape(nodes) == ["b", ["a"]]


def test_a_tree_is_drawn_with_guides() -> None:
    events = [
        call("a", "", 0, uri="a"),
        call("b", "a", 1, uri="b"),
        call("c", "b", 2, uri="c"),
        call("d", "a", 3, uri="d"),
    ]
    lines = printed(events).splitlines()[1:]
    assert [line.split("no response")[0].rstrip() for line in lines] == [
        "└── shop   a",
        "    ├──  b",
        "    │   └──  c",
        "    └──  d",
    ]


def test_who_called_is_said_where_a_call_comes_in_and_where_it_changes() -> None:
    acme: dict[str, Any] = {"user_id": "4711", "company_id": "acme"}
    events = [
        call("a", "", 0, direction="incoming", method="GET", endpoint="/a", **acme),
        seen("action", 1, span_id="b", parent_span_id="a", action="price", **acme),
        seen("action", 2, span_id="c", parent_span_id="a", action="admin", user_id="root"),
        call("d", "a", 3, direction="incoming", service="pay", method="GET", endpoint="/d", **acme),
        seen("action", 4, span_id="e", parent_span_id="a", action="sampled", **(acme | {"weight": 3})),
    ]
    lines = printed(events).splitlines()[1:]
    assert ["user" in line for line in lines] == [True, False, True, True, True]
    assert ["×" in line for line in lines] == [True, False, True, True, True]


def test_the_heading_says_how_long_it_took_and_what_failed() -> None:
    events = [call("a", "", 0, 100, status_code=200), call("b", "a", 10, 150, status_code=502), log("a", "late", 900)]
    assert printed(events).splitlines()[0].endswith("2026-11-20 18:00:00 UTC  160 ms  2 calls, 1 failed")


def error(stack: str = "", message: str = "the bank hung up") -> str:
    return json.dumps(
        {
            "error": {"type": "ConnectionError", "message": message, "stacktrace": stack},
            "code": {"line": 7},
            "order_id": 13,
        }
    )


PYTHON_STACK = "Traceback:\n" + "".join(f"  frame {n}\n" for n in range(30)) + "ConnectionError: the bank hung up\n"


def test_an_exception_is_told_once_by_the_log_that_reports_it() -> None:
    events = [
        call("a", "", 0, status_code=500)._replace(attributes=error(PYTHON_STACK)),
        log("a", "charge failed", 1)._replace(attributes=error(PYTHON_STACK)),
        log("a", "unhandled", 2)._replace(attributes=error(PYTHON_STACK)),
    ]
    lines = printed(events).splitlines()
    assert lines[2].endswith("charge failed  order_id=13")
    assert lines[3] == "    │       Traceback:"
    assert "… 16 lines" in lines[7]
    assert lines[-2] == "    │       ConnectionError: the bank hung up"
    assert lines[-1].endswith("unhandled  order_id=13")
    assert len(lines) == 3 + 4 + 1 + 12 + 1


def test_an_exception_that_no_log_tells_of_is_told_by_its_span() -> None:
    events = [call("a", "", 0, status_code=500)._replace(attributes=error()), log("a", "hello", 1)]
    assert printed(events).splitlines()[2] == "    │   ConnectionError: the bank hung up"


def test_nothing_that_a_terminal_obeys_is_printed_of_an_exception_or_an_attribute() -> None:
    events = [log("", "hello")._replace(attributes=error("\x1b[31mred\n at x", "a\x1b]0;title\x07"))]
    assert "\x1b" not in printed(events)
    assert "\x07" not in printed(events)
    assert "\\x1b[31mred" in printed(events)


def test_a_very_deep_trace_is_printed_whole_and_no_wider_than_a_screen() -> None:
    events = [call(f"s{depth}", f"s{depth - 1}" if depth else "", depth / 10) for depth in range(1500)]
    lines = printed(events).splitlines()
    assert len(lines) == 1501
    assert max(map(len, lines)) < 160
    assert "1499 deep:" in lines[-1]


def test_a_line_says_status_duration_user_company_and_weight() -> None:
    event = call("a", "", method="POST", endpoint="/v1/orders", status_code=402, error_type="quota", duration_ms=12.34)
    text = printed([event._replace(user_id="5005", company_id="umbrella", weight=4)])
    assert "shop  POST /v1/orders  402 quota  12.3 ms  user 5005  company umbrella  ×4" in text


def test_a_call_without_an_answer_says_so() -> None:
    text = printed(
        [call("a", "", method="POST", uri="http://pay/v1/charges", direction="outgoing", error_type="timeout")]
    )
    assert "→ POST http://pay/v1/charges  no response timeout" in text


def test_a_json_log_is_its_message_and_its_other_fields() -> None:
    assert body_text('{"message": "card declined", "level": "warning", "amount": 9, "why": "no money"}') == (
        'card declined  amount=9 why="no money"'
    )
    assert body_text("plain\n text ") == "plain text"
    assert body_text('{"broken": ') == '{"broken":'


def test_markup_in_what_was_sent_is_not_interpreted() -> None:
    assert "[red]not markup[/red]" in printed([call("a", ""), log("a", "[red]not markup[/red]")])


def test_durations_are_readable() -> None:
    assert [duration_text(ms) for ms in (0.0123, 9.876, 250.4, 3210.0)] == ["12 µs", "9.9 ms", "250 ms", "3.21 s"]
