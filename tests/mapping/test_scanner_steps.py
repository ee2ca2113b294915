"""Loops written by hand take steps in proportion to the text, whatever stands in it: lines of Python are counted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from mapping.masks.redactor import Redactor
from mapping.masks.settings import MaskSettings
from mapping.rules import route_spelling
from mapping.rules.route import template_path
from mapping_requests import log, logs, mapped

N = 400  # characters
GROWTH = 6  # for four times the text: 4 is linear, 16 quadratic
FEW = 1500  # lines at 4 N: nothing that grows with the text

DEFAULT = Redactor(MaskSettings())
WAYS: dict[str, Callable[[str], Any]] = {
    "text": DEFAULT.text,
    "path": DEFAULT.path,
    "query": DEFAULT.query,
    "header": lambda text: DEFAULT.headers({"x-original-uri": text}),
    "list": lambda text: DEFAULT.value("argv", text.split(" ")),
    "route": lambda text: route_spelling._normalise.__wrapped__(text),
    "template": template_path,
    "log line": lambda text: mapped(logs(log(text))),
    "log field": lambda text: mapped(logs(log({"method": "GET", "status": 200, "path": text, "headers": text}))),
}
PARTS = (
    *("password", "password=", "['--password', '", "['", "'a', ", "name=\"a\" ", "rawHeaders: ['a', "),
    *("a=b ", "a=b&", "%25", "%3D", "?a=", "#a=", ";a=", "//", "/a", "//u:", "u:p@", "{", "[", "(", "<a ", "</a>"),
    *(" -p", "-u a:", "--a b ", "Bearer ", "eyJ", "sk-", '"', "'", "\\", "\\n", ": ", "a: ", ", ", "\n", "k: v\n", "."),
)  # fmt: skip


def lines_taken(way: Callable[[str], Any], text: str) -> int:
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        way(text)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", WAYS)
def test_lines_grow_with_the_text_and_not_faster(name: str) -> None:
    way, slow = WAYS[name], []
    for part in PARTS:
        for filler in (part, " "):
            texts = [part + filler * (size // len(filler)) for size in (N, 4 * N)]
            way(texts[0] + ".")  # what is remembered of keys and shapes is there, but not this text
            short, long = (lines_taken(way, text) for text in texts)
            if long > max(FEW, GROWTH * short):
                slow.append((part, filler, short, long))
    assert slow == []
