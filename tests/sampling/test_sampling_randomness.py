from __future__ import annotations

import json

import orjson
from hypothesis import given
from hypothesis import strategies as st

from mapping.sampling.randomness import draw, inside, record_bytes
from mapping.sampling.thresholds import M

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def line(**changes: object) -> bytes:
    content: dict[str, object] = {
        "attributes": {"n": 3},
        "body": "user logged in",
        "time_unix_nano": 7,
        "service_name": "auth",
    }
    return record_bytes(**{**content, **changes})  # type: ignore[arg-type]


@given(st.dictionaries(st.text(), values, max_size=5), values)
def test_the_canonical_text_is_that_of_the_standard_library(attributes: dict[str, object], body: object) -> None:
    """Replicas with another JSON library must draw the same."""
    text = record_bytes(attributes=attributes, body=body, time_unix_nano=1)
    again = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if "log.record.uid" not in attributes:
        assert text == again.encode()
        assert orjson.loads(text)["t"] == "1"


def test_values_of_different_types_are_different_records() -> None:
    bodies = [3, 3.0, "3", b"3", [3], {"i": "3"}, True, None, 2**60, 2**60 + 1]
    assert len({line(body=body) for body in bodies}) == len(bodies)


def test_what_upstream_samplers_added_and_when_it_was_read_are_no_part_of_a_record() -> None:
    assert line(attributes={"n": 3, "sampling.threshold": "c"}) == line()
    assert line(observed_time_unix_nano=99) == line()
    assert line(time_unix_nano=0, observed_time_unix_nano=99) != line(time_unix_nano=0)


def test_repeated_lines_of_one_request_are_different_records() -> None:
    assert line(occurrence=1) != line()


def test_text_that_utf8_cannot_carry_and_deep_nesting_still_have_bytes() -> None:
    deep: object = "x"
    for _ in range(300):
        deep = [deep]
    assert b"?" in line(body="\ud800")
    assert line(body=deep).count(b"[") > 300


@given(st.binary(min_size=16, max_size=16))
def test_draws_of_different_domains_are_unrelated(data: bytes) -> None:
    drawn = {draw(domain, data) for domain in ("trace", "redraw", "record", "unit")}
    assert len(drawn) == 4
    assert all(0 <= r < M for r in drawn)


@given(st.integers(0, M - 1), st.integers(0, M - 1))
def test_a_draw_inside_a_threshold_stays_there(t_in: int, h: int) -> None:
    assert t_in <= inside(t_in, h) < M
