"""Bodies in codings: what can be read is read and masked, and what cannot is not kept, in whatever place it comes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from codings import CODINGS, raw_deflate
from mapping.event import Event
from mapping.event_json import event_json
from mapping.rules.bodies import Room
from mapping.rules.codings import UNREADABLE, Unread, readable, readable_text
from mapping_requests import INTERNAL, NOW, key_values, log, logs, mapped, span, traces

SECRET = "hunter2fake"
PLAIN = orjson.dumps({"user": "ann", "password": SECRET, "note": "a text that is long enough to be compressed " * 3})
CALL: dict[str, Any] = {"http.request.method": "POST", "url.path": "/x", "http.response.status_code": 200}
# Made by hand in the form that encoders of Brotli give to what they do not compress: the bytes stand there as they are.
# No library of the product reads it.
BROTLI = b"\x8b\x10\x80" + PLAIN[:34] + b"\x03\x9a\xd4\x00\xff"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + SECRET.encode()

READ: dict[str, bytes] = {
    "gzip": gzip.compress(PLAIN),
    "gzip cut short": gzip.compress(PLAIN)[:-12],
    "zlib": zlib.compress(PLAIN),
    "zstd": CODINGS["zstd"][1](PLAIN),
    "gzip in gzip": gzip.compress(gzip.compress(PLAIN)),
    "UTF-16": PLAIN.decode().encode("utf-16"),
    "UTF-16 big endian with a mark": b"\xfe\xff" + PLAIN.decode().encode("utf-16-be"),
    "UTF-16 without a mark": PLAIN.decode().encode("utf-16-le"),
    "UTF-16 big endian": PLAIN.decode().encode("utf-16-be"),
    "UTF-32": PLAIN.decode().encode("utf-32"),
    "UTF-32 without a mark": PLAIN.decode().encode("utf-32-be"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + PLAIN,
    "gzip of UTF-16": gzip.compress(PLAIN.decode().encode("utf-16")),
}
UNREAD: dict[str, bytes] = {
    **{name: compress(PLAIN) for name, (_, compress) in CODINGS.items() if "snappy" in name or "lz4" in name},
    "br": BROTLI,
    "compress": b"\x1f\x9d\x90" + PLAIN,
    "bzip2": bz2.compress(PLAIN),
    "xz": lzma.compress(PLAIN),
    "png": PNG,
    "jpeg": b"\xff\xd8\xff\xe0" + PLAIN,
    "pdf": b"%PDF-1.7\n(password: " + SECRET.encode() + b")",
    "zip": b"PK\x03\x04" + PLAIN,
    "MessagePack": b"\x81\xa8password\xab" + SECRET.encode(),
    "long MessagePack": b"\x82\xa4note\xd9\x30" + b"n" * 48 + b"\xa8password\xab" + SECRET.encode(),
    "CBOR": b"\xa1\x68password\x6b" + SECRET.encode(),
    "protobuf": b"\n\x05ann\x12\x0b" + SECRET.encode(),
    "gzip of a picture": gzip.compress(PNG),
    "broken gzip": gzip.compress(PLAIN)[:10] + b"\xff" + PLAIN,
    "raw deflate that nobody named": raw_deflate(PLAIN),
}
CARRIED = {
    "bytes": lambda raw: raw,
    "base64": lambda raw: b64encode(raw).decode(),
    "base64 for URLs": lambda raw: urlsafe_b64encode(raw).decode().rstrip("="),
    "hex": lambda raw: raw.hex(),
    "Latin-1": lambda raw: raw.decode("latin-1"),
    "print of Python": repr,
}
carried = pytest.mark.parametrize("how", CARRIED)
headers = pytest.mark.parametrize(
    "stated",
    [{}, {"content-encoding": ["br"]}, {"content-encoding": ["gzip"]}, {"content-type": ["application/json"]}],
    ids=["no header", "br", "gzip", "JSON"],
)


def texts(event: Event) -> Iterator[str]:
    """All that an event shows, base64 undone."""
    yield repr(event)
    yield repr(event_json(event))
    for text in (event.request_body, event.response_body, event.body):
        with suppress(ValueError):
            yield b64decode(text, validate=True).decode("utf-8", "replace")
    yield event.metadata
    for value in orjson.loads(event.metadata).values():
        if isinstance(value, str):
            with suppress(ValueError):
                yield b64decode(value + "==").decode("utf-8", "replace")


def only(request: Any) -> Event:
    found = mapped(request)
    assert not found.failed
    (event,) = found.events
    assert not [text for text in texts(event) if SECRET in text]
    return event


def call(value: Any, side: str, stated: dict[str, list[str]]) -> Event:
    named = {f"http.{side}.header.{name}": text for name, text in stated.items()}
    return only(traces(span({**CALL, **named, f"http.{side}.body": value})))


@carried
@headers
@pytest.mark.parametrize("name", READ)
def test_what_can_be_undone_is_read_and_masked(name: str, stated: dict[str, list[str]], how: str) -> None:
    for side in ("request", "response"):
        event = call(CARRIED[how](READ[name]), side, stated)
        body = b64decode(event.request_body or event.response_body)
        assert b'"user"' in body or b'"us' in body
        assert b"[REDACTED]" in body or b"password" not in body
        assert "body_unreadable" not in event.flags


@carried
@headers
@pytest.mark.parametrize("name", UNREAD)
def test_what_cannot_be_read_is_not_kept(name: str, stated: dict[str, list[str]], how: str) -> None:
    for side in ("request", "response"):
        if (name, how) == ("CBOR", "Latin-1"):
            continue  # reads like a word
        event = call(CARRIED[how](UNREAD[name]), side, stated)
        assert (event.request_body, event.response_body) == ("", "")
        assert "body_unreadable" in event.flags
        told = orjson.loads(event.metadata)
        assert told[f"unreadable.{side}.reason"]
        assert told[f"unreadable.{side}.bytes"] > 0


def test_the_reason_says_what_it_was() -> None:
    for name, reason in (("png", "png"), ("pdf", "pdf"), ("gzip of a picture", "gzip, png"), ("xz", "xz")):
        found = readable(UNREAD[name], take=lambda _: True)
        assert found == Unread(reason, len(UNREAD[name]))
    assert readable(BROTLI, "", "br") == Unread("br", len(BROTLI))
    assert readable(b"plain", "application/x-protobuf") == Unread("application/x-protobuf", 5)
    assert readable(raw_deflate(PLAIN), "", "deflate", lambda _: True) == PLAIN


@pytest.mark.parametrize("raw", [*READ.values(), *UNREAD.values()], ids=[*READ, *UNREAD])
def test_bytes_in_other_places_are_hidden_too(raw: bytes) -> None:
    for value in (raw, [raw], {"a": raw}):
        only(traces(span({**CALL, "captured": value})))
        only(traces(span({"db.system": "x", "captured": value}, kind=INTERNAL)))
        only(logs(log("x", {"captured": value}), resource={"r": value}))
    for body in (raw, b64encode(raw).decode(), urlsafe_b64encode(raw).decode(), repr(raw)):
        line = {"method": "POST", "status": 200, "url": "/x", "request_body": body, "response": {"body": body}}
        only(logs(log(line)))
        only(logs(log({"msg": "x", "body": body}, {"http.response.body": body})))
        if isinstance(body, str):
            only(logs(log(orjson.dumps({**line, "n": 1}).decode())))
            only(logs(log(orjson.dumps({"msg": "x", "body": body}).decode())))
    for side in ("request", "response"):
        sent = Span.Event(name=f"http.{side}", attributes=key_values({f"http.{side}.body": raw}))
        only(traces(span(CALL, events=[sent])))


@pytest.mark.parametrize("name", UNREAD)
def test_a_log_body_of_bytes_that_cannot_be_read_says_so(name: str) -> None:
    event = only(logs(log(UNREAD[name], time_unix_nano=NOW)))
    assert (event.body, event.body_encoding) == ("", "")
    assert "body_unreadable" in event.flags
    assert orjson.loads(event.metadata)["unreadable.log.bytes"] == len(UNREAD[name])


@pytest.mark.parametrize("name", READ)
def test_a_log_body_of_bytes_is_read_and_masked(name: str) -> None:
    event = only(logs(log(READ[name], time_unix_nano=NOW)))
    assert b'"us' in b64decode(event.body)


def test_the_parts_of_a_form_are_judged_one_by_one() -> None:
    mark = "----WebKitFormBoundary7MA4YWxk"
    parts = [
        b'Content-Disposition: form-data; name="note"\r\n\r\nplain text',
        b'Content-Disposition: form-data; name="password"\r\n\r\n' + SECRET.encode(),
        b'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + PNG,
        b'Content-Disposition: form-data; name="data"\r\nContent-Transfer-Encoding: base64\r\n\r\n' + b64encode(PLAIN),
        b'Content-Disposition: form-data; name="zipped"\r\n\r\n' + gzip.compress(PLAIN),
    ]
    body = (
        b"".join(b"--" + mark.encode() + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + mark.encode() + b"--\r\n"
    )
    for stated in ({}, {"content-type": [f"multipart/form-data; boundary={mark}"]}):
        event = call(body, "request", stated)
        shown = b64decode(event.request_body)
        assert b"plain text" in shown
        assert shown.count(UNREADABLE.encode()) == 2
    assert b"a.png" in shown


@pytest.mark.parametrize(
    "text",
    [
        "UnauthorizedUser",
        "550e8400-e29b-41d4-a716-446655440000",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "thisisalongwordwithoutblanksthatcouldbebase64butisnotatallanyofit",
        "<a>caf\u00e9</a>",
        "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
        "a=1&b=%20x",
        "line one\r\nline two\ttabbed \x1b[31mred\x1b[0m",
        "x^2 + y^2",
        "b'it is no print",
        "smile \U0001f600, and one broken \ufffd in a longer text of words",
        "a\ufffd",
    ],
)
def test_plain_texts_are_kept_as_they_are(text: str) -> None:
    assert readable_text(text) == text
    event = only(traces(span({**CALL, "http.request.body": text, "a": text})))
    assert b64decode(event.request_body).decode() == text
    assert orjson.loads(event.metadata)["a"] == text


@pytest.mark.parametrize("raw", [b"caf\xe9 open today", "a cut caf\u00e9".encode()[:-1], b"order \xfc 17"])
def test_letters_of_other_charsets_are_text(raw: bytes) -> None:
    assert readable(raw) == raw
    assert (
        readable("p\u0142atno\u015b\u0107".encode("cp1250"), "text/plain; charset=windows-1250")
        == "p\u0142atno\u015b\u0107".encode()
    )


def test_without_room_nothing_is_inflated() -> None:
    assert isinstance(readable(gzip.compress(PLAIN)), Unread)
    room = Room(10)
    assert readable(gzip.compress(PLAIN), take=room.take) == PLAIN
    assert room.used == len(PLAIN)
    assert readable(gzip.compress(PLAIN), take=room.take) == Unread("no room", len(gzip.compress(PLAIN)))
