"""What is no Unicode in a JSON body, repaired: the same as parsing leniently and replacing what is half."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.decode import json_repair
from receiver.decode.json_repair import repair

pieces = st.sampled_from(
    [
        "\\ud83d",
        "\\uDE00",
        "\\ud83d\\ude00",
        "\\\\",
        "\\n",
        '\\"',
        "\\u0041",
        "\\udfff",
        "x",
        "ä",
        "🚚",
        "\\\\u",
        "d83d",
    ]
)


def whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {whole(key): whole(item) for key, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=500, deadline=None)
@given(st.lists(pieces, max_size=12).map("".join), st.lists(pieces, max_size=12).map("".join))
def test_escaped_halves_become_what_a_lenient_parser_replaces(key: str, text: str) -> None:
    body = f'{{"k{key}":["{text}",{{"a":"{text}"}}],"b":1}}'
    assert orjson.loads(repair(body.encode())) == whole(json.loads(body))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40).filter(lambda raw: not set(raw) & set(b'"\\')))
def test_any_bytes_in_a_text_can_be_read(raw: bytes) -> None:
    (text,) = orjson.loads(repair(b'["' + raw + b'"]'))
    good = "".join(char for char in raw.decode("utf-8", "ignore") if char >= " ")
    assert "".join(char for char in text if char >= " ").replace("\ufffd", "") == good.replace("\ufffd", "")


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a\nb", "a\nb"),
        (b"\ta\r\n", "\ta\r\n"),
        (b"\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"),
        (b"a\x00\x01\x02b", "a\ufffdb"),
        (b'\\\\\n\\"\n', '\\\n"\n'),
        (b"\xff\n\\ud83d\n", "\ufffd\n\ufffd\n"),
    ],
)
def test_control_characters_in_texts_are_escaped_and_line_ends_between_them_stay(raw: bytes, text: str) -> None:
    body = b'{\n\t"k' + raw + b'": [\r\n"' + raw + b'",\n"a"]}\n'
    assert orjson.loads(repair(body)) == {"k" + text: [text, "a"]}


def test_what_is_good_is_the_same_object() -> None:
    for good in (b'{"a":"\\ud83d\\ude00 \\\\ud83d"}', '{"a":"ä🚚"}'.encode(), b"{", b""):
        assert repair(good) is good


@pytest.mark.parametrize("bad", [b"\\ud83d", b"\xff", b"\xed\xa0\xbd", b"\xe2\x82", b"\\udfff", b"\x01\x02"])
def test_long_bodies_are_repaired_in_pieces(bad: bytes) -> None:
    """Wherever a piece ends: in the middle of a character, an escape, a run of halves."""
    texts = [b"\xc3\xa4" * 1000 + b"\\\\" * 999 + bad + b"x" * (number % 7) for number in range(400)]
    assert sum(map(len, texts)) > 3 * json_repair._SLICE
    found = orjson.loads(repair(b'["' + b'","'.join(texts) + b'"]'))
    assert found == ["ä" * 1000 + "\\" * 999 + "\ufffd" + "x" * (number % 7) for number in range(400)]


@pytest.mark.parametrize(
    "part", [b"\\ud83d", b"\\ude00", b"\xff", b"a\xff", b"\\\\", b"\\n", b"\\u0041", b"\\ud83dx", b"\n", b"a\x01"]
)
def test_a_body_of_nothing_else_takes_steps_in_proportion_and_grows_at_most_twofold(
    part: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    match = json_repair._STEP.match

    class Counting:
        def match(self, data: bytes, position: int) -> Any:
            nonlocal steps
            steps += 1
            return match(data, position)

    monkeypatch.setattr(json_repair, "_STEP", Counting())
    counts = []
    for size in (100_000, 400_000):
        steps = 0
        body = b'["' + part * (size // len(part)) + b'"'  # without an end, so it is never whole
        assert len(repair(body)) <= 2 * len(body)
        counts.append(steps)
    assert counts[1] <= 4 * counts[0] + 8
