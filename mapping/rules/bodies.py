"""Request and response bodies as text with an encoding (mapping.md §3.6, size rule of §1.4)."""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import NamedTuple

import orjson

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
MAX_INFLATED_BYTES = 4 * 1024 * 1024  # a small gzip body may hold gigabytes: reading stops here
_GZIP_MAGIC = b"\x1f\x8b"


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
NOTHING = Encoded("", "")


def encode(
    value: object, content_type: str = "", content_encoding: str = "", mask: Callable[[Body], Body] | None = None
) -> Encoded:
    """The body in an attribute value, masked and cut, ready for an event."""
    body = read(value, content_type, content_encoding)
    return dump(mask(body) if mask is not None and body.encoding else body)


def read(value: object, content_type: str = "", content_encoding: str = "") -> Body:
    """The body in an attribute value: text, bytes, a map or a list.

    content_type, content_encoding: the captured headers. A string is JSON when it parses and either the type says so or
    it begins like an object or an array. Gzip is undone, up to MAX_INFLATED_BYTES.
    """
    if value is None or value in ("", b""):
        return NO_BODY
    content_type = content_type.lower()
    if isinstance(value, str):
        if "json" in content_type or value.lstrip()[:1] in ("{", "["):
            try:
                return Body("json", orjson.loads(value), value, content_type)
            except orjson.JSONDecodeError:
                pass
        return Body("base64", value.encode("utf-8", "surrogatepass"), "", content_type)
    if isinstance(value, (bytes, bytearray)):
        raw = bytes(value)
        zipped = "gzip" in content_encoding.lower() and raw[:2] == _GZIP_MAGIC
        return Body("base64", inflated(raw) if zipped else raw, "", content_type)
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
    """Gunzipped bytes, at most MAX_INFLATED_BYTES of them; `raw` itself when it is not gzip."""
    try:
        return zlib.decompressobj(31).decompress(raw, MAX_INFLATED_BYTES)
    except zlib.error:
        return raw


def _default(value: object) -> object:
    if isinstance(value, (bytes, bytearray)):
        return b64encode(value).decode("ascii")
    return dict(value) if isinstance(value, Mapping) else str(value)
