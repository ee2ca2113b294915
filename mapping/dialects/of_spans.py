"""Which attributes of a span mean what, by the dialects that recognise it: worked out once for a shape.

Cost: proportional to the names in the tables, whatever the span; paid when a plan is made, never for a span.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from mapping.dialects.table import SPAN_FIELDS, Dialect, Sign, builtin

# Field of a SpanVocabulary -> the names of the semantic conventions for it. What a dialect names is read as the first
# of them, if none of them is there.
CONVENTIONS: Final[dict[str, tuple[str, ...]]] = {
    "method": ("http.request.method", "http.method"),
    "status": ("http.response.status_code", "http.status_code"),
    "url": ("url.full", "http.url"),
    "path": ("url.path", "http.target"),
    "query": ("url.query",),
    "route": ("http.route",),
    "scheme": ("url.scheme", "http.scheme"),
    "host_header": ("http.host", "server.address"),
    "host": ("server.address", "http.host", "net.host.name"),
    "port": ("server.port", "net.host.port"),
    "ip": ("client.address", "http.client_ip"),
    "user_agent": ("user_agent.original", "http.user_agent"),
    "grpc_status": ("rpc.grpc.status_code",),
    "error": ("error.type",),
    "request_id": ("request.id",),
}
CALLERS: Final = ("user", "company", "session", "client", "application", "plan", "subscription", "key")


class SpanReading(NamedTuple):
    """What the attributes of a shape mean."""

    dialects: tuple[str, ...]  # that recognise it
    spoken: Mapping[str, str]  # name of the conventions -> attribute that is read as it
    callers: Mapping[str, tuple[str, ...]]  # field of CALLERS -> attributes
    ignored: frozenset[str]
    incoming: bool  # an internal span with a method is a call that was served
    plumbing: str  # dialect that says so, "" for none
    shares_ids: bool  # a call that was made may have the span id of its server's
    status_events: tuple[tuple[str, str], ...]  # name of an event, its attribute
    said_by: Mapping[str, str]  # attribute -> dialect
    family: str = ""  # of spans whose attributes tell of none
    given_up: frozenset[str] = frozenset()  # values of the status that say that the caller had gone


NO_READING: Final = SpanReading((), {}, {}, frozenset(), False, "", False, (), {})


class SpanDialects:
    """The tables of one mapper, for spans."""

    def __init__(self, own: Mapping[str, Dialect] | None = None) -> None:
        """own: of the settings, each in place of a built-in one of its name."""
        tables = {**builtin(), **(own or {})}
        order = [*(own or ()), *(name for name in tables if name not in (own or {}))]
        self._tables = [(name, tables[name].spans) for name in order]
        self._tables = [(name, words) for name, words in self._tables if words.known_by or words.plumbing]
        self._first = len(own or ())
        # Names of instrumentation scopes that matter: spans of all others are told by their attributes alone.
        self.scopes = frozenset(
            sign.scope for _, words in self._tables for sign in (*words.known_by, *words.plumbing) if sign.scope
        )

    def reading(self, keys: Collection[str], scope: str = "") -> SpanReading:
        """What attributes mean together. scope: name of the instrumentation scope, one of `scopes`, or empty."""
        ranked = []
        plumbing = ""
        for position, (name, words) in enumerate(self._tables):
            strength = _strength(words.known_by, keys, scope)
            if strength:
                ranked.append((min(position, self._first), -strength, name, words))
            if not plumbing and _strength(words.plumbing, keys, scope):
                plumbing = name
        if not ranked:
            return NO_READING._replace(plumbing=plumbing) if plumbing else NO_READING
        ranked.sort(key=lambda found: found[:3])
        ignored = frozenset(one for _, _, _, words in ranked for one in words.ignored)
        spoken: dict[str, str] = {}
        callers: dict[str, tuple[str, ...]] = {}
        said_by: dict[str, str] = {}
        for _, _, name, words in ranked:
            for field in SPAN_FIELDS:
                there = tuple(one for one in getattr(words, field) if one in keys)
                if not there or field == "ignored":
                    continue
                if field in CALLERS:
                    callers[field] = (*callers.get(field, ()), *there)
                else:
                    names = CONVENTIONS[field]
                    if names[0] in spoken or any(one in keys and one not in ignored for one in names):
                        continue
                    spoken[names[0]] = there[0]
                for one in there:
                    said_by.setdefault(one, name)
        return SpanReading(
            tuple(name for _, _, name, _ in ranked),
            spoken,
            callers,
            ignored,
            any(words.incoming for _, _, _, words in ranked),
            plumbing,
            any(key in keys for _, _, _, words in ranked for key in words.shares_ids),
            tuple(event for _, _, _, words in ranked for event in words.status_events.items()),
            said_by,
            next((words.family for _, _, _, words in ranked if words.family), ""),
            frozenset(one for _, _, _, words in ranked for one in words.given_up),
        )


def _strength(signs: tuple[Sign, ...], keys: Collection[str], scope: str) -> int:
    """How much a span has of the sign that it has most of, 0 when it has none."""
    return max(
        (
            len(sign.keys) + bool(sign.scope)
            for sign in signs
            if sign.scope in ("", scope) and all(key in keys for key in sign.keys)
        ),
        default=0,
    )
