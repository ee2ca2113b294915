"""Shapes: what can be decided once for all records that carry the same attribute keys.

Spans of one instrumentation carry the same keys, in the same order. A Shape is made once for such a tuple
of shape keys (`wire.Entry`); plans read values by index from then on, and metadata is made by joining
cached JSON fragments.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

import orjson

from mapping.dialects.of_spans import NO_READING, SpanReading
from mapping.masks.of_shape import Masking
from mapping.masks.prompts import holds_content, holds_settings, settings_shown, without_content
from mapping.masks.redactor import MASK
from mapping.rules.metadata import MAX_KEYS, flat_text, fragment, renamed

ABSENT: Final = -1  # index of an absent attribute: records end with an entry whose value is None

# Every key that mapping itself puts into metadata; an attribute that is, or lies on the way to, one of them
# takes the slower way that sorts such clashes out.
OWN_KEYS: Final = frozenset(
    (
        "action.conversation_id",
        "action.destination",
        "action.invocation_id",
        "action.message_id",
        "action.model",
        "action.namespace",
        "action.operation",
        "action.status",
        "action.streaming",
        "action.system",
        "action.task",
        "action.tokens.cache_creation",
        "action.tokens.cache_read",
        "action.tokens.input",
        "action.tokens.output",
        "action.tokens.reasoning",
        "action.trigger",
        "attributes_dropped",
        "error.type",
        "error.message",
        "error.exception_type",
        "error.stacktrace",
        "uri_host_guessed",
        "uri_from_route",
        "query_params_dropped",
        "body_truncated",
        "body_unreadable",
        "unreadable.request.reason",
        "unreadable.request.bytes",
        "unreadable.response.reason",
        "unreadable.response.bytes",
        "unreadable.log.reason",
        "unreadable.log.bytes",
        "remote_parent",
        "retry",
        "source",
        "timings.upstream_ms",
        "timings.queue_ms",
        "result.cache.hit",
        "result.cache.status",
        "quota.bucket",
        "quota.consumed",
        "quota.limit",
        "quota.remaining",
        "flags.experiment",
        "flags.variant",
        "network.pop",
        "network.asn",
    )
)
REMOTE_FLAG: Final = 0x200  # span flags: the parent is in another process (trace.proto)
REMOTE_PARENT: Final[dict[str, Any]] = {"remote_parent": True}  # shared: most SERVER spans add just this
_ROOM: Final = 24  # more keys than any record adds of its own
_ON_THE_WAY: Final = OWN_KEYS | {key[:at] for key in OWN_KEYS for at in range(len(key)) if key[at] == "."}


class Shape:
    """Indices of the attributes in a tuple of shape keys."""

    __slots__ = ("at", "empty", "graphql", "look", "many", "reading", "sent", "trees")

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.at: dict[str, int] = {}  # key -> index of its last occurrence, for values that are not empty
        self.empty: dict[str, int] = {}
        self.trees: set[int] = set()  # maps, and arrays that hold maps
        self.many: set[int] = set()  # all arrays and maps
        self.look: set[int] = set()  # texts that may hold JSON or a query
        self.graphql: set[str] = set()  # keys whose value is "graphql"
        for index, marked in enumerate(keys):
            key, separator, mark = marked.partition("\0")
            if separator and mark in ("", "null"):
                if mark == "":
                    self.empty[key] = index
                continue
            self.at[key] = index
            if mark == "graphql":
                self.graphql.add(key)
                continue
            if mark in ("look", "looklist"):
                self.look.add(index)
            if mark in ("list", "looklist", "tree"):
                self.many.add(index)
            if mark == "tree":
                self.trees.add(index)
        self.sent = self.at  # under the sender's own names
        self.reading = NO_READING

    def understand(self, reading: SpanReading) -> None:
        """From here on `at` also has what dialects name, under the names of the semantic conventions."""
        self.reading = reading
        if reading.spoken or reading.ignored:
            self.at = {key: index for key, index in self.sent.items() if key not in reading.ignored}
            self.at |= {name: self.sent[key] for name, key in reading.spoken.items()}

    def without(self, hides: Callable[[str], bool]) -> Shape:
        """This shape without the attributes that are hidden; itself when there are none."""
        spoken = self.reading.spoken
        hidden = {key for key in self.at if hides(f"attr:{key}") or hides(f"attr:{spoken.get(key, key)}")}
        if not hidden:
            return self
        open_shape = copy.copy(self)
        open_shape.at = {key: index for key, index in self.at.items() if key not in hidden}
        return open_shape

    def first(self, names: Iterable[str], *, scalar: bool = True) -> int:
        """Index of the first of `names` that exists and is not empty, else ABSENT. scalar: arrays do not count."""
        at = self.at
        for name in names:
            if name in at and not (scalar and at[name] in self.many):
                return at[name]
        return ABSENT

    def has(self, *names: str) -> bool:
        return any(name in self.at for name in names)


class MetadataPlan:
    """How the metadata text of records of one shape is made.

    The usual way joins the fragments that decoding left beside each value. Shapes with clashing keys, maps
    or too many keys sort their pairs out for every record (`flat_text`).
    """

    __slots__ = (
        "_asks",
        "_fixed",
        "_left_out",
        "_looked_at",
        "_masks",
        "_numbers",
        "_of_model",
        "_pairs",
        "_settings",
        "_slow",
        "_slow_with_extra",
        "_tail",
        "is_plain",
        "joins",
        "plain",
    )

    def __init__(self, shape: Shape, consumed: Collection[str], masks: Masking, *, of_model: bool = False) -> None:
        """of_model: something else than these keys says that the record is of a model."""
        self._masks = masks
        self._fixed: dict[str, str] = {}  # what stands instead of values that are masked by their key
        self._pairs: list[tuple[str, int]] = []
        self._looked_at: list[tuple[str, int]] = []
        self._left_out = 0
        self._of_model = masks.drops_content and (of_model or masks.is_of_a_model(shape.at))
        self._settings: list[tuple[str, int]] = []  # of a model's call, as JSON, with content between them
        self._numbers: list[tuple[str, int]] = []  # under names of a prompt or an answer, where only numbers stay
        plain: list[int] = []
        consumed = {*consumed, *(key for name, key in shape.reading.spoken.items() if name in consumed)}
        for key, index in (shape.sent | shape.empty).items():
            if key in consumed:
                continue
            if len(self._pairs) + len(self._fixed) > MAX_KEYS + _ROOM:
                self._left_out += 1  # not even looked at: nobody will see more than MAX_KEYS
                continue
            verdict = masks.verdict(key)
            if verdict == "drop":
                continue
            if verdict == "mask":
                self._fixed[key] = MASK
                continue
            if masks.drops_body(key):
                continue
            if self._of_model and holds_content(key):
                self._numbers.append((key, index))
                continue
            if self._of_model and index not in shape.trees and index not in shape.many and holds_settings(key):
                self._settings.append((key, index))
                continue
            self._pairs.append((key, index))
            bodies_inside = masks.dropped_bodies and (index in shape.look or index in shape.trees)
            if (
                bodies_inside
                or verdict == "look"
                or masks.looks_inside_text
                or index in shape.look
                or index in shape.many
            ):
                self._looked_at.append((key, index))
            else:
                plain.append(index)
        names = [key for key, _ in self._pairs + self._numbers + self._settings] + list(self._fixed)
        self._slow = (
            len(names) > MAX_KEYS - _ROOM
            or bool(renamed(names))
            or any(index in shape.trees for _, index in self._looked_at)
        )
        self._slow_with_extra = self._slow or any(_meets_own_key(key) for key in names)
        # A slice gives a tuple of one, as several indices do; a lone index would not.
        wanted: list[Any] = plain
        if len(plain) < 2:
            wanted = [slice(plain[0], plain[0] + 1) if plain else slice(0)]
        self.plain: Callable[[tuple[Any, ...]], tuple[str, ...]] = itemgetter(*wanted)
        self._tail = orjson.dumps(self._fixed).decode()[1:-1]
        # Nothing but fragments: what `text` gives without `extra` is the `plain` ones, joined.
        self._asks = bool(self._looked_at or self._numbers or self._settings)  # each value
        self.is_plain = not (self._slow or self._asks or self._tail)
        self.joins = bool(plain) and not (self._slow_with_extra or self._asks)

    def text(
        self, values: tuple[Any, ...], fragments: tuple[str | None, ...], extra: dict[str, Any] | None = None
    ) -> str:
        """The metadata of one record. extra: members that mapping adds, all of them among OWN_KEYS."""
        if self._slow or (extra and self._slow_with_extra):
            return self._sorted_out(values, extra or {})
        body = ",".join(self.plain(fragments))
        if self._asks:
            for key, index in self._looked_at:
                value = self._masks.value(key, values[index])
                if value is not None:
                    member = (fragments[index] if value is values[index] else None) or fragment(key, value)
                    body = f"{body},{member}" if body else member
            for key, index in self._numbers:
                if isinstance(values[index], bool | int | float):
                    member = fragments[index] or fragment(key, values[index])
                    body = f"{body},{member}" if body else member
            for key, index in self._settings:
                value = self._shown_settings(key, values[index])
                if value is not None:
                    body = f"{body},{fragment(key, value)}" if body else fragment(key, value)
        if self._tail:
            body = f"{body},{self._tail}" if body else self._tail
        if extra:
            added = '"remote_parent":true' if extra is REMOTE_PARENT else orjson.dumps(extra).decode()[1:-1]
            body = f"{body},{added}" if body else added
        return f"{{{body}}}"

    def _shown_settings(self, key: str, value: Any) -> Any:
        shown = settings_shown(value) if isinstance(value, str) else value
        return None if shown is None else self._masks.value(key, shown)

    def joined(self, fragments: Sequence[tuple[str | None, ...]], remote: Sequence[int]) -> list[str]:
        """What `text` gives for many records, where `joins`. remote: not 0 where REMOTE_PARENT is added."""
        bodies: Iterable[str] = map(",".join, map(self.plain, fragments))
        added = [f",{part}" for part in (self._tail, '"remote_parent":true') if part]
        here, away = f"{''.join(added[:-1])}}}", f"{''.join(added)}}}"
        return [f"{{{body}{away if is_away else here}" for body, is_away in zip(bodies, remote, strict=True)]

    def _sorted_out(self, values: tuple[Any, ...], extra: dict[str, Any]) -> str:
        masks = self._masks
        looked_at = set(self._looked_at)
        pairs: list[tuple[str, Any]] = list(extra.items())
        for pair in self._pairs:
            key, index = pair
            if key not in extra:
                value = without_content(values[index]) if self._of_model else values[index]
                pairs.append((key, masks.value(key, value) if pair in looked_at else value))
        shown = ((key, self._shown_settings(key, values[at])) for key, at in self._settings if key not in extra)
        pairs += [(key, value) for key, value in shown if value is not None]
        pairs += [(key, values[at]) for key, at in self._numbers if isinstance(values[at], bool | int | float)]
        pairs.extend(item for item in self._fixed.items() if item[0] not in extra)
        return flat_text(pairs, self._left_out)


def _meets_own_key(key: str) -> bool:
    """True for a key that is one of OWN_KEYS, leads to one, or lies below one."""
    if key in _ON_THE_WAY:
        return True
    at = key.find(".")
    while at >= 0:
        if key[:at] in OWN_KEYS:
            return True
        at = key.find(".", at + 1)
    return False
