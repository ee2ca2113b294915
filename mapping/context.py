"""What all plans of one mapper share: settings made ready, and bounded memories of what repeats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from mapping.bounds import held
from mapping.dialects.of_spans import SpanDialects
from mapping.event import EMPTY_HEADERS, Decision
from mapping.logs.record import LogRecord
from mapping.masks.of_shape import Masking, without_values
from mapping.masks.prompts import without_content
from mapping.masks.redactor import MASK
from mapping.masks.shapes import may_show_a_key
from mapping.masks.text import may_hide_secrets
from mapping.memory import Memory
from mapping.otlp.records import SpanEvent, SpanLink, SpanRecord
from mapping.otlp.wire import read_text
from mapping.rules import address, bodies, route, route_spelling, taxonomy, uri
from mapping.rules.codings import Unread
from mapping.rules.identity import Identity, Resolver, identifier
from mapping.rules.metadata import json_text
from mapping.rules.null_words import is_absent
from mapping.rules.route import RouteBook
from mapping.settings import MappingSettings
from mapping.spans.captured import event_body
from mapping.spans.classify import is_plumbing_name
from mapping.spans.models import words

LATE_NS: Final = 5 * 60 * 1_000_000_000  # older than this the analytics API calls an event late (spec/mapping.md §1.4)
SKEW_NS: Final = 5 * 60 * 1_000_000_000  # this far ahead of our clock the sender's is wrong (spec/mapping.md §9)


class Name(NamedTuple):
    """A span's name and what is asked of it."""

    text: str
    plumbing: bool


class Group(NamedTuple):
    """What all records of one resource and scope have in common."""

    service: str
    environment: str
    region: str
    text: str  # Event.resource
    company_id: str  # of the resource itself, the last resort (spec/mapping.md §5.1)
    resource: bytes  # the resource as sent: equal bytes are the same resource
    attributes: dict[str, Any]  # of the resource
    early_facts: Callable[[str], object]  # for samplers that decide before attributes are read
    cut: bool = False  # `text` does not hold all of the resource and scope
    large: bool = False  # a record of it takes more than LARGE_RECORD bytes on the wire
    odd: bool = False  # one of the two: its events need a last look
    scope: str = ""  # name of the instrumentation scope


class Job(NamedTuple):
    """The circumstances of the request being mapped."""

    received_unix_ns: int
    tenant: str
    room: bodies.Room  # for bodies that came compressed
    share: int  # characters that one event may hold of its resource and scope


class Work(NamedTuple):
    """One span on its way to an event, with all that its plan asked of it so far."""

    record: SpanRecord
    name: Name
    plan: Any  # ApiCallPlan | ActionPlan
    values: tuple[Any, ...]
    fragments: tuple[str | None, ...]
    who: Identity  # own evidence only
    request_headers: Mapping[str, str]  # as sent: they may hold secrets
    response_headers: Mapping[str, str]
    group: Group
    decision: Decision  # UNSAMPLED when sampling decides later


def text_of(value: Any) -> str:
    """A scalar attribute as text, "" for anything else."""
    if value is None:
        return ""
    if type(value) is str:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return str(value)


def made_whole(start: int, end: int, received: int) -> tuple[int, int, tuple[str, ...]]:
    """(start, end, flags) of a span without times or with such beyond LAST_NS, out of order, or far from receipt."""
    flags: tuple[str, ...] = ()
    start, end = held(start), held(end)
    if not start:
        start = end or received
        flags = ("no_start_time",)
    if not end:
        end = start
        flags += ("no_end_time",)
    elif end < start:
        end = start
        flags += ("end_before_start",)
    if start > received + SKEW_NS:
        flags += ("clock_skew",)
    elif start < received - LATE_NS:
        flags += ("late",)
    return start, end, flags


def note_unread(unread: Unread, side: str, extra: dict[str, Any]) -> None:
    """Adds to metadata what a body was that is left out since it cannot be read. side: request, response or log."""
    extra["body_unreadable"] = True
    extra[f"unreadable.{side}.reason"] = unread.reason
    extra[f"unreadable.{side}.bytes"] = unread.size


def last_exception(events: tuple[SpanEvent, ...]) -> dict[str, Any] | None:
    """Attributes of the last exception event, None without one."""
    for event in reversed(events):
        if event.name == "exception":
            exception: dict[str, Any] = event.attributes
            return exception
    return None


class Context:
    """Settings made ready for the plans, and the memories they share."""

    def __init__(self, settings: MappingSettings) -> None:
        self.masks = masks = Masking(settings)
        self.models = models = words(settings.dialects)
        self.identity = settings.identity.with_attributes(models.named["user"], models.named["company"])
        self.dialects = settings.dialects
        self.span_dialects = SpanDialects(settings.dialects)
        self.resolver = Resolver(self.identity, masks.sealed, models.named)
        self.trust_forwarded = settings.trust_forwarded
        # Of exceptions, by the attribute's name or by that of the metadata that it becomes.
        self.hidden_errors = frozenset(
            name
            for name in ("exception.type", "exception.message", "exception.stacktrace")
            if any(masks.hides(f"attr:{of}{name[9:]}") for of in ("exception", "error"))
        )
        self._hides_message = "exception.message" in self.hidden_errors
        self.keep_bodies = settings.kept_bodies
        self.routes = RouteBook()
        self.shown_routes: Memory[str] = Memory(masks.path)  # as written, without secrets
        # Error messages and stack traces repeat when something is down, and are the longest texts to search.
        self.texts: Memory[str] = Memory(masks.text, 2048, longest=65_536)
        self.names: Memory[Name] = Memory(self._name)
        # Names that attributes gave, as they may be stored: senders put all kinds of text into names.
        self.shown_names: Memory[str] = Memory(self.shown_name, 2048)
        self.words: Memory[str] = Memory(read_text, 1024)  # severities and event names
        # (service, route that is the path itself) -> its template
        self.static_routes: Memory[str] = Memory(lambda key: self.routes.route(key[0], http_route=key[1], path=key[1]))
        self.normalised: Memory[str] = Memory(lambda written: route_spelling.normalise(masks.path(written)))
        self.known_routes: Memory[route.Known] = Memory(lambda written: route.known(masks.path(written)))
        self.addresses: Memory[str] = Memory(
            lambda value: masks.ip(address.valid_ip(value)) if isinstance(value, str) else ""
        )
        self.agents: Memory[Mapping[str, str]] = Memory(self._agent_headers)
        self.origins: Memory[str] = Memory(_origin)
        # The same where headers tell of it: (scheme, host, port, host is a Host header, *uri.told_of_origin)
        self.public_origins: Memory[str] = Memory(lambda key: _origin((*key[:4], uri.read_origin(key[4:]))))
        # service -> what stands in for a host that nobody named (uri.resolve)
        self.stand_ins: Memory[str] = Memory(lambda name: quote(name, safe="", errors="replace") or "unknown", 1024)
        # (WhoPlan, values it asks for) -> identity
        self.identities: Memory[Identity] = Memory(lambda key: key[0].resolved(key[1:]), 4096)
        self.ids: Memory[str] = Memory(identifier, longest=128)  # of users and companies, by the text that states them
        self.queries: Memory[str] = Memory(self._query_part)
        self.action_uris: Memory[str] = Memory(action_uri)

    def _name(self, raw: bytes) -> Name:
        text = read_text(raw)
        return Name(self.masks.text(without_values(text)), is_plumbing_name(text))

    def _query_part(self, query: str) -> str:
        """`?` and the query as it may be stored, "" when nothing is left of it."""
        return uri.resolve(scheme="http", host="h", path="/", query=query, mask=self.masks.query).text[9:]

    def shown(self, text: str) -> str:
        """A name or URI as it may be stored: only patterns of personal data are looked for in it."""
        return self.masks.text(text) if self.masks.looks_inside_text else text

    def shown_name(self, text: str) -> str:
        """What `shown_names` has of a text."""
        looks = self.masks.looks_inside_text or may_hide_secrets(text) or may_show_a_key(text)
        return self.masks.text(text) if looks else text

    def _agent_headers(self, agent: Any) -> Mapping[str, str]:
        """The only header of a request whose user agent alone is known."""
        return self.masks.headers({"user-agent": agent}) if isinstance(agent, str) and agent else EMPTY_HEADERS

    def body(
        self,
        value: Any,
        events: tuple[SpanEvent, ...],
        side: str,
        headers: Mapping[str, str],
        extra: dict[str, Any],
        room: bodies.Room,
    ) -> tuple[str, str]:
        """(text, encoding) of a masked request or response body. Notes in `extra` that it was cut."""
        if value is None and events:
            value = event_body(events, side)
        mask = self.masks.request_body if side == "request" else self.masks.response_body
        if value is None or not self.keep_bodies[side]:
            return "", ""
        cuts = self.masks.redactor.values.cuts
        text, encoding, cut, unread = bodies.encode(
            value, headers.get("content-type", ""), headers.get("content-encoding", ""), mask, room
        )
        if cut or self.masks.redactor.values.cuts != cuts:
            extra["body_truncated"] = True
        elif unread is not None:
            note_unread(unread, side, extra)
        return text, encoding

    def log_body(
        self, record: LogRecord, extra: dict[str, Any], room: bodies.Room, *, of_model: bool = False
    ) -> tuple[str, str]:
        """(text, encoding) of a masked log body. of_model: without prompts and answers. Notes in `extra` why a body of
        bytes is not there.
        """
        body, masks = record.body, self.masks
        if record.event_name and not masks.keeps_body_of(record.event_name):
            return "", ""
        if body.map is None:
            if body.encoding != "base64":
                return masks.text(body.text) if body.text else "", body.encoding
            text = masks.base64(body.text, room.take)
            if isinstance(text, str):
                return text, "base64"
            note_unread(text, "log", extra)
            return "", ""
        if of_model:
            return json_text(masks.log_body(without_content(body.map))), "json"
        if body.text and masks.leaves_json_as_it_is(body.text, "log_body"):
            return body.text, "json"
        masked = masks.log_body(body.map)
        return body.text if body.text and masked is body.map else json_text(masked), "json"

    def _exception(self, record: SpanRecord) -> dict[str, Any] | None:
        """Attributes of the last exception event as they may be looked at: what the settings hide is hidden."""
        exception = last_exception(record.events)
        if exception is None or not self.hidden_errors:
            return exception
        return self.shown_exception(exception)

    def shown_exception(self, exception: Mapping[str, Any]) -> dict[str, Any]:
        """An exception with what the settings hide of it hidden, its message in the stack trace as well."""
        shown = dict(exception)
        for name in self.hidden_errors & shown.keys():
            shown[name] = MASK
            value, stack = exception[name], shown.get("exception.stacktrace")
            if name != "exception.stacktrace" and isinstance(value, str) and value and isinstance(stack, str):
                shown["exception.stacktrace"] = stack.replace(value, MASK)
        return shown

    def failure(self, record: SpanRecord, raw: str, direction: str, *, of_provider: bool = False) -> str:
        """error_type of a record that failed without a status. raw: its attribute error.type, "" for none.

        of_provider: its messages are those of a model's provider.
        """
        exception = self._exception(record)
        if exception is None:
            if raw == "_OTHER" and direction == "Incoming" and record.status.code != 2 and not record.status.message:
                return taxonomy.CANCELLED  # Java's agent: the server had nothing to complain of, and nobody to answer
            messages = (record.status.message,)
            return taxonomy.of_failure((raw,), messages, direction=direction, of_provider=of_provider)
        return taxonomy.of_failure(
            (raw, text_of(exception.get("exception.type"))),
            (text_of(exception.get("exception.message")), record.status.message),
            direction=direction,
            of_provider=of_provider,
        )

    def describe_error(self, record: SpanRecord, typed: bool, extra: dict[str, Any]) -> None:
        """Adds error.* of spec/mapping.md §3.9 to metadata. typed: an attribute error.type is there already."""
        exception = self._exception(record)
        message = record.status.message if not self._hides_message else ""
        if exception:
            kind = text_of(exception.get("exception.type"))
            message = text_of(exception.get("exception.message")) or message
            if kind:
                extra["error.exception_type"] = shown = self.texts[kind]
                if not typed:
                    extra["error.type"] = shown
            if stack := text_of(exception.get("exception.stacktrace")):
                extra["error.stacktrace"] = self.texts[stack]
        if message:
            extra["error.message"] = self.texts[message]

    def shown_attributes(self, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Attributes of a link, resource or scope as they may be stored."""
        if self.masks.dropped_bodies:
            attributes = self.masks.without_bodies(dict(attributes))
        return self.masks.attributes(attributes)

    def links(self, links: tuple[SpanLink, ...]) -> str:
        """Event.links: JSON of the links, attributes masked."""
        return json_text(
            [
                {"trace_id": link.trace_id, "span_id": link.span_id}
                | ({"attributes": self.shown_attributes(link.attributes)} if link.attributes else {})
                for link in links
            ]
        )


def _origin(key: tuple[Any, Any, Any, bool, uri.Origin]) -> str:
    """`scheme://authority` of (scheme, host, port, host is a Host header, public origin)."""
    scheme, host, port, host_is_header, origin = key
    host = text_of(host)
    found = uri.resolve(
        scheme=text_of(scheme),
        host="" if is_absent(host) else host,
        port=port,
        host_is_header=host_is_header,
        origin=origin,
        path="/",
    )
    return found.text[:-1]


def action_uri(key: tuple[str, str, str]) -> str:
    """The URI of an action of (service, family, name) that has none of its own (spec/mapping.md §1.2)."""
    service, family, name = key
    return f"otel://{quote(service, safe='') or 'unknown'}/{family}/{quote(name, safe='')}"
