"""Request and response bodies as text with an encoding (spec/mapping.md §3.6, §1.4)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from mapping.bounds import DEEPEST_JSON, LONGEST_JSON, is_deep
from mapping.rules.codings import MAX_BODY_BYTES as MAX_BODY_BYTES
from mapping.rules.codings import NO_ROOM, Unread, readable, readable_text
from mapping.rules.names import words_of

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


# What a name of a body is made of: its last words, behind those that say whose it is.
_SIDES: Final = {
    **dict.fromkeys(("request", "req", "rq", "post", "inbound", "incoming", "input"), "request"),
    **dict.fromkeys(("response", "resp", "res", "rsp", "reply", "rs", "outbound", "outgoing", "output"), "response"),
}
_BODIES: Final = frozenset(("body", "payload", "entity"))
_RUN_ON_BODIES: Final = ("requestbody", "responsebody", "reqbody", "resbody", "respbody", "httpbody", "postdata")
_OF_A_SIDE: Final = frozenset(
    ("content", "data", "json", "form", "xml", "text", "raw")
)  # `request.data`, HAR's content
_FORMS: Final = frozenset(
    ("content", "text", "raw", "string", "str", "json", "base64", "b64", "value", "data", "parsed")
)
# The last two words of attributes of GraphQL, Envelop's among them, and of models, and whose body they are.
_OF_TWO_WORDS: Final[dict[tuple[str, ...], str]] = {
    ("graphql", "variables"): "request",
    ("execute", "variables"): "request",
    ("resolver", "args"): "request",
    ("execute", "result"): "response",
    ("input", "value"): "request",
    ("output", "value"): "response",
}
# One of these is in every name of a body.
_SIGNS: Final = tuple(sorted(_BODIES | _OF_A_SIDE | {"variables", "result", "args", "value"}))
_MOST_PARTS: Final = 64  # of a dotted key that are looked at: 0.3 ms for the most hostile, a body's have five

_LEVELS_OF_A_TEXT: Final = 20  # for which JSON inside a text counts


@lru_cache(maxsize=4096)
def _body_named(key: str) -> str:
    if not _may_name_body(key):  # sooner told than by its words
        return ""
    if key.count(".") >= _MOST_PARTS:
        return "either"  # nobody has looked at all of it
    words = [word for part in key.split(".") for word in words_of(part)]
    while len(words) > 1 and words[-1].isdigit():  # `http.request.body.0`: a part of it
        words.pop()
    if not words:
        return ""
    if (of_two_words := _OF_TWO_WORDS.get((*words[-2:],))) is not None:
        return of_two_words
    last = len(words) - 1
    while last and words[last] in _FORMS and not (words[last - 1] in _SIDES and words[last] in _OF_A_SIDE):
        last -= 1
    word, sides = words[last], [_SIDES[word] for word in words[:last] if word in _SIDES]
    if word in _RUN_ON_BODIES:
        return "response" if word.startswith("res") else "request"
    of_a_side = word in _OF_A_SIDE and last > 0 and words[last - 1] in _SIDES
    if word in _BODIES or of_a_side:
        return sides[-1] if sides else "either"
    return ""


def body_named(key: str) -> str:
    """Whose body stands under a key of an attribute or log: request, response, either where it does not say; "" for
    no body.
    """
    return _body_named(key) if len(key) <= 256 else _body_named.__wrapped__(key)


def bodies_around(key: str) -> set[str]:
    """Whose bodies a dotted key is, or lies within, as `body_named` has it of each name on the way; and "".

    A body is named by a part of the key, or by one with that before it (`request.data`), so the time is in proportion
    to it.
    """
    found = {""}
    if not _may_name_body(key):
        return found
    if key.count(".") >= _MOST_PARTS:
        return {"", "either"}
    before = ""
    for part in key.split("."):
        if _may_name_body(part):
            found.add(body_named(part))
            if before:
                found.add(body_named(f"{before}.{part}"))
        if words_of(part):
            before = part
    return found


def _may_name_body(name: str) -> bool:
    name = name.lower()
    return any(sign in name for sign in _SIGNS)


def without_bodies(value: Any, drops: Callable[[str], bool], above: str = "", depth: int = 0) -> Any:
    """A value without the bodies in it, in JSON texts too. drops: tells of a dotted key whether it names one.

    What is nested too deeply to be kept as JSON, or longer than JSON that is read, goes.
    """
    if isinstance(value, dict):
        if depth >= DEEPEST_JSON:
            return {}
        paths = ((key, f"{above}.{key}"[-256:] if above else key, item) for key, item in value.items())
        return {
            key: without_bodies(item, drops, path if isinstance(item, dict) else "", depth + 1)
            for key, path, item in paths
            if not (drops(key) or (path is not key and drops(path)))
        }
    if isinstance(value, list):
        return [without_bodies(item, drops, "", depth + 1) for item in value] if depth < DEEPEST_JSON else []
    if not (isinstance(value, str) and value.lstrip()[:1] in ("{", "[")):
        return value
    if len(value) > LONGEST_JSON or depth >= DEEPEST_JSON:
        return ""
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
    shown = without_bodies(parsed, drops, "", depth + _LEVELS_OF_A_TEXT)
    return value if shown == parsed else orjson.dumps(shown).decode()


class Room:
    """How many bytes more the compressed bodies of one request may become: a small gzip body may hold gigabytes."""

    __slots__ = ("left", "used")

    def __init__(self, left: int) -> None:
        self.left = left
        self.used = 0

    def take(self, count: int) -> bool:
        """Takes so many bytes. False when none were left before."""
        left = self.left > 0
        self.left -= count
        self.used += count
        return left


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
    unread: Unread | None = None  # why there is no text of a body that was captured


NO_BODY = Body("")
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
    if isinstance(body, Unread):
        return Encoded("", "", body.reason == NO_ROOM, body)
    return dump(mask(body) if mask is not None and body.encoding else body)


def read(value: object, content_type: str = "", content_encoding: str = "", room: Room | None = None) -> Body | Unread:
    """The body in an attribute value: text, bytes, a map or a list; Unread for what is no text.

    content_type, content_encoding: the captured headers. A string is JSON when it parses and either the type says so or
    it begins like an object or an array. Other strings and bytes are text once their codings are undone: see
    `mapping.rules.codings`.
    """
    if value is None or value in ("", b""):
        return NO_BODY
    content_type = content_type.lower()
    take = room.take if room is not None else Room(MAX_BODY_BYTES).take
    if isinstance(value, str):
        if len(value) <= LONGEST_JSON and ("json" in content_type or value.lstrip()[:1] in ("{", "[")):
            try:
                parsed = orjson.loads(value)
            except orjson.JSONDecodeError:
                pass
            else:
                if not is_deep(value, parsed):
                    return Body("json", parsed, value, content_type)
        text = readable_text(value, content_type, content_encoding.lower(), take)
        raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    elif isinstance(value, (bytes, bytearray)):
        raw = readable(bytes(value), content_type, content_encoding.lower(), take)
    else:
        return Body("json", value, "", content_type)
    return raw if isinstance(raw, Unread) else Body("base64", raw, "", content_type)


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


def _default(value: object) -> object:
    if isinstance(value, (bytes, bytearray)):
        return b64encode(value).decode("ascii")
    return dict(value) if isinstance(value, Mapping) else str(value)
