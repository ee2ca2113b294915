"""Bodies, spec/mapping.md §3.6 and §1.4."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.rules import bodies


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    ("value", "content_type", "text", "encoding"),
    [
        ({"a": [1, None]}, "", '{"a":[1,null]}', "json"),
        (["a"], "", '["a"]', "json"),
        ({"raw": b"\x00"}, "", '{"raw":"AA=="}', "json"),
        ('{"a": 1}', "", '{"a": 1}', "json"),
        (" [1]", "", " [1]", "json"),
        ('"text"', "application/problem+JSON", '"text"', "json"),
        ("null", "application/json", "null", "json"),
        ("42", "application/json", "42", "json"),
        ("42", "", b64(b"42"), "base64"),
        ('{"a": 1', "application/json", b64(b'{"a": 1'), "base64"),
        ("caf\u00e9", "text/plain", b64("caf\u00e9".encode()), "base64"),
        (b'{"a": 1}', "application/json", b64(b'{"a": 1}'), "base64"),
        (7, "", "7", "json"),
        ("", "application/json", "", ""),
        (b"", "", "", ""),
        (None, "", "", ""),
    ],
)
def test_json_stays_json_and_the_rest_becomes_base64(
    value: object, content_type: str, text: str, encoding: str
) -> None:
    assert bodies.encode(value, content_type) == (text, encoding, False, None)


def test_gzip_bomb_is_read_only_up_to_the_bound() -> None:
    found = bodies.read(gzip.compress(b"x" * (20 * 1024 * 1024)))
    assert isinstance(found, bodies.Body)
    assert isinstance(found.data, bytes)
    assert len(found.data) == bodies.MAX_BODY_BYTES + 1


@pytest.mark.parametrize(
    "value", ["x" * 460_801, {"a": "x" * 460_801}, b"x" * 460_801, '{"a":"' + "x" * 460_801 + '"}']
)
def test_bodies_above_450_kib_are_cut_and_are_base64(value: object) -> None:
    found = bodies.encode(value)
    assert (found.encoding, found.truncated) == ("base64", True)
    assert len(base64.b64decode(found.text)) == 460_800


def test_body_of_exactly_450_kib_is_kept() -> None:
    found = bodies.encode("x" * 460_800)
    assert (found.truncated, len(base64.b64decode(found.text))) == (False, 460_800)


def test_masks_see_data_and_bytes_before_they_are_encoded() -> None:
    seen: list[Any] = []

    def mask(body: bodies.Body) -> bodies.Body:
        seen.append(body.data)
        return bodies.Body(body.encoding, {"masked": True})

    assert bodies.encode('{"a": 1}', mask=mask).text == '{"masked":true}'
    bodies.encode(b"raw", mask=mask)
    assert bodies.encode(None, mask=mask).encoding == ""
    assert seen == [{"a": 1}, b"raw"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(JSON) | st.dictionaries(st.text(max_size=4), JSON))
def test_json_text_and_the_same_structure_carry_the_same_data(value: Any) -> None:
    of_text = bodies.encode(orjson.dumps(value).decode())
    of_value = bodies.encode(value)
    assert of_text.encoding == of_value.encoding == "json"
    assert orjson.loads(of_text.text) == orjson.loads(of_value.text) == value


@pytest.mark.parametrize(
    ("key", "sides"),
    [
        ("request.data.items", {"", "request"}),
        ("a.response.0.body.raw", {"", "either"}),
        ("requestBody.card.number", {"", "request"}),
        ("graphql.variables.id", {"", "request"}),
        ("graphql.execute.variables", {"", "request"}),
        ("graphql.execute.result", {"", "response"}),
        ("user.id", {""}),
        ("request.-.data.x", {"", "request"}),
    ],
)
def test_whose_bodies_a_dotted_key_lies_in(key: str, sides: set[str]) -> None:
    assert bodies.bodies_around(key) == sides


def test_what_a_key_lies_in_is_told_in_time_in_proportion_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0
    whole = bodies.body_named

    def counting(key: str) -> str:
        nonlocal looked_at
        looked_at += len(key)
        return whole(key)

    monkeypatch.setattr(bodies, "body_named", counting)
    key = ".".join(f"{number:x}data" for number in range(60))
    assert bodies.bodies_around(key) == {""}
    assert 0 < looked_at <= 4 * len(key)
    looked_at = 0
    assert "either" in bodies.bodies_around(".".join(["data"] * 400))  # nobody has looked at all of it
    assert not looked_at
