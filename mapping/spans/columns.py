"""Plain API calls of one plan -> events, a column at a time: half the cost of one call after the other.

A call is plain when its span carries the usual attributes and nothing else has to be asked: a known method, a status, a
clean path, a route that fits it, no events, links or captured headers. The columns of such calls are read, looked up
and put together by the interpreter's C code. What comes out is what `ApiCallPlan.event` gives, to the letter; whatever
is not plain is left to it. Nothing is learned from a call here, so it does not matter which of the two comes first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import compress, repeat
from operator import is_, le
from typing import Any, Final, NamedTuple

from mapping.context import LATE_NS, SKEW_NS, Context, Group, Job, Work
from mapping.event import API_CALL, EMPTY_HEADERS, Event
from mapping.rules import ids, taxonomy
from mapping.rules.call import path_version
from mapping.rules.route import OTHER
from mapping.rules.uri import SHORT_QUERY, is_clean_path
from mapping.rules.verbs import STANDARD_VERBS
from mapping.shape import REMOTE_FLAG, MetadataPlan
from mapping.spans.trace_memory import Owner
from mapping.spans.uri_plan import UriPlan

LEAST: Final = 20  # calls of one plan; for fewer it costs more than it saves
PART: Final = 256  # calls that are built together: a millisecond
PART_S: Final = 0.005
_VERBS: Final = frozenset(STANDARD_VERBS)
_event: Final[Callable[[Any], Event]] = partial(tuple.__new__, Event)

Column = Sequence[Any]


def plain_calls(
    works: Sequence[Work],
    owners: Sequence[Owner] | None,
    hops: Sequence[str],
    job: Job,
    clock: Callable[[], float],
) -> Generator[None, None, Iterable[Event | None]]:
    """Returns the event of each span that is a plain call among several of one plan, None for every other span.

    owners, hops: of the works; owners None where nothing is lent. It pauses after PART_S seconds by the clock.
    """
    if len(works) < LEAST:
        return repeat(None)
    of_plans: defaultdict[PlainCalls, list[int]] = defaultdict(list)
    for at, work in enumerate(works):
        if (calls := work[2].plain) is not None:
            _, _, _, _, _, (code, _), events, links = work[0]
            if not (events or links or code == 2 or work[8].odd) and work[9].keep:
                of_plans[calls].append(at)
    if not any(len(places) >= LEAST for places in of_plans.values()):
        return repeat(None)
    made: list[Event | None] = [None] * len(works)
    until = clock() + PART_S
    for calls, places in of_plans.items():
        for start in range(0, len(places), PART):
            if clock() > until:
                yield
                until = clock() + PART_S
            part = places[start : start + PART]
            if len(part) < LEAST:
                continue
            rows = [works[at] for at in part]
            whose = [owners[at] if owners is not None else works[at][5][:2] for at in part]
            with suppress(Exception):  # each is tried alone then
                found = calls.events(rows, whose, [hops[at] for at in part], job)
                for at, event in zip(part, found, strict=True):
                    made[at] = event
    return made


class Places(NamedTuple):
    """Where the attributes of a shape are."""

    method: int
    status: int
    route: int
    agent: int
    addresses: tuple[int, ...]


class PlainCalls:
    """Builds the events of plain calls of one kind and shape."""

    def __init__(self, context: Context, places: Places, uri: UriPlan, metadata: MetadataPlan, direction: str) -> None:
        self._context = context
        self._places = places
        self._uri = uri
        self._metadata = metadata
        self._direction = direction
        self._of_caller = direction != "Outgoing"  # whose address the span names
        self._checks: tuple[tuple[int, Callable[[Column], bool], Callable[[Any], bool]], ...] = (
            (places.method, _are_verbs, _VERBS.__contains__),
            (places.status, _are_statuses, _is_status),
            (uri.path, _are_paths, _is_path),
            (uri.query_at, _are_queries, _is_query),
        )

    def events(
        self, works: Sequence[Work], owners: Sequence[Owner], hops: Sequence[str], job: Job
    ) -> Sequence[Event | None]:
        """The events of works of this plan without events and links, None for each that is not plain after all.

        owners, hops: as `ApiCallPlan.event` is told them. May raise anything for values that nobody expects.
        """
        values: list[Column] = list(zip(*[work[3] for work in works], strict=True))
        for place, are_plain, is_plain in self._checks:
            if not are_plain(values[place]):
                return self._among(list(map(is_plain, values[place])), works, owners, hops, job)
        paths = values[self._uri.path]
        routes = self._routes([work[8][0] for work in works], values[self._places.route], paths)
        if "" in routes:
            return self._among(list(map(bool, routes)), works, owners, hops, job)
        spans = [work[0][0] for work in works]
        times = [span.start_time_unix_nano for span in spans], [span.end_time_unix_nano for span in spans]
        first, last = job.received_unix_ns - LATE_NS, job.received_unix_ns + SKEW_NS
        if not (first <= min(times[0]) and max(times[1]) <= last and all(map(le, *times))):
            in_time = [first <= start <= end <= last for start, end in zip(*times, strict=True)]
            return self._among(in_time, works, owners, hops, job)
        remote = [span.flags & REMOTE_FLAG for span in spans]
        return list(map(_event, self._rows(works, values, routes, times, remote, owners, hops, job)))

    def _among(
        self, plain: list[bool], works: Sequence[Work], owners: Sequence[Owner], hops: Sequence[str], job: Job
    ) -> Sequence[Event | None]:
        """The events of those that are plain, None in the place of each other."""
        if not any(plain):
            return [None] * len(works)
        left = [list(compress(column, plain)) for column in (works, owners, hops)]
        made = iter(self.events(left[0], left[1], left[2], job))  # type: ignore[arg-type]
        return [next(made) if is_plain else None for is_plain in plain]

    def _routes(self, services: Sequence[str], written: Column, paths: Sequence[str]) -> list[str]:
        """The route of each, "" where it takes a longer look, or is to be learned."""
        static, known = self._context.static_routes, self._context.known_routes
        routes = []
        for service, raw, path in zip(services, written, paths, strict=True):
            found = ""
            if raw == path:
                found = static.get((service, path), "")
            elif type(raw) is str and len(raw) > 1:
                text, head, _, _, tail = known[raw]
                if path.startswith(head) and path.endswith(tail):
                    found = text
            routes.append(found if found != OTHER else "")
        return routes

    def _rows(
        self,
        works: Sequence[Work],
        values: list[Column],
        routes: Sequence[str],
        times: tuple[Sequence[int], Sequence[int]],
        remote: Sequence[int],
        owners: Sequence[Owner],
        hops: Sequence[str],
        job: Job,
    ) -> Iterable[tuple[Any, ...]]:
        """The events by position, in their field order. times: of the starts and of the ends; remote: not 0 where the
        parent is in another process.
        """
        context, places, (starts, ends) = self._context, self._places, times
        records, names, _, _, fragments, whos, _, _, groups, decisions = zip(*works, strict=True)
        verbs, statuses, paths = values[places.method], values[places.status], values[self._uri.path]
        trace_ids, span_ids = [record[1].hex() for record in records], [record[2].hex() for record in records]
        transactions = ids.transaction_ids_api(trace_ids, span_ids, verbs, statuses, job.tenant)
        users, companies = zip(*owners, strict=True)
        _, _, sessions, subscriptions, applications, clients, plans, _, _ = zip(*whos, strict=True)
        services, environments, regions, resources, of_resource = _of_groups(groups)
        headers = list(map(context.agents.__getitem__, values[places.agent]))
        addresses, nothing = self._addresses(values), repeat("")
        return zip(
            repeat(API_CALL),  # event_type
            transactions,  # transaction_id
            repeat("span"),  # source
            repeat(job.tenant),  # tenant
            trace_ids,  # trace_id
            span_ids,  # span_id
            [record[3].hex() for record in records],  # parent_id
            starts,  # start_unix_ns
            ends,  # end_unix_ns
            [(end - start) / 1e6 for start, end in zip(starts, ends, strict=True)],  # duration_ms
            repeat(job.received_unix_ns),  # received_unix_ns
            users,  # user_id
            [own or lent for own, lent in zip(companies, of_resource)],  # noqa: B905 - company_id
            sessions,  # session_token
            subscriptions,  # subscription_id
            applications,  # application_id
            clients,  # client_id
            plans,  # plan_id
            services,  # service
            environments,  # environment
            regions,  # region
            resources,  # resource
            repeat(self._direction),  # direction
            hops,  # hop
            verbs,  # verb
            self._uri.texts(values, paths),  # uri
            routes,  # route
            statuses,  # status
            [path_version(path) if "/v" in path else "" for path in paths],  # api_version
            [shown["user-agent"] if shown else "" for shown in headers],  # user_agent
            addresses if self._of_caller else nothing,  # ip_address
            nothing if self._of_caller else addresses,  # response_ip_address
            headers,  # request_headers
            repeat(EMPTY_HEADERS),  # response_headers
            nothing,  # request_body
            nothing,  # request_body_encoding
            nothing,  # response_body
            nothing,  # response_body_encoding
            transactions,  # request_id
            [name[0] for name in names],  # name
            [record[5][0] for record in records],  # span_status
            nothing,  # links
            map(taxonomy.BY_STATUS.__getitem__, statuses),  # error_type
            nothing,  # action_name
            repeat("http"),  # family
            repeat(0),  # severity_number
            nothing,  # severity_text
            nothing,  # event_name
            nothing,  # body
            nothing,  # body_encoding
            self._metadata.joined(fragments, remote),  # metadata
            repeat(()),  # flags
            decisions,  # decision
            nothing,  # reason
        )  # fmt: skip

    def _addresses(self, values: list[Column]) -> Sequence[str]:
        """The first address that each span names."""
        known, found = self._context.addresses, [""] * len(values[-1])
        for place in self._places.addresses:
            if all(found):
                break
            found = [address or known[value] for address, value in zip(found, values[place], strict=True)]
        return found


def _of_groups(groups: Sequence[Group]) -> tuple[Iterable[str], ...]:
    """Service, environment, region, text and company of each span's resource, which is mostly one."""
    first = groups[0]
    if all(map(is_, groups, repeat(first))):
        return tuple(map(repeat, first[:5]))
    return tuple(zip(*[group[:5] for group in groups], strict=True))


def _are_verbs(column: Column) -> bool:
    return _VERBS.issuperset(column)


def _is_status(value: Any) -> bool:
    return type(value) is int and 100 <= value <= 599


def _are_statuses(column: Column) -> bool:
    return {*map(type, column)} == {int} and min(column) >= 100 and max(column) <= 599


def _is_path(value: Any) -> bool:
    return type(value) is str and is_clean_path(value) is not None


def _are_paths(column: Column) -> bool:
    return {*map(type, column)} == {str} and all(map(is_clean_path, column))


def _is_query(value: Any) -> bool:
    return value is None or (type(value) is str and len(value) < SHORT_QUERY)


def _are_queries(column: Column) -> bool:
    return {*map(type, column)} == {str} and max(map(len, column)) < SHORT_QUERY
