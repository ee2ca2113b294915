"""Plans of log records: what is known of all records with the same keys of attributes and body is found out once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mapping.bounds import CUT
from mapping.context import Context
from mapping.dialects.lines import Lines
from mapping.dialects.reading import Dialects, Reading
from mapping.dialects.table import builtin
from mapping.logs.http import HttpKeys
from mapping.logs.ids import NO_KEYS, IdKeys, id_keys
from mapping.logs.json_text import LINES_OF_SHIPPERS
from mapping.logs.record import LogKeys, log_keys
from mapping.memory import Memory
from mapping.rules import extras
from mapping.rules.call import VERSION_ATTRIBUTES
from mapping.rules.identity import Resolver
from mapping.rules.names import CONTEXTS, LONGEST_KEY, fold
from mapping.sampling.stated import WEIGHTS
from mapping.shape import MetadataPlan, Shape

CONSUMED: Final = frozenset(
    (
        "exception.type",
        "exception.message",
        "exception.stacktrace",
        "sampling.threshold",
        "sampling.randomness",
    )
)
_VERSIONS: Final = frozenset(VERSION_ATTRIBUTES)
_STATED: Final = frozenset(("sampling.threshold", "sampling.randomness"))
_LABELS_OF_GOOGLE: Final = "logging.googleapis.com/labels."
_LONGEST_PLAN: Final = 32_768  # characters of all keys of a record whose plan is remembered


@dataclass(frozen=True, slots=True)  # its fields are read several times a record: a quarter of the time of a tuple's
class LogPlan:
    """What is known of all log records of one shape: attribute keys, and keys of the flattened body."""

    names: tuple[str, ...]  # of the attributes
    nulls: bool  # some attributes have no value
    plain: bool  # no attribute needs a mask, whatever its value
    metadata: MetadataPlan
    of_model: bool  # prompts and answers are left out
    keys: LogKeys
    line: str  # the key of the body under which the application's own line may stand in plain text, "" for none
    shipped: bool  # it is nothing but that line; under other keys a message may stand as well
    inside: tuple[str, ...]  # attributes to look into: all where they may tell of a call, else objects of loggers
    resolver: Resolver  # of whom the record names
    request_ids: tuple[tuple[bool, str], ...]  # in the body? under which key
    weights: tuple[str, ...]  # attributes that state a weight
    stated: bool  # attributes state what upstream sampling did
    over: bool  # attributes were over a bound
    version: bool  # an attribute states the version of the API
    extras: bool  # attributes or the body tell more than metadata as it is
    hidden: frozenset[str]  # attributes and keys of the body that the settings hide: no column is read from them
    open_keys: LogKeys  # what the others say
    told_by_fields: bool  # the keys tell of no call, event or failure, so the record's own fields say what it is
    ids: bool  # attributes or the body may name trace and span
    reads_attributes: bool  # something is read from attributes beside their metadata

    def attributes(self, values: Sequence[Any]) -> dict[str, Any]:
        """The attributes of one record. values: theirs, and one more for no attribute."""
        attributes = dict(zip(self.names, values))  # noqa: B905
        return {key: value for key, value in attributes.items() if value is not None} if self.nulls else attributes


class LogPlans:
    """The plans of one mapper, each made when the first record of its shape comes."""

    def __init__(self, context: Context, *, http_from_attributes: bool) -> None:
        self._context = context
        self._http_from_attributes = http_from_attributes
        self._dialects = Dialects(context.dialects, headers=context.resolver.request_headers)
        own = [dialect.logs.lines for dialect in context.dialects.values()]
        known = sorted((line for dialect in builtin().values() for line in dialect.logs.lines), key=len, reverse=True)
        self.lines = Lines((*(line for lines in own for line in lines), *known))
        self._metadata: Memory[MetadataPlan] = Memory(lambda keys: MetadataPlan(Shape(keys), CONSUMED, context.masks))
        # Metadata of records of models, by keys: prompts and answers are left out.
        self.of_models: Memory[MetadataPlan] = Memory(
            lambda keys: MetadataPlan(Shape(keys), CONSUMED, context.masks, of_model=True)
        )
        # By keys of what is in the objects of loggers among the attributes: those that may name trace and span.
        self.ids_inside: Memory[IdKeys] = Memory(id_keys, 1024, longest=_LONGEST_PLAN)
        # By keys of the attributes, keys of the flattened body, and scope.
        self.of: Memory[LogPlan] = Memory(self._plan, 1024, longest=_LONGEST_PLAN)

    def _plan(self, key: tuple[tuple[str, ...], tuple[str, ...], str]) -> LogPlan:
        marked, body, scope = key
        parts = [name.partition("\0") for name in marked[:-1]]
        names = tuple(name for name, _, _ in parts)
        keys = log_keys(names, body, self._dialects, scope)
        http = keys.http or keys.attribute_http
        headers = [header for _, header, _ in http.headers] if http is not None else []
        full = self._context.resolver
        # An exchange that attributes describe may bring any header.
        resolver = full if self._http_from_attributes else full.for_keys(names, body, headers)
        for reading, there in ((keys.attribute_reading, names), (keys.reading, body)):
            resolver = resolver.speaking(self._callers(reading, there), reading.ignored)
        places = ((False, keys.attribute_reading), (True, keys.reading))
        request_ids = tuple((of_body, name) for of_body, said in places for name in said.of("request_id"))
        weights, stated = tuple(name for name in WEIGHTS if name in names), not _STATED.isdisjoint(names)
        hidden, drops_bodies = self._hidden(names, body, http), bool(self._context.masks.dropped_bodies)
        told = bool(
            http is not None or keys.event_names or keys.body_event or keys.exception or self._http_from_attributes
        )
        more = keys.attribute_ids != NO_KEYS or keys.attribute_levels or weights or stated or hidden or drops_bodies
        return LogPlan(
            names=names,
            nulls=any(mark == "null" for _, _, mark in parts),
            plain=not self._context.masks.looks_inside_text
            and not any(mark in ("look", "list", "looklist", "tree") for _, _, mark in parts)
            and all(self._context.masks.verdict(name) == "keep" for name in names),
            metadata=self._metadata[marked],
            of_model=self._context.masks.drops_content and self._context.masks.is_of_a_model((*names, *body)),
            keys=keys,
            line=(line := keys.line if keys.http is None else ""),
            inside=self._inside(keys, parts),
            shipped=line in LINES_OF_SHIPPERS,
            resolver=resolver,
            request_ids=request_ids,
            weights=weights,
            stated=stated,
            over=CUT in names,
            hidden=hidden,
            open_keys=log_keys(
                [name for name in names if name not in hidden],
                [name for name in body if name not in hidden],
                self._dialects,
                scope,
            )
            if hidden
            else keys,
            version=not _VERSIONS.isdisjoint(names),
            extras=not (extras.ATTRIBUTES | extras.LOG_FIELDS).isdisjoint((*names, *body)),
            told_by_fields=not told,
            ids=keys.attribute_ids != NO_KEYS or keys.body_ids != NO_KEYS,
            reads_attributes=bool(
                told or more or not resolver.silent or any(not of_body for of_body, _ in request_ids)
            ),
        )

    def _inside(self, keys: LogKeys, parts: Sequence[tuple[str, str, str]]) -> tuple[str, ...]:
        trees = [name for name, _, mark in parts if mark == "tree"]
        if keys.http is None and trees and keys.attribute_reading.in_attributes:
            return tuple(name for name, _, _ in parts)
        return tuple(
            name for name in trees if len(name) <= LONGEST_KEY and CONTEXTS.issuperset(map(fold, name.split(".")))
        )

    def _hidden(self, names: Iterable[str], body: Iterable[str], http: HttpKeys | None) -> frozenset[str]:
        hides = self._context.masks.hides
        if not self._context.masks.custom:
            return frozenset()
        found = {name for name in names if hides(f"attr:{name}")} | {
            name for name in body if hides(f"body:{name}") or hides(f"attr:{name}")
        }
        for key, header, of_request in http.headers if http is not None else ():
            if hides(f"{'header' if of_request else 'response_header'}:{header}"):
                found.add(key)
        return frozenset(found)

    def _callers(self, reading: Reading, there: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
        """Keys that name the caller: those of the dialects, and those of the settings in any case and spelling, also
        below what loggers fill (`UserID`, `mdc.user_id`).
        """
        identity, said = self._context.identity, dict(reading.keys)
        for field, names in (("user", identity.user.attributes), ("company", identity.company.attributes)):
            wanted = frozenset(map(_spelled, names))
            more = (name for name in there if name not in reading.ignored and _spelled(name) in wanted)
            said[field] = (*said.get(field, ()), *more)
        return said


def _spelled(name: str) -> str:
    """The key folded, without the objects in which loggers keep their context."""
    parts = name.removeprefix(_LABELS_OF_GOOGLE).split(".") if len(name) <= LONGEST_KEY else ()
    parts = [fold(part) for part in parts]
    while len(parts) > 1 and parts[0] in CONTEXTS:
        parts = parts[1:]
    return ".".join(parts)
