"""OTLP's wire bytes, read lazily: the same bytes, described by coarser messages than OTLP's own.

A span's attributes are declared here as `repeated bytes`, so parsing a request makes no object per
attribute: each KeyValue stays a slice of bytes that `AttributeCache` maps to its key and value, and nearly
all of them repeat from span to span. Text is declared as bytes too, because protobuf refuses a whole
request for one invalid UTF-8 string, and a telemetry receiver must not.

Field numbers are those of opentelemetry-proto 1.11 (trace.proto, logs.proto, common.proto, resource.proto).
Fields that are not listed here are skipped as unknown.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, Final

import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError as ProtobufError

from mapping.bounds import CUT, DEEPEST_VALUE, LONGEST_TEXT, MOST_LEAVES, is_key
from mapping.masks.shapes import KEYS_BEGIN, may_show_a_key
from mapping.masks.text import may_hide_secrets
from mapping.rules.headers import header_name
from mapping.rules.metadata import fragment

# (shape key, value, metadata fragment). The shape key is the attribute's key, marked where the value
# changes what the key can be used for, so that a decision made once for a tuple of shape keys holds for
# every record that has it.
Entry = tuple[str, Any, str | None]
# Marks. EMPTY: the value is "", absent in every precedence list (spec/mapping.md, "first(a,b,…)"). NULL: an AnyValue
# without a value, dropped everywhere (spec/mapping.md §3.9). TREE: a map, or an array that holds one, flattened where
# it is used. LIST: an array of scalars. LOOK, LOOK_LIST: text in which secrets may hide (JSON, queries, header lines,
# URLs), and arrays of such text, so masks look inside. GRAPHQL: the text "graphql", which as a `component` makes a span
# a GraphQL operation.
EMPTY_MARK: Final = "\0"
NULL_MARK: Final = "\0null"
TREE_MARK: Final = "\0tree"
LIST_MARK: Final = "\0list"
LOOK_LIST_MARK: Final = "\0looklist"
LOOK_MARK: Final = "\0look"
GRAPHQL_MARK: Final = "\0graphql"
NOTHING: Final[Entry] = (NULL_MARK, None, None)
# What stands instead of an attribute that is over a bound: left out whole, as half a key may hide what masks go by.
OVER: Final[Entry] = (CUT, True, f'"{CUT}":true')

_LONGEST_WRITTEN: Final = 256
_LONGEST_KNOWN_KEY: Final = 128  # bytes of a key in a map that is remembered; with as many as are: 1 MB
_KEYS_BEGIN_WITH: Final = frozenset(begin[0] for begin in KEYS_BEGIN)
# Bytes that a text may consist of when its JSON is itself in quotes and no mark applies.
_PLAIN: Final = bytes(code for code in range(0x20, 0x7F) if chr(code) not in "\"\\='@:%>")
# What stands before a text of a KeyValue: the value's tag and length, the text's tag and length.
_TEXT_OF: Final = tuple(bytes((0x12, rest, 0x0A, max(rest - 2, 0))) for rest in range(0x80))

_FIELD = descriptor_pb2.FieldDescriptorProto
_BYTES, _INT32, _UINT32 = _FIELD.TYPE_BYTES, _FIELD.TYPE_INT32, _FIELD.TYPE_UINT32
_FIXED32, _FIXED64 = _FIELD.TYPE_FIXED32, _FIELD.TYPE_FIXED64
_ONE, _MANY = _FIELD.LABEL_OPTIONAL, _FIELD.LABEL_REPEATED

# message -> fields: (number, name, type or message name, label)
MESSAGES: Final[dict[str, tuple[tuple[int, str, int | str, int], ...]]] = {
    "Traces": ((1, "resource_spans", "ResourceSpans", _MANY),),
    "ResourceSpans": (
        (1, "resource", _BYTES, _ONE),
        (2, "scope_spans", "ScopeSpans", _MANY),
        (3, "schema_url", _BYTES, _ONE),
    ),
    "ScopeSpans": ((1, "scope", _BYTES, _ONE), (2, "spans", "Span", _MANY), (3, "schema_url", _BYTES, _ONE)),
    "Span": (
        (1, "trace_id", _BYTES, _ONE),
        (2, "span_id", _BYTES, _ONE),
        (3, "trace_state", _BYTES, _ONE),
        (4, "parent_span_id", _BYTES, _ONE),
        (5, "name", _BYTES, _ONE),
        (6, "kind", _INT32, _ONE),
        (7, "start_time_unix_nano", _FIXED64, _ONE),
        (8, "end_time_unix_nano", _FIXED64, _ONE),
        (9, "attributes", _BYTES, _MANY),
        (11, "events", _BYTES, _MANY),
        (13, "links", _BYTES, _MANY),
        (15, "status", _BYTES, _ONE),
        (16, "flags", _FIXED32, _ONE),
    ),
    "Event": (
        (1, "time_unix_nano", _FIXED64, _ONE),
        (2, "name", _BYTES, _ONE),
        (3, "attributes", _BYTES, _MANY),
    ),
    "Link": (
        (1, "trace_id", _BYTES, _ONE),
        (2, "span_id", _BYTES, _ONE),
        (3, "trace_state", _BYTES, _ONE),
        (4, "attributes", _BYTES, _MANY),
        (6, "flags", _FIXED32, _ONE),
    ),
    "Status": ((2, "message", _BYTES, _ONE), (3, "code", _INT32, _ONE)),
    "Logs": ((1, "resource_logs", "ResourceLogs", _MANY),),
    "ResourceLogs": (
        (1, "resource", _BYTES, _ONE),
        (2, "scope_logs", "ScopeLogs", _MANY),
        (3, "schema_url", _BYTES, _ONE),
    ),
    "ScopeLogs": (
        (1, "scope", _BYTES, _ONE),
        (2, "log_records", "LogRecord", _MANY),
        (3, "schema_url", _BYTES, _ONE),
    ),
    "LogRecord": (
        (1, "time_unix_nano", _FIXED64, _ONE),
        (2, "severity_number", _INT32, _ONE),
        (3, "severity_text", _BYTES, _ONE),
        (5, "body", _BYTES, _ONE),
        (6, "attributes", _BYTES, _MANY),
        (8, "flags", _FIXED32, _ONE),
        (9, "trace_id", _BYTES, _ONE),
        (10, "span_id", _BYTES, _ONE),
        (11, "observed_time_unix_nano", _FIXED64, _ONE),
        (12, "event_name", _BYTES, _ONE),
    ),
    # A request of either signal with its records unread, to know how large they are.
    "Unread": ((1, "of_resources", "UnreadResource", _MANY),),
    "UnreadResource": ((2, "of_scopes", "UnreadScope", _MANY),),
    "UnreadScope": ((2, "records", _BYTES, _MANY),),
    "Resource": ((1, "attributes", _BYTES, _MANY),),
    "Scope": ((1, "name", _BYTES, _ONE), (2, "version", _BYTES, _ONE), (3, "attributes", _BYTES, _MANY)),
    "KeyValue": ((1, "key", _BYTES, _ONE), (2, "value", "AnyValue", _ONE)),
    "ArrayValue": ((1, "values", "AnyValue", _MANY),),
    "KeyValueList": ((1, "values", "KeyValue", _MANY),),
}
ANY_VALUE: Final[tuple[tuple[int, str, int | str], ...]] = (
    (1, "text", _BYTES),
    (2, "flag", _FIELD.TYPE_BOOL),
    (3, "whole", _FIELD.TYPE_INT64),
    (4, "real", _FIELD.TYPE_DOUBLE),
    (5, "array", "ArrayValue"),
    (6, "map", "KeyValueList"),
    (7, "raw", _BYTES),
)


def _classes() -> dict[str, Any]:
    """One generated class per message above, from a descriptor pool of their own (OTLP's real classes are
    not touched).
    """
    package = "weighbridge.wire"
    file = descriptor_pb2.FileDescriptorProto(name="weighbridge/wire.proto", package=package, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind, label in fields:
            add_field(message, number, field, kind, label, package)
    any_value = file.message_type.add(name="AnyValue")
    any_value.oneof_decl.add(name="value")
    for number, field, kind in ANY_VALUE:
        add_field(any_value, number, field, kind, _ONE, package).oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    names = (*MESSAGES, "AnyValue")
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in names}


def add_field(message: Any, number: int, name: str, kind: int | str, label: int, package: str) -> Any:
    """A new field of a message's description. kind: a number of protobuf, or the name of a message of the package."""
    if isinstance(kind, str):
        return message.field.add(
            name=name, number=number, type=_FIELD.TYPE_MESSAGE, type_name=f".{package}.{kind}", label=label
        )
    return message.field.add(name=name, number=number, type=kind, label=label)


_CLASSES: Final = _classes()
Traces, Logs, Unread = _CLASSES["Traces"], _CLASSES["Logs"], _CLASSES["Unread"]
Event, Link, Status = _CLASSES["Event"], _CLASSES["Link"], _CLASSES["Status"]
Resource, Scope = _CLASSES["Resource"], _CLASSES["Scope"]
_KeyValue, _AnyValue = _CLASSES["KeyValue"], _CLASSES["AnyValue"]


def _long_text_of(rest: int) -> bytes:
    """As _TEXT_OF, where both lengths take two bytes."""
    value, text = rest - 1, rest - 4
    return bytes((0x12, value & 0x7F | 0x80, value >> 7, 0x0A, text & 0x7F | 0x80, text >> 7))


class Undecodable(ValueError):
    """Bytes inside a record that are not what OTLP says. Raised to `mapping.otlp.decode`, which refuses that
    record alone.
    """


def read_text(raw: bytes) -> str:
    """Text of a string field; invalid UTF-8 becomes U+FFFD. What no event has room for is not made into text."""
    return str(raw[:LONGEST_TEXT], "utf-8", "replace")


def parse(kind: Any, data: bytes, what: str) -> Any:
    """A message of one of the classes above. Raises Undecodable, naming `what`."""
    try:
        return kind.FromString(data)
    except ProtobufError as error:
        raise Undecodable(f"{what} is not valid protobuf") from error


def read_body(data: bytes) -> tuple[Any, bool]:
    """The Python value of a log body (str, bool, int, float, bytes, list, dict, None when it has none).

    Beside it, whether something of it was over a bound and is left out.
    """
    size = len(data) - 2
    if size >= 0 and data[0] == 0x0A:  # one text: its length takes one byte, or two
        if data[1] == size < 0x80:
            return str(data[2:], "utf-8", "replace"), False
        if 0x80 <= size - 1 < 0x4000 and data[1] == 0x80 | (size - 1) & 0x7F and data[2] == size - 1 >> 7:
            return str(data[3:], "utf-8", "replace"), False
    values = _Values(MOST_LEAVES)
    return values.value(parse(_AnyValue, data, "a log body"), 0), values.cut


@lru_cache(maxsize=4096)
def _key(raw: bytes) -> str | None:
    """The key of a map's member, None for one that is over a bound."""
    key = read_text(raw)
    return key if is_key(key) else None


class _Values:
    """Reads one AnyValue with all that is in it, up to `left` values. `cut`: something was left out."""

    __slots__ = ("cut", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.cut = False

    def value(self, message: Any, depth: int) -> Any:
        kind = message.WhichOneof("value")
        if kind == "text":
            return read_text(message.text)
        if kind == "array":
            return [self.value(item, depth + 1) for item in self._bounded(message.array.values, depth)]
        if kind == "map":
            found: dict[str, Any] = {}
            for item in self._bounded(message.map.values, depth):
                raw, inner = item.key, item.value
                key = _key(raw) if len(raw) <= _LONGEST_KNOWN_KEY else _key.__wrapped__(raw)
                if key is None:
                    self.cut = True
                elif text := inner.text:  # as nearly all: without a call in between
                    found[key] = str(text, "utf-8", "replace") if len(text) <= LONGEST_TEXT else read_text(text)
                else:
                    found[key] = self.value(inner, depth + 1)
            return found
        return None if kind is None else getattr(message, kind)

    def _bounded(self, items: Any, depth: int) -> Any:
        if depth >= DEEPEST_VALUE:
            raise Undecodable(f"a value is nested deeper than {DEEPEST_VALUE} levels")
        self.left -= len(items)
        if self.left < 0:
            self.cut = True
            items, self.left = items[: self.left], 0
        return items


def _mark(text: str) -> str:
    """What a text's content says about its use."""
    if may_hide_secrets(text) or may_show_a_key(text) or ("%3" in text and "?" in text):
        return LOOK_MARK
    if text == "graphql":
        return GRAPHQL_MARK
    return "" if text else EMPTY_MARK


def entry(key: str, value: Any) -> Entry:
    """The cached form of one attribute."""
    if value is None:
        return NOTHING
    if not is_key(key):
        return OVER
    if "\0" in key:
        key = key.replace("\0", "\ufffd")  # NUL separates key and mark
    if isinstance(value, str):
        mark = _mark(value)
        # Masks may change it, and a long text seldom comes twice: its JSON is made when it is needed.
        written = None if mark is LOOK_MARK and len(value) > _LONGEST_WRITTEN else fragment(key, value)
        return sys.intern(key + mark), value, written
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict | list) for item in value)):
        return sys.intern(key + TREE_MARK), value, None
    if isinstance(value, list):
        look = any(isinstance(item, bytes) or (isinstance(item, str) and _mark(item) == LOOK_MARK) for item in value)
        return sys.intern(key + (LOOK_LIST_MARK if look else LIST_MARK)), value, fragment(key, value)
    if isinstance(value, bytes):
        return sys.intern(key + LOOK_MARK), value, fragment(key, value)
    return sys.intern(key), value, fragment(key, value)


class AttributeCache(dict[bytes, Entry]):
    """KeyValue bytes -> Entry, for every KeyValue: what is not there is decoded, so indexing raises only Undecodable.

    Bounded by two generations: when the young one is full it becomes the old one, and entries still in use come back
    from there one by one. `dict.__getitem__` calls `__missing__` from C, so a hit costs no Python frame.
    """

    __slots__ = ("_cost", "_keys", "_limit", "_old")

    def __init__(self, limit_bytes: int = 12 << 20) -> None:
        """limit_bytes: estimated memory of one generation."""
        super().__init__()
        self._old: dict[bytes, Entry] = {}
        # Tag, length and key on the wire -> key, key with LOOK_MARK, JSON of the key with a colon, whether it is a
        # header's, which may hold a secret in the middle of a text without blanks.
        self._keys: dict[bytes, tuple[str, str, str, bool]] = {}
        self._cost = 0
        self._limit = limit_bytes

    def __missing__(self, data: bytes) -> Entry:
        found = self._old.get(data) or self._read(data)
        size = len(data)
        if size <= 1024:  # a long value seldom repeats, and would push out many that do
            self._cost += 4 * size + 320  # bytes, tuple, value and fragment objects, measured with sys.getsizeof
            if self._cost > self._limit:
                self._old = dict(self)
                self.clear()
                self._cost = 4 * size + 320
            self[data] = found
        return found

    def _read(self, data: bytes) -> Entry:
        """The entry of one KeyValue. Raises Undecodable.

        The forms that nearly all new attributes have are read without a message: a known key and one text or number,
        whose text is all that is to say when it is plain and shorter than 128 bytes.
        """
        size = len(data)
        if size > 6:
            end = data[1] + 2
            rest = size - end - 2
            known = self._keys.get(data[:end])
            if known is not None and 2 < rest < 0x80:
                if data.startswith(_TEXT_OF[rest], end):
                    raw = data[end + 4 :]
                    odd = raw.translate(None, _PLAIN)
                    if (not odd or not odd.translate(None, b":='@%>")) and raw != b"graphql":
                        text = raw.decode()
                        look = (odd or "--" in text) and (may_hide_secrets(text) or "%3" in text)
                        if not look and rest > 15:  # with two bytes before it
                            look = text[0] in _KEYS_BEGIN_WITH and text.startswith(KEYS_BEGIN)
                            look = look or ((known[3] or " " in text) and may_show_a_key(text))
                        return known[1] if look else known[0], text, f'{known[2]}"{text}"'
                elif (
                    data[end] == 0x12
                    and data[end + 1] == rest
                    and data[end + 2] == 0x18
                    and rest < 9
                    and data[-1] < 0x80
                ):
                    if rest == 4 and data[-3] > 0x7F < data[-2]:  # as ports and most sizes are
                        number = data[-3] - 0x80 | data[-2] - 0x80 << 7 | data[-1] << 14
                        return known[0], number, f"{known[2]}{number}"
                    number = shift = 0
                    for byte in data[end + 3 :]:
                        number |= (byte & 0x7F) << shift
                        shift += 7
                        if byte < 0x80 and shift < (rest - 1) * 7:
                            break  # more fields follow
                    else:
                        return known[0], number, f"{known[2]}{number}"
            elif known is not None and 0x83 < rest < 0x4000 and data.startswith(_long_text_of(rest), end):
                return entry(known[0], str(data[end + 6 :], "utf-8", "replace"))  # a stack trace, a statement
        message = parse(_KeyValue, data, "an attribute")
        key = read_text(message.key)
        if size > 6 and data[0] == 0x0A and data[1] < 0x80 and data[2 : data[1] + 2] == message.key:
            raw = data[: data[1] + 2]
            if raw not in self._keys:
                self._learn(raw, key)
        values = _Values(MOST_LEAVES)
        found = entry(key, values.value(message.value, 0))
        return OVER if values.cut else found

    def _learn(self, raw: bytes, key: str) -> None:
        """Remembers a key with what stands before it on the wire."""
        if not is_key(key):
            return
        key = sys.intern(key.replace("\0", "\ufffd"))  # NUL separates key and mark
        if len(self._keys) >= 4096:
            self._keys.clear()
        member = f"{orjson.dumps(key or '_').decode()}:"
        self._keys[raw] = key, sys.intern(key + LOOK_MARK), member, header_name(key) is not None
