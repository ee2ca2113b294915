"""Secrets and pictures where they are easily passed over: behind slashes, within paths, among the values of JSON."""

from __future__ import annotations

from base64 import b64encode

import orjson
import pytest

from mapping.masks.redactor import Redactor
from mapping.masks.settings import MaskSettings
from mapping_requests import SERVER, mapped, span, traces

SECRET = "hunter2fake"
MASKS = Redactor(MaskSettings())


@pytest.mark.parametrize(
    "text",
    [
        f"see /p:{SECRET} now",
        f"/p:{SECRET}",
        f"login /u:ann /P:{SECRET} /d:corp",
        f'run /p:"{SECRET}"',
        f"https://h//ann:{SECRET}@h",
        f"GET /a/https://h//ann:{SECRET}@h/x",
        f"x https://h/a//ann:{SECRET}@h/b",
    ],
)
def test_passwords_behind_slashes_are_hidden_in_texts_and_in_json(text: str) -> None:
    assert SECRET not in MASKS.text(text)
    for body in ({"message": text}, {"a": [text]}):
        line = orjson.dumps(body).decode()
        assert SECRET not in MASKS.text(line)
        assert not MASKS.leaves_json_as_it_is(line, "log_body")
        assert SECRET not in str(MASKS.log_body(body))


STAY = ("rule /p:8080 open", "/v1/p:17", "see /p:word", "a//b:c", "/p: nothing", "w//todo: x", "x /p:Mode=Release1")


@pytest.mark.parametrize("text", STAY)
def test_ports_paths_and_words_behind_slashes_stay(text: str) -> None:
    assert MASKS.text(text) == text


def test_a_password_in_a_path_leaves_with_no_column() -> None:
    sent = {"http.request.method": "GET", "server.address": "h", "url.path": f"/a//ann:{SECRET}@h/b"}
    (event,) = mapped(traces(span(sent, kind=SERVER))).events
    assert SECRET not in repr(event)


PICTURES = {
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(range(200)),
    "JPEG": b"\xff\xd8\xff\xe0" + bytes(range(200)),
    "PDF": b"%PDF-1.7\n" + bytes(range(200)),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_are_left_out_of_json_texts(kind: str) -> None:
    coded = b64encode(PICTURES[kind]).decode()
    for body in ({"avatar": coded}, {"a": {"list": [coded]}}, {"photo": f"data:image/png;base64,{coded}"}):
        line = orjson.dumps(body).decode()
        assert not MASKS.leaves_json_as_it_is(line, "log_body")
        assert coded not in str(MASKS.log_body(body))
        assert coded not in MASKS.text(line)


def test_texts_that_only_begin_like_pictures_stay() -> None:
    for text in ("data: 17 rows", "data:text/plain;charset=utf-8,hello", "/9j/ is a path", "iVBOR"):
        assert MASKS.text(text) == text
        assert MASKS.log_body({"a": text}) == {"a": text}
    assert MASKS.text("data:text/plain;base64,aGVsbG8gd29ybGQ=") == "data:text/plain;base64,aGVsbG8gd29ybGQ="


@pytest.mark.parametrize("name", ["host", "referer", "origin", "from"])
def test_a_rule_on_a_header_of_one_word_holds_for_its_copies(name: str) -> None:
    masks = Redactor(MaskSettings.model_validate({"rules": [{"keys": [name], "action": "mask"}]}))
    shown = masks.log_body({name: "x1", f"http_{name}": "x2", f"HTTP_{name.upper()}": "x3", f"{name}name": "y"})
    assert list(shown.values()) == ["[REDACTED]"] * 3 + ["y"]
