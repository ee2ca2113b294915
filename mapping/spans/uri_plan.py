"""The URI of spans of one shape (spec/mapping.md §3.2): which attributes compose it; a short way for the usual form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from operator import add
from typing import Any, Final

from mapping.context import Context, Group, text_of
from mapping.memory import Memory
from mapping.rules import uri
from mapping.rules.null_words import is_absent
from mapping.rules.uri import SHORT_QUERY, is_clean_path
from mapping.shape import ABSENT, Shape
from mapping.spans.captured import HeaderSlots
from mapping.spans.classify import CLIENT

FULL: Final = ("url.full", "http.url")
SCHEMES: Final = ("url.scheme", "http.scheme")
SERVER_HOSTS: Final = ("server.address", "http.host", "net.host.name", "http.server_name", "net.host.ip")
SERVER_PORTS: Final = ("server.port", "net.host.port")
CLIENT_HOSTS: Final = (
    "server.address",
    "http.host",
    "net.peer.name",
    "net.peer.ip",
    "network.peer.address",
    "net.sock.peer.addr",
    # Zipkin's and OpenTracing's, where nothing else says who was called
    *("net.peer.host", "peer.hostname", "peer.service", "peer.address", "peer.ipv4", "peer.ipv6"),
)
CLIENT_PORTS: Final = ("server.port", "net.peer.port", "network.peer.port", "net.sock.peer.port", "peer.port")

# Needs no look at queries, parameters, users or default ports.
_CLEAN_URL: Final = re.compile(
    r"(https?)://([A-Za-z0-9.\-]+(?::[0-9]{1,5})?)(/[A-Za-z0-9/_.~!$&'()*+,:\-]*)(?:\?([^#]*))?"
).fullmatch
_ORIGINS: Final = 16  # remembered for each of up to 6,144 plans: services have one or two
_LONGEST_ORIGIN: Final = 256  # characters of one that is remembered
_ORIGIN_HEADERS: Final = frozenset(uri.ORIGIN_HEADERS)


class UriPlan:
    """Composes the URI of spans of one shape (spec/mapping.md §3.2)."""

    __slots__ = (
        "_composed",
        "_context",
        "_full",
        "_has_origin",
        "_host",
        "_host_is_header",
        "_origins",
        "_path",
        "_port",
        "_query",
        "_scheme",
        "_slashes_are_path",
        "_stands_in",
        "_target",
        "is_path_alone",
        "path",
        "present",
        "query_at",
    )

    def __init__(self, kind: int, shape: Shape, context: Context, slots: HeaderSlots, consumed: set[str]) -> None:
        def take(*names: str) -> int:
            """Index of the first of `names`; none of them goes to metadata."""
            consumed.update(names)
            return shape.first(names)

        self._context = context
        self._full = take(*FULL)
        self._target = take("http.target")
        self.path = self._path = take("url.path")
        self.query_at = self._query = take("url.query")
        self._scheme = take(*SCHEMES)
        hosts, ports = (CLIENT_HOSTS, CLIENT_PORTS) if kind == CLIENT else (SERVER_HOSTS, SERVER_PORTS)
        self._host = take(*hosts)
        self._host_is_header = self._host != ABSENT and self._host == shape.at.get("http.host")
        self._port = take(*ports)
        # Only servers are reached under a public origin; a client's own headers name the server it calls.
        names = slots.request_names
        # Without captured headers in attributes there may still be some in events.
        may = not slots.present or names is None or not _ORIGIN_HEADERS.isdisjoint(names)
        # Only a client names a host without a scheme in its own URL; in a request it is the beginning of a path.
        self._slashes_are_path = kind != CLIENT
        # Zipkin's and Swift's spans of calls that were made often do not say to whom: not to the service itself.
        nowhere = self._full == self._target == self._path == self._host == ABSENT
        self._stands_in = kind != CLIENT or not (shape.reading.shares_ids or nowhere)
        self._has_origin = kind != CLIENT and context.trust_forwarded and may
        # http.target is read only without url.path.
        located = (self._path != ABSENT) != (self._target != ABSENT)
        self._composed = located and self._host != ABSENT and self._full == ABSENT
        self.is_path_alone = self._composed and self._path != ABSENT  # behind scheme, host and port
        # (scheme, host, port) -> `scheme://authority`, where no header tells of another one
        self._origins: Memory[str] = Memory(
            lambda key: context.origins[(*key, self._host_is_header, uri.NO_ORIGIN)], _ORIGINS, _LONGEST_ORIGIN
        )
        self.present = not (self._full == self._target == self._path == ABSENT)

    def resolve(
        self, values: tuple[Any, ...], request: Mapping[str, str], group: Group, route: str
    ) -> tuple[str, str, uri.Uri | None]:
        """(masked URI text, its path, all of the result when it has more to say). route: stands in for a path."""
        context = self._context
        told = request if self._has_origin else None  # by the caller, of the origin that it called
        if self._composed:
            path, query = values[self._path], values[self._query]
            if path is None and type(target := values[self._target]) is str:
                path, _, more = target.partition("?")
                query = query or more
            if (
                type(path) is str
                and is_clean_path(path)
                and (not query or (type(query) is str and len(query) < SHORT_QUERY))
            ):
                at = values[self._scheme], values[self._host], values[self._port]
                if told:
                    text = context.public_origins[(*at, self._host_is_header, *uri.told_of_origin(told))] + path
                else:
                    text = self._origins[at] + path
                return (text + context.queries[query] if query else text), path, None
        elif self._full != ABSENT:
            full = values[self._full]
            if type(full) is str and len(full) < SHORT_QUERY and (clean := _CLEAN_URL(full)) is not None:
                scheme, host, path, query = clean.groups()
                if told:
                    text = context.public_origins[(scheme, host, None, False, *uri.told_of_origin(told))] + path
                else:
                    text = context.origins[scheme, host, None, False, uri.NO_ORIGIN] + path
                return (text + context.queries[query] if query else text), path, None
        full, target = text_of(values[self._full]), text_of(values[self._target])
        if full and is_absent(full):  # Micrometer's UNKNOWN and none
            full = ""
        host = text_of(values[self._host])
        if full[:2] == "//" and self._slashes_are_path:
            full, target = "", target or full
        found = uri.resolve(
            full=full,
            target=target,
            scheme=text_of(values[self._scheme]),
            host="" if is_absent(host) else host,
            port=values[self._port],
            host_is_header=self._host_is_header,
            path=text_of(values[self._path]),
            query=text_of(values[self._query]),
            origin=uri.public_origin(told) if told else uri.NO_ORIGIN,
            service=group.service if self._stands_in else "",
            route=context.normalised[route] if route else "",
            mask=context.masks.query,
            mask_path=context.masks.path,
        )
        return found.text, found.path, found

    def texts(self, values: Sequence[Sequence[Any]], paths: Sequence[str]) -> list[str]:
        """The masked URIs of spans whose values these are, by columns, where `is_path_alone`.

        paths: clean; queries: short texts or None; no header tells of another origin.
        """
        origins = map(self._origins.__getitem__, zip(values[self._scheme], values[self._host], values[self._port]))  # noqa: B905
        texts, queries = map(add, origins, paths), values[self._query]
        if not any(queries):
            return list(texts)
        known = self._context.queries
        return [text + known[query] if query else text for text, query in zip(texts, queries, strict=True)]

    def query(self, values: tuple[Any, ...]) -> str:
        """The query as sent, unmasked, for identity only."""
        query = text_of(values[self._query]).removeprefix("?")
        if query:
            return query
        return (text_of(values[self._target]) or text_of(values[self._full])).partition("#")[0].partition("?")[2]
