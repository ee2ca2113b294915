"""Which keys of a record mean what, by the dialects that recognise it: worked out once for a set of keys.

Cost: proportional to the keys of the record times the names in the tables; bounded by MAX_KEYS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from mapping.dialects.table import FIELDS, GENERIC, Dialect, Unit, Vocabulary, builtin
from mapping.rules.names import LONGEST_KEY, fold, split_name

MAX_KEYS: Final = 512  # of one record; more are not looked at, as no access log has so many
_DEEPEST: Final = 2  # objects above a name, beyond those that belong to it

# Names of durations that state their unit: `elapsed_ms`, `latencyMicros`, `duration_in_seconds`.
_DURATION: Final = re.compile(
    r"(?:(?:request|response|total|http|wall|server)?(?:duration|latency|elapsed|responsetime|requesttime|processingtime"
    r"|processtime|totaltime|timetaken|runtime|walltime|elapsedtime|executiontime|took|taken))(?:in)?"
    r"(?:(?P<ns>ns|nsecs?|nanos?|nanoseconds?)|(?P<us>us|usecs?|micros?|microseconds?|µs)|(?P<ms>ms|msecs?|millis?"
    r"|milliseconds?)|(?P<s>s|secs?|seconds?))"
).fullmatch
_LAST_OF_UNITS: Final = frozenset("sSdDcCoOiI")
_DURATION_ABOVE: Final = frozenset(("request", "response", "req", "res", "http", "timing", "timings"))

# What proxies and their log formats put before the name of a request's header: `req_x_user_id`.
_BEFORE_HEADERS: Final = ("", "request", "req", "requestheader", "reqheader")

_UNITS: Final[tuple[Unit, ...]] = ("ns", "us", "ms", "s")

Header = tuple[str, str, bool]  # key, header name in lower case, of the request?


class Reading(NamedTuple):
    """What the keys of a record mean, in order of precedence."""

    dialects: tuple[str, ...]  # that recognise it, without the generic one
    keys: Mapping[str, tuple[str, ...]]  # field of a Vocabulary -> keys
    durations: tuple[tuple[str, Unit], ...]
    headers: tuple[Header, ...]
    methods: Mapping[int, str]
    ignored: frozenset[str]  # keys that mean nothing of what they seem to
    in_attributes: bool
    said_by: Mapping[tuple[str, str], str]  # (field, key) -> dialect

    def of(self, field: str) -> tuple[str, ...]:
        return self.keys.get(field, ())


class _Known(NamedTuple):
    """A sign with its names folded."""

    keys: frozenset[str]
    scope: str
    begins: tuple[str, ...]
    ends: tuple[str, ...]

    def fits(self, places: Mapping[str, object], names: list[str], scope: str) -> bool:
        """names: of the record, folded, in its order."""
        return (
            self.scope in ("", scope)
            and all(key in places for key in self.keys)
            and (not self.begins or tuple(names[: len(self.begins)]) == self.begins)
            and (not self.ends or tuple(names[-len(self.ends) :]) == self.ends)
        )


class _Prepared(NamedTuple):
    """A vocabulary with its names folded."""

    name: str
    words: Vocabulary
    signs: tuple[_Known, ...]
    below: frozenset[str]
    fields: tuple[tuple[str, tuple[str, ...]], ...]
    all_names: frozenset[str]
    durations: tuple[tuple[str, str, Unit], ...]  # folded, as written
    prefixes: dict[str, bool]  # beginnings of keys that hold a header, in lower case -> of the request?


class _Place(NamedTuple):
    """A key as it may be named: without the objects above it that only hold it."""

    key: str
    rest: str  # as written
    depth: int


class Dialects:
    """The tables of one mapper."""

    def __init__(
        self,
        own: Mapping[str, Dialect] | None = None,
        *,
        headers: Iterable[str] = (),
    ) -> None:
        """own: of the settings, each in place of a built-in one of its name. headers: that identity asks for."""
        tables = {**builtin(), **(own or {})}
        order = [*(own or ()), *(name for name in tables if name not in (own or {}))]
        prepared = {name: _prepared(name, tables[name].logs) for name in order}
        self._generic = prepared.pop(GENERIC)
        self._rank = {name: position for position, name in enumerate(own or ())}
        self._signs: dict[str, list[tuple[_Prepared, _Known]]] = {}  # by one of their keys
        for one in prepared.values():
            for sign in one.signs:
                self._signs.setdefault(min(sign.keys, default=""), []).append((one, sign))
        self._wanted: dict[str, str] = {}
        for header in headers:
            name = fold(header)
            self._wanted[f"http{name}"] = header
            if "-" in header or header == "authorization":
                self._wanted |= {f"{prefix}{name}": header for prefix in _BEFORE_HEADERS}

    def reading(self, names: Iterable[str], scope: str = "") -> Reading:
        """What keys of a flattened record mean. scope: name of the instrumentation scope."""
        keys = [name for name in names if name and len(name) <= LONGEST_KEY][:MAX_KEYS]
        places = _places(keys, self._generic.below)
        recognised = self._recognised(places, [_fold(key) for key in keys], scope)
        draft = _Draft(places, self._generic.below)
        for one in recognised:
            draft.add(one, keys, exclusive=True)
        draft.add(self._generic, keys, exclusive=False)
        draft.add_durations(keys, self._generic.below)
        draft.add_wanted(keys, self._wanted)
        return Reading(
            tuple(one.name for one in recognised),
            {field: tuple(found) for field, found in draft.found.items()},
            tuple(draft.durations.items()),
            tuple(draft.headers.values()),
            draft.methods,
            frozenset(draft.ignored),
            any(one.words.in_attributes for one in recognised),
            draft.said_by,
        )

    def _recognised(self, places: dict[str, list[_Place]], names: list[str], scope: str) -> list[_Prepared]:
        """The dialects of a record: those of the settings first, then those of which more keys are there."""
        best: dict[str, tuple[int, int, str, _Prepared]] = {}
        for name in (*self._signs.keys() & places.keys(), ""):
            for one, sign in self._signs.get(name, ()):
                if sign.fits(places, names, scope):
                    found = (self._rank.get(one.name, len(self._rank)), -len(sign.keys), one.name, one)
                    best[one.name] = min(best.get(one.name, found), found, key=lambda known: known[:3])
        return [found[3] for found in sorted(best.values(), key=lambda known: known[:3])]


class _Draft:
    """A Reading in the making."""

    def __init__(self, places: dict[str, list[_Place]], below: frozenset[str]) -> None:
        self._places = places
        self._below = below
        self._claimed: dict[str, set[str]] = {}  # key -> fields, of those that a recognised dialect names
        self.found: dict[str, list[str]] = {}
        self.durations: dict[str, Unit] = {}
        self.headers: dict[str, Header] = {}
        self.methods: dict[int, str] = {}
        self.ignored: set[str] = set()
        self.said_by: dict[tuple[str, str], str] = {}

    def add(self, one: _Prepared, keys: list[str], *, exclusive: bool) -> None:
        """Adds what one dialect says. exclusive: what it names means nothing else to those that come later."""
        places = _places(keys, one.below | self._below) if one.below - self._below else self._places
        claims: dict[str, set[str]] = {}
        here = one.all_names.intersection(places)
        for field, names in one.fields if here else ():
            if here.isdisjoint(names):
                continue
            found = sorted(
                (place.depth, rank, place.key)
                for rank, name in enumerate(names)
                if name in here
                for place in places[name]
            )
            for _, _, key in found:
                if field not in self._claimed.get(key, (field,)):
                    continue
                claims.setdefault(key, set()).add(field)
                if field == "ignored":
                    self.ignored.add(key)
                elif key not in (known := self.found.setdefault(field, [])):
                    known.append(key)
                    self.said_by[field, key] = one.name
        self._time(one, places, claims)
        self._headers(one, places)
        self.methods = {**one.words.methods, **self.methods}
        if exclusive:
            for key, fields in claims.items():
                self._claimed.setdefault(key, fields)

    def _time(self, one: _Prepared, places: dict[str, list[_Place]], claims: dict[str, set[str]]) -> None:
        for name, wanted, unit in one.durations:
            for place in sorted(places.get(name, ()), key=lambda place: place.depth):
                exact = unit == "text" or wanted in (place.rest, place.key)
                if not exact or "duration" not in self._claimed.get(place.key, ("duration",)):
                    continue
                claims.setdefault(place.key, set()).add("duration")
                if place.key not in self.durations:
                    self.durations[place.key] = unit
                    self.said_by["duration", place.key] = one.name

    def _headers(self, one: _Prepared, places: dict[str, list[_Place]]) -> None:
        if not one.prefixes:
            return
        beginnings = tuple(one.prefixes)
        for found in places.values():
            for place in found:
                lower = place.rest.lower()
                if not lower.startswith(beginnings) or place.key in self.headers:
                    continue
                prefix = max((prefix for prefix in beginnings if lower.startswith(prefix)), key=len)
                if len(lower) > len(prefix):
                    self.headers[place.key] = (place.key, _header(lower[len(prefix) :]), one.prefixes[prefix])

    def add_durations(self, keys: list[str], below: frozenset[str]) -> None:
        """Keys whose own name states the unit."""
        for key in keys:
            if key[-1] not in _LAST_OF_UNITS:
                continue
            above, last = split_name(key)
            found = _DURATION(last)
            if not found or key in self.durations or "duration" not in self._claimed.get(key, ("duration",)):
                continue
            if all(part in below or part in _DURATION_ABOVE for part in above):
                self.durations[key] = next(unit for unit in _UNITS if found[unit])
                self.said_by["duration", key] = GENERIC

    def add_wanted(self, keys: list[str], wanted: Mapping[str, str]) -> None:
        """Headers that identity asks for, under the names that nginx, CGI and proxies give them."""
        names = {name for _, name, of_request in self.headers.values() if of_request}
        for key in keys if wanted else ():
            header = wanted.get(fold(key))
            if header and header not in names and key not in self.headers:
                self.headers[key] = (key, header, True)


def _prepared(name: str, words: Vocabulary) -> _Prepared:
    generic = name == GENERIC
    fields = []
    for field in FIELDS:
        if field in ("request_headers", "response_headers"):
            continue
        names = [_fold(one) for one in getattr(words, field)]
        if generic:  # `http_request_method` is `http.request.method`
            names += [one.replace(".", "") for one in names if "." in one]
        if names:
            fields.append((field, tuple(dict.fromkeys(names))))
    signs = tuple(
        _Known(frozenset(_folded(sign.keys)), sign.scope, _folded(sign.begins), _folded(sign.ends))
        for sign in words.known_by
    )
    below = frozenset(map(fold, words.below))
    every = frozenset(one for _, names in fields for one in names)
    durations = tuple((_fold(one), one, unit) for one, unit in words.duration.items())
    prefixes = {prefix.lower(): True for prefix in words.request_headers}
    prefixes |= {prefix.lower(): False for prefix in words.response_headers}
    return _Prepared(name, words, signs, below, tuple(fields), every, durations, prefixes)


def _folded(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(_fold, names))


def _fold(name: str) -> str:
    return ".".join(map(fold, name.split(".")))


def _places(keys: Iterable[str], below: frozenset[str]) -> dict[str, list[_Place]]:
    """Every folded name under which a key may be asked for, with the keys that have it."""
    found: dict[str, list[_Place]] = {}
    for key in keys:
        if "." not in key:
            found.setdefault(fold(key), []).append(_Place(key, key, 0))
            continue
        parts = key.split(".")
        for depth in range(min(_DEEPEST, len(parts) - 1) + 1):
            if depth and fold(parts[depth - 1]) not in below:
                break
            rest = ".".join(parts[depth:])
            found.setdefault(_fold(rest), []).append(_Place(key, rest, depth))
    return found


def _header(name: str) -> str:
    return name if "-" in name else name.replace("_", "-")
