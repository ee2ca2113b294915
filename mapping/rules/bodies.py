"""Request and response bodies as text with an encoding (spec/mapping.md §3.6, §1.4)."""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import NamedTuple

import orjson

from mapping.bounds import LONGEST_JSON, is_deep

REQUEST_ATTRIBUTES = (
    "http.request.body.content",
    "http.request.body",
    "http.request.body.text",
    "http.request.payload",
    "http.request_body",
    "otel.request.body",
)
RESPONSE_ATTRIBUTES = (
    "http.response.body.content",
    "http.response.body",
    "http.response.body.text",
    "http.response.payload",
    "http.response_body",
    "otel.response.body",
)

MAX_BODY_BYTES = 450 * 1024  # longer bodies are cut, and are base64 from then on
_GZIP_MAGIC = b"\x1f\x8b"


class Room:
    """How many bytes more the compressed bodies of one request may become: a small gzip body may hold gigabytes."""

    __slots__ = ("left", "used")

    def __init__(self, left: int) -> None:
        self.left = left
        self.used = 0

    def take(self, count: int) -> None:
        self.left -= count
        self.used += count


class Body(NamedTuple):
    """A body before masking: JSON data, or bytes."""

    encoding: str  # json | base64 | "" for no body
    data: object = None  # the JSON value, or bytes
    source: str = ""  # the JSON text that `data` was read from, "" when there was none or `data` has changed
    content_type: str = ""  # lower case


class Encoded(NamedTuple):
    """A body as an event carries it. `text` is JSON text when the encoding is "json", base64 when it is "base64"."""

    text: str
    encoding: str  # json | base64 | "" for no body
    truncated: bool = False


NO_BODY = Body("")
NO_ROOM = Body("none")
NOTHING = Encoded("", "")


def encode(
    value: object,
    content_type: str = "",
    content_encoding: str = "",
    mask: Callable[[Body], Body] | None = None,
    room: Room | None = None,
) -> Encoded:
    """The body in an attribute value, masked and cut, ready for an event."""
    body = read(value, content_type, content_encoding, room)
    if body is NO_ROOM:
        return Encoded("", "", True)
    return dump(mask(body) if mask is not None and body.encoding else body)


def read(value: object, content_type: str = "", content_encoding: str = "", room: Room | None = None) -> Body:
    """The body in an attribute value: text, bytes, a map or a list.

    content_type, content_encoding: the captured headers. A string is JSON when it parses and either the type says so or
    it begins like an object or an array. Gzip is undone as far as it is kept; NO_ROOM when the
    request has had its share.
    """
    if value is None or value in ("", b""):
        return NO_BODY
    content_type = content_type.lower()
    if isinstance(value, str):
        if len(value) <= LONGEST_JSON and ("json" in content_type or value.lstrip()[:1] in ("{", "[")):
            try:
                parsed = orjson.loads(value)
            except orjson.JSONDecodeError:
                pass
            else:
                if not is_deep(value, parsed):
                    return Body("json", parsed, value, content_type)
        return Body("base64", value.encode("utf-8", "surrogatepass"), "", content_type)
    if isinstance(value, (bytes, bytearray)):
        raw = bytes(value)
        zipped = "gzip" in content_encoding.lower() and raw[:2] == _GZIP_MAGIC
        if zipped:
            if room is not None and room.left <= 0:
                return NO_ROOM
            raw = inflated(raw)
            if room is not None:
                room.take(len(raw))
        return Body("base64", raw, "", content_type)
    return Body("json", value, "", content_type)


def dump(body: Body) -> Encoded:
    """The body as text. Of more than 450 KiB only the first 450 KiB are kept, as base64: no longer valid JSON."""
    if not body.encoding:
        return NOTHING
    if isinstance(body.data, bytes):
        raw = body.data
    elif body.source and len(body.source) <= MAX_BODY_BYTES // 4:
        return Encoded(body.source, "json")
    else:
        raw = orjson.dumps(body.data, default=_default)
    if len(raw) > MAX_BODY_BYTES:
        return Encoded(b64encode(raw[:MAX_BODY_BYTES]).decode("ascii"), "base64", True)
    return Encoded(raw.decode() if body.encoding == "json" else b64encode(raw).decode("ascii"), body.encoding)


def inflated(raw: bytes) -> bytes:
    """Gunzipped bytes, one more than are kept at most, which tells that they were cut; `raw` when it is not gzip."""
    try:
        return zlib.decompressobj(31).decompress(raw, MAX_BODY_BYTES + 1)
    except zlib.error:
        return raw


def _default(value: object) -> object:
    if isinstance(value, (bytes, bytearray)):
        return b64encode(value).decode("ascii")
    return dict(value) if isinstance(value, Mapping) else str(value)
