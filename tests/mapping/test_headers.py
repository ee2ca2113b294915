"""Captured headers, spec/mapping.md §3.5."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.rules import headers


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("http.request.header.x_user_id", ("request", "x-user-id")),
        ("http.request.header.X-User-Id", ("request", "x-user-id")),
        ("http.request.header.x-odd_name", ("request", "x-odd_name")),
        ("http.response.header.content_type", ("response", "content-type")),
        ("http.request.headers.x-user-id", ("request", "x-user-id")),
        ("http.response.headers.x-request-id", ("response", "x-request-id")),
        ("http.request.header.", None),
        ("http.request.headers", None),
        ("http.request.method", None),
        ("rpc.grpc.request.metadata.x", None),
    ],
)
def test_attribute_names_become_header_names(key: str, named: tuple[str, str] | None) -> None:
    assert headers.header_name(key) == named


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (["a"], "a"),
        (["a", "b"], "a, b"),
        (("a", 7, 1.5, True), "a, 7, 1.5, true"),
        ([], ""),
        (None, ""),
        (b"caf\xc3\xa9", "caf\u00e9"),
    ],
)
def test_several_values_are_joined_with_a_comma(value: object, text: str) -> None:
    assert headers.join(value) == text


def test_attributes_and_maps_are_collected_and_the_attribute_wins() -> None:
    request, response = headers.collect(
        {
            "http.request.headers": '{"X-A": ["1", "2"], "Accept": "json", "x_b": 3}',
            "http.request.header.x_a": ["own"],
            "http.response.headers": {"Content-Type": "text/plain"},
            "http.response.header.etag": "e",
            "http.method": "GET",
        }
    )
    assert request == {"x-a": "own", "accept": "json", "x-b": "3"}
    assert response == {"content-type": "text/plain", "etag": "e"}


@pytest.mark.parametrize("key", ["user_agent.original", "http.user_agent"])
def test_user_agent_attribute_fills_in_for_the_header(key: str) -> None:
    assert headers.collect({key: "curl/8"})[0] == {"user-agent": "curl/8"}
    both = headers.collect({key: "curl/8", "http.request.header.user_agent": ["Mozilla"]})
    assert both[0] == {"user-agent": "Mozilla"}


def test_list_of_pairs_is_a_map_of_headers_whose_repeats_are_joined() -> None:
    assert headers.from_map([["Host", "h"], ["Via", "a"]]) == {"host": "h", "via": "a"}
    assert headers.from_map({"Via": "a", "via": "b"}) == {"via": "a, b"}


@pytest.mark.parametrize("value", ["not json", "[1, 2]", '{"a":', "7", "", 7, None, ["a"]])
def test_other_values_hold_no_headers(value: object) -> None:
    assert headers.from_map(value) == {}


@given(st.dictionaries(st.text(max_size=30), st.one_of(st.text(max_size=10), st.lists(st.text(max_size=5)))))
def test_collecting_any_attributes_gives_lower_case_names_and_text(attributes: dict[str, object]) -> None:
    prefixed = {f"http.request.header.{key}": value for key, value in attributes.items()}
    request, response = headers.collect({**attributes, **prefixed})
    assert all(name == name.lower() and value for name, value in request.items())
    assert response == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('["4711"]', "4711"),
        ('["203.0.113.9", "10.0.0.4"]', "203.0.113.9, 10.0.0.4"),
        ("['4711']", "4711"),
        ("[]", ""),
        ('[""]', ""),
        ("[::1]", "[::1]"),
        ('["open', '["open'),
        ('["a", 1]', '["a", 1]'),
        ('[{"a": 1}]', '[{"a": 1}]'),
        ('["broken]', '["broken]'),
        ("[REDACTED]", "[REDACTED]"),
    ],
)
def test_a_list_that_was_written_as_text_is_that_list(text: str, value: str) -> None:
    assert headers.join(text) == value
    request, _ = headers.collect({"http.request.header.x-user-id": text})
    assert request.get("x-user-id", "") == value
