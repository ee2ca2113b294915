"""JSON that is parsed piece by piece means what it means to orjson, and no piece is long."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.decode import json_pieces

SCALARS = st.none() | st.booleans() | st.integers(-9, 10**6) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text('ab"\\[]{},: é\n', max_size=30) | st.integers(150, 700).map(lambda length: '\\"' * length)
KEYS = st.sampled_from(["", "a", "b", '{"', "],"]) | TEXTS
VALUES = st.recursive(
    SCALARS | TEXTS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=40
)
BYTES = st.sampled_from([b"", *(bytes([byte]) for byte in b'[]{},:"\\ 1\xc3')])
DAMAGE = st.lists(st.tuples(st.integers(0, 10**6), BYTES), max_size=2)


def in_pieces(data: bytes) -> Any:
    return json_pieces.loads(data, [])


def outcome(loads: Any, data: bytes) -> bytes:
    """What comes out, with the order of keys, or that it is refused."""
    try:
        return orjson.dumps(loads(data))
    except orjson.JSONDecodeError:
        return b"refused"


@given(VALUES, st.sampled_from([0, 1, 7, 40]), st.sampled_from([None, 1]), DAMAGE)
def test_pieces_make_what_one_call_makes_and_refuse_what_it_refuses(
    value: Any, piece: int, indent: int | None, damage: list[tuple[int, bytes]]
) -> None:
    data = json.dumps(value, ensure_ascii=False, indent=indent).encode()
    for place, byte in damage:
        at = place % (len(data) + 1)
        data = data[:at] + byte + data[at + place % 2 :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_pieces, "_WHOLE", 0)
        patch.setattr(json_pieces, "_PIECE", piece)
        assert outcome(in_pieces, data) == outcome(orjson.loads, data)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"b":{"x":[1]},"a":[2,[3]],"":{"":[]},"b":4}',  # the last of two values, at the place of the first
        "[1,2],[3]", "[1,[2],]", "[,[1]]", "[[1]2]", '{"a":[1],}', '{"a" [1]}', '{[1]}', "[[1}]", "{]", "[1]]",
        "[[1]", "]", '["a]', "[[1].5]", '{"a":1 "b":[2]}', " [ 1 , [ 2 ] ] ", "[1]x", "\ufeff[1]",
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [0, 3])
def test_commas_and_brackets_at_a_cut_are_judged(text: str, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_pieces, "_WHOLE", 0)
    monkeypatch.setattr(json_pieces, "_PIECE", piece)
    assert outcome(in_pieces, text.encode()) == outcome(orjson.loads, text.encode())


@pytest.mark.parametrize("deep", [1024, 1100])
def test_depth_has_the_same_end(deep: int) -> None:
    data = b"[" * deep + b"1," * 600_000 + b"1" + b"]" * deep
    for loads in (in_pieces, orjson.loads):
        with contextlib.nullcontext() if deep == 1024 else pytest.raises(orjson.JSONDecodeError, match="depth limit"):
            loads(data)


ATTRIBUTE = b'{"key":"http.route","value":{"stringValue":"/a/b"}}'
SPAN = b'{"attributes":[%b]}' % ATTRIBUTE
SHAPES = {
    "spans": b'{"resourceSpans":[{"scopeSpans":[{"spans":[%b]}]}]}' % b",".join([SPAN] * 40_000),
    "one record": b'{"attributes":[%b]}' % b",".join([ATTRIBUTE] * 40_000),
    "nothing in objects": b'{"x":[%b]}' % b",".join([b"{}"] * 800_000),
    "deep": b'{"x":[%b]}' % b",".join([b"[" * 50 + b"]" * 50] * 12_000),
    "numbers": b"[%b]" % b",".join([b"1.25"] * 500_000),
    "keys": b"{%b}" % b",".join(b'"%d":1' % number for number in range(250_000)),
    "texts": b"[%b]" % b",".join([b'"[a]"'] * 400_000),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_no_long_text_is_parsed_in_one_call(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0

    def loads(data: bytes) -> Any:
        nonlocal longest
        longest = max(longest, len(data))
        return orjson.loads(data)

    expected = orjson.loads(SHAPES[shape])
    pieces: list[Any] = []
    recorder = SimpleNamespace(loads=loads, dumps=orjson.dumps, JSONDecodeError=orjson.JSONDecodeError)
    monkeypatch.setattr(json_pieces, "orjson", recorder)
    assert json_pieces.loads(SHAPES[shape], pieces) == expected
    assert len(pieces) > 4
    assert longest < 320 << 10
