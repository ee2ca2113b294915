"""The pages: for each what it may be asked, what it answers, and the template that shows it.

A page, its `.json` and its `.csv` are one question with three forms; `weighbridge.console.api` asks the same ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from aiohttp import hdrs, web
from markupsafe import Markup

from exporter.clickhouse.reader import Result
from weighbridge.admin.parts import Parts
from weighbridge.commands.errors import CommandError
from weighbridge.commands.query import csv_text
from weighbridge.commands.trace import parse_trace_id
from weighbridge.console import answers, asking, drawings
from weighbridge.console.access import Who
from weighbridge.console.asked import Asked, address
from weighbridge.console.entrance import refuse_bound, who_asks
from weighbridge.console.gathering import FIRST_PAINT_S, Gathering, SoFar, Waiting, seen
from weighbridge.console.reading import MOST_ROWS, Reading
from weighbridge.console.rendering import page
from weighbridge.console.state import bridge_now, troubles
from weighbridge.console.store import Unanswered

TIME: Final = ("since", "until")
MOST_EVENTS: Final = 500  # on a page; more are further pages
MOST_EXPORTED: Final = 100_000  # rows of an answer to SQL as CSV or JSON
USUAL_EVENTS: Final = 100
LATER: Final = "later"  # the parameter by which a page that was shown before all of it was known is asked for the rest


class Inquiry(NamedTuple):
    """One request for a page: who asks what, and the reading to ask."""

    reading: Reading
    who: Who
    asked: Asked
    matched: Mapping[str, str]  # parts of the path
    parts: Parts
    most: int = MOST_ROWS  # rows of an answer to SQL


class Page(NamedTuple):
    name: str
    path: str
    parameters: Sequence[str]
    ask: Callable[[Inquiry], Awaitable[Any]]  # an answer, or the gathering of its parts
    table: Callable[[Any], Result]
    template: str
    drawn: Callable[[Any], Sequence[Markup]] = lambda answer: ()


# -- what each asks -----------------------------------------------------------------------------------------


async def now(inquiry: Inquiry) -> Gathering[answers.Now]:
    return inquiry.reading.now(inquiry.asked.period())


async def events(inquiry: Inquiry) -> Gathering[answers.Events]:
    asked = inquiry.asked
    asked.moment("at")  # of the event beside the page: what cannot be a time is told in every form
    limit = asked.number("limit", USUAL_EVENTS, 1, MOST_EVENTS)
    return inquiry.reading.events(asked.period(), asked.conditions(), asked.text("text"), limit)


async def event(inquiry: Inquiry) -> answers.EventWhole:
    at = inquiry.asked.moment("at")
    if at is None:
        raise web.HTTPBadRequest(text="at is needed: the event's time, as its link has it")
    found = await inquiry.reading.event(inquiry.matched["id"], at)
    if found is None:
        raise web.HTTPNotFound(text="there is no such event, or not for this token")
    return found


async def trace(inquiry: Inquiry) -> answers.Trace:
    try:
        trace_id = parse_trace_id(inquiry.matched["id"])
    except CommandError as error:
        raise web.HTTPBadRequest(text=error.message) from error
    found = await inquiry.reading.trace(trace_id, inquiry.asked.moment("at"))
    if found is None:
        raise web.HTTPNotFound(
            text=f"nothing is stored of trace {trace_id}: it was not sent, sampled out, is still on its way, or is not "
            "for this token to see"
        )
    return found


async def customer(inquiry: Inquiry) -> Gathering[answers.Customer]:
    asked = inquiry.asked
    kinds = [kind for kind in ("company", "user") if asked.text(kind)]
    if len(kinds) != 1:
        raise web.HTTPBadRequest(text="name one company or one user")
    return inquiry.reading.customer(asked.period(), kinds[0], asked.text(kinds[0]))


async def endpoint(inquiry: Inquiry) -> Gathering[answers.Endpoint]:
    method, _, route = inquiry.asked.text("endpoint").partition(" ")
    if not inquiry.asked.text("endpoint"):
        raise web.HTTPBadRequest(text="name an endpoint: method and route, as in POST /v1/orders")
    return inquiry.reading.endpoint(inquiry.asked.period(), method, route)


async def customers(inquiry: Inquiry) -> Gathering[answers.Groups]:
    return inquiry.reading.groups(inquiry.asked.period(), ("company_id", "user_id"))


async def endpoints(inquiry: Inquiry) -> Gathering[answers.Groups]:
    return inquiry.reading.groups(inquiry.asked.period(), ("endpoint",))


async def bridge(inquiry: Inquiry) -> answers.Bridge:
    refuse_bound(inquiry.who, "the state of the bridge")
    return await bridge_now(inquiry.parts)


async def sql(inquiry: Inquiry) -> answers.Sql:
    refuse_bound(inquiry.who, "what SQL could read")
    asked, sample_unit = inquiry.asked, inquiry.parts.settings.sampling.sample_unit
    name = asked.text("name")
    if name and not asking.is_known(name):
        raise web.HTTPNotFound(text=f"no question is called {name!r}")
    given = {key.removeprefix(asking.WITH): asked.text(key) for key in asking.known() if asked.given(key)}
    return await asking.ask(inquiry.reading, asked.text("q"), name, given, sample_unit, inquiry.most)


# -- as tables ----------------------------------------------------------------------------------------------


def points_table(answer: answers.Now | answers.Customer | answers.Endpoint) -> Result:
    columns = (
        "time",
        "calls",
        "calls_low",
        "calls_high",
        "failed",
        "failed_low",
        "failed_high",
        "p50_ms",
        "p95_ms",
        "p99_ms",
    )
    rows = [
        (
            point.time,
            *_three(point.calls),
            *_three(point.failed),
            *(estimate.value if estimate else None for estimate in (point.p50_ms, point.p95_ms, point.p99_ms)),
        )
        for point in answer.points
    ]
    return Result(columns, rows)


def events_table(answer: answers.Events) -> Result:
    return _lines_table(answer.events)


def steps_table(answer: answers.Trace) -> Result:
    found = _lines_table(step.line for step in answer.steps)
    rows = [
        (step.depth, step.offset_ms, step.critical, *row) for step, row in zip(answer.steps, found.rows, strict=True)
    ]
    return Result(("depth", "offset_ms", "critical", *found.columns), rows)


def groups_table(answer: answers.Groups) -> Result:
    columns = ("by", *answers.Group.model_fields)
    found = [(by, *(getattr(one, name) for name in columns[1:])) for by, of in answer.groups.items() for one in of]
    return Result(columns, found)


def ended_table(answer: answers.Bridge) -> Result:
    columns = tuple(answers.Ended.model_fields)
    return Result(columns, [tuple(getattr(row, name) for name in columns) for row in answer.ended])


def no_table(answer: Any) -> Result:
    """Of what is asked as JSON only."""
    return Result((), [])


def sql_table(answer: answers.Sql) -> Result:
    table = answer.table
    return Result(tuple(table.columns), [tuple(row) for row in table.rows]) if table else Result((), [])


def _lines_table(lines: Iterable[answers.Line]) -> Result:
    columns = tuple(name for name in answers.Line.model_fields if name != "at")
    return Result(columns, [tuple(getattr(line, name) for name in columns) for line in lines])


def _three(estimate: answers.Estimate) -> tuple[float, float, float]:
    """The number and its interval; of an exact one its own value twice."""
    low, high = estimate.low, estimate.high
    return estimate.value, estimate.value if low is None else low, estimate.value if high is None else high


def _over_time(answer: answers.Now | answers.Customer | answers.Endpoint) -> Sequence[Markup]:
    return drawings.over_time(answer.points, answer.asked.step_s) if answer.points else ()


PAGES: Final = (
    Page("now", "/", TIME, now, points_table, "now.html", _over_time),
    Page(
        "events",
        "/events",
        (*TIME, "where", "text", "limit", "event", "at", "live"),
        events,
        events_table,
        "events.html",
        drawings.kinds,
    ),
    Page("trace", "/trace/{id}", ("at", "event"), trace, steps_table, "trace.html"),
    Page("customer", "/customer", (*TIME, "company", "user"), customer, points_table, "customer.html", _over_time),
    Page("endpoint", "/endpoint", (*TIME, "endpoint"), endpoint, points_table, "endpoint.html", _over_time),
    Page("customers", "/customers", TIME, customers, groups_table, "groups.html"),
    Page("endpoints", "/endpoints", TIME, endpoints, groups_table, "groups.html"),
    Page("bridge", "/bridge", ("said",), bridge, ended_table, "bridge.html"),
    Page("sql", "/sql", ("q", "name", *asking.known()), sql, sql_table, "sql.html"),
)


class Asker:
    """Answers for one page, in the form that the address ends with."""

    def __init__(self, of: Page, reading_for: Callable[[Who], Reading], parts: Parts, waiting: Waiting) -> None:
        self._page = of
        self._reading_for = reading_for
        self._parts = parts
        self._waiting = waiting

    async def html(self, request: web.Request) -> web.Response:
        inquiry = self._inquiry(request, LATER)
        state = State(request)
        facts: dict[str, Any] = {
            "who": inquiry.who,
            "page": self._page.name,
            "state": state,
            "lost": self._lost(inquiry.who),
        }
        beside = asyncio.ensure_future(self._drawer(inquiry))  # first in the queue: it is what was clicked at
        beside.add_done_callback(seen)
        try:
            found = await self._known(inquiry, state, facts)
            facts["drawer"] = await beside
            facts["drawn"] = self._page.drawn(found)
        except Unanswered as error:
            facts |= {"status": _status(error), "said": str(error)}
            return page("message.html", facts, _status(error))
        refused = isinstance(found, answers.Sql) and found.refused
        return page(self._page.template, facts, 400 if refused else 200)

    async def _known(self, inquiry: Inquiry, state: State, facts: dict[str, Any]) -> Any:
        """The answer, as far as it is known soon, and where the rest of it is asked for. Raises Unanswered."""
        asker = (inquiry.who, state.path, str(sorted(state.having().items())))
        found: Any = self._waiting.take(asker, inquiry.asked.text(LATER))
        if found is None:
            found = await self._page.ask(inquiry)
            if isinstance(found, Gathering):
                await found.wait(FIRST_PAINT_S)
        else:
            await found.wait_for_more()
        so_far = found.so_far() if isinstance(found, Gathering) else SoFar(found, {}, comes=False)
        facts |= {"answer": so_far.answer, "missing": so_far.missing, "later": ""}
        if so_far.comes:
            facts["later"] = address(state.path, state.having(**{LATER: self._waiting.keep(asker, found)}))
        return so_far.answer

    def _lost(self, who: Who) -> Sequence[str]:
        """What is wrong with the bridge now, for the sign that every page has."""
        return () if who.scope.bound else troubles(self._parts)

    async def json(self, request: web.Request) -> web.Response:
        answer = await self._answer(request)
        return web.Response(text=answer.model_dump_json(), content_type="application/json")

    async def csv(self, request: web.Request) -> web.Response:
        answer = await self._answer(request)
        response = web.Response(text=csv_text(self._page.table(answer)), content_type="text/csv", charset="utf-8")
        response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{self._page.name}.csv"'
        return response

    async def _answer(self, request: web.Request) -> Any:
        """For programs: a question that was refused is no answer."""
        try:
            answer = await self._page.ask(self._inquiry(request)._replace(most=MOST_EXPORTED))
            if isinstance(answer, Gathering):
                answer = await answer.whole()
        except Unanswered as error:
            return refuse(error)
        if isinstance(answer, answers.Sql) and answer.refused:
            raise web.HTTPBadRequest(text=answer.refused)
        return answer

    def _inquiry(self, request: web.Request, *more: str) -> Inquiry:
        """more: parameters that this form has beside those of the page."""
        who = who_asks(request)
        asked = Asked(request, (*self._page.parameters, *more))
        return Inquiry(self._reading_for(who), who, asked, request.match_info, self._parts)

    async def _drawer(self, inquiry: Inquiry) -> answers.EventWhole | None:
        """The event that the address names beside the page."""
        if "event" not in self._page.parameters or not inquiry.asked.text("event"):
            return None
        at = inquiry.asked.moment("at")
        return await inquiry.reading.event(inquiry.asked.text("event"), at) if at else None


class State:
    """The address of a page: what it is asked, and the same with something changed. For templates."""

    def __init__(self, request: web.Request) -> None:
        self.path = request.path
        self._pairs = [(name, value) for name, value in request.query.items() if value and name != LATER]
        self.wheres = [value for name, value in self._pairs if name == "where"]
        self.since = request.query.get("since", "")
        self.until = request.query.get("until", "")
        self.text = request.query.get("text", "")
        self.event = request.query.get("event", "")
        self.said = request.query.get("said", "")

    def time(self) -> dict[str, str]:
        """Parameters for the same time on another page."""
        return {name: value for name, value in (("since", self.since), ("until", self.until)) if value}

    def having(self, **changed: str | Sequence[str]) -> dict[str, Sequence[str]]:
        """All parameters, with these instead; an empty text takes one away."""
        found: dict[str, Sequence[str]] = {}
        for name, value in self._pairs:
            if name not in changed:
                found[name] = [*found.get(name, []), value]
        return found | {
            name: [value] if isinstance(value, str) else list(value) for name, value in changed.items() if value
        }

    def adding(self, where: str) -> dict[str, Sequence[str]]:
        wheres = self.wheres if where in self.wheres else [*self.wheres, where]
        return self.having(where=wheres, event="", at="")

    def without(self, where: str) -> dict[str, Sequence[str]]:
        return self.having(where=[one for one in self.wheres if one != where], event="", at="")


def refuse(error: Unanswered) -> Any:
    """Raises what the door answers as a sentence."""
    kinds: Mapping[int, type[web.HTTPException]] = {
        400: web.HTTPBadRequest,
        503: web.HTTPServiceUnavailable,
        504: web.HTTPGatewayTimeout,
    }
    raise kinds[_status(error)](text=str(error)) from error


def _status(error: Unanswered) -> int:
    return 504 if error.limit else 400 if error.wrong else 503
