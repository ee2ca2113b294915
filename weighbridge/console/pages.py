"""The pages: for each what it may be asked, what it answers, and the template that shows it.

A page, its `.json` and its `.csv` are one question with three forms; `weighbridge.console.api` asks the same ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from aiohttp import hdrs, web
from markupsafe import Markup

from exporter.clickhouse.reader import Result
from weighbridge.commands.errors import CommandError
from weighbridge.commands.query import csv_text
from weighbridge.commands.trace import parse_trace_id
from weighbridge.console import answers, drawings
from weighbridge.console.access import Who
from weighbridge.console.asked import Asked
from weighbridge.console.entrance import who_asks
from weighbridge.console.reading import Reading
from weighbridge.console.rendering import page
from weighbridge.console.store import Unanswered

TIME: Final = ("since", "until")
MOST_EVENTS: Final = 500  # on a page; more are further pages
USUAL_EVENTS: Final = 100


class Inquiry(NamedTuple):
    """One request for a page: who asks what, and the reading to ask."""

    reading: Reading
    who: Who
    asked: Asked
    matched: Mapping[str, str]  # parts of the path


class Page(NamedTuple):
    name: str
    path: str
    parameters: Sequence[str]
    ask: Callable[[Inquiry], Awaitable[Any]]
    table: Callable[[Any], Result]
    template: str
    drawn: Callable[[Any], Sequence[Markup]] = lambda answer: ()


# -- what each asks -----------------------------------------------------------------------------------------


async def now(inquiry: Inquiry) -> answers.Now:
    return await inquiry.reading.now(inquiry.asked.period())


async def events(inquiry: Inquiry) -> answers.Events:
    asked = inquiry.asked
    asked.moment("at")  # of the event beside the page: what cannot be a time is told in every form
    limit = asked.number("limit", USUAL_EVENTS, 1, MOST_EVENTS)
    return await inquiry.reading.events(asked.period(), asked.conditions(), asked.text("text"), limit)


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


async def customer(inquiry: Inquiry) -> answers.Customer:
    asked = inquiry.asked
    kinds = [kind for kind in ("company", "user") if asked.text(kind)]
    if len(kinds) != 1:
        raise web.HTTPBadRequest(text="name one company or one user")
    return await inquiry.reading.customer(asked.period("24h"), kinds[0], asked.text(kinds[0]))


async def endpoint(inquiry: Inquiry) -> answers.Endpoint:
    method, _, route = inquiry.asked.text("endpoint").partition(" ")
    if not inquiry.asked.text("endpoint"):
        raise web.HTTPBadRequest(text="name an endpoint: method and route, as in POST /v1/orders")
    return await inquiry.reading.endpoint(inquiry.asked.period(), method, route)


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


def _lines_table(lines: Iterable[answers.Line]) -> Result:
    columns = tuple(name for name in answers.Line.model_fields if name != "at")
    return Result(columns, [tuple(getattr(line, name) for name in columns) for line in lines])


def _three(estimate: answers.Estimate) -> tuple[float, float, float]:
    """The number and its interval; of an exact one its own value twice."""
    low, high = estimate.low, estimate.high
    return estimate.value, estimate.value if low is None else low, estimate.value if high is None else high


def _over_time(answer: answers.Now | answers.Customer | answers.Endpoint) -> Sequence[Markup]:
    return drawings.over_time(answer.points, answer.asked.step_s)


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
    Page("trace", "/trace/{id}", ("at",), trace, steps_table, "trace.html"),
    Page("customer", "/customer", (*TIME, "company", "user"), customer, points_table, "customer.html", _over_time),
    Page("endpoint", "/endpoint", (*TIME, "endpoint"), endpoint, points_table, "endpoint.html", _over_time),
)


class Asker:
    """Answers for one page, in the form that the address ends with."""

    def __init__(self, of: Page, reading_for: Callable[[Who], Reading], lost: Callable[[], Sequence[str]]) -> None:
        """lost: what is wrong with the bridge now, for the sign that every page has."""
        self._page = of
        self._reading_for = reading_for
        self._lost = lost

    async def html(self, request: web.Request) -> web.Response:
        inquiry = self._inquiry(request)
        facts: dict[str, Any] = {
            "who": inquiry.who,
            "page": self._page.name,
            "state": State(request),
            "lost": self._lost(),
        }
        try:
            facts["answer"] = await self._page.ask(inquiry)
            facts["drawer"] = await self._drawer(inquiry)
            facts["drawn"] = self._page.drawn(facts["answer"])
        except Unanswered as error:
            facts |= {"status": _status(error), "said": str(error)}
            return page("message.html", facts, _status(error))
        return page(self._page.template, facts)

    async def json(self, request: web.Request) -> web.Response:
        answer = await self._answer(request)
        return web.Response(text=answer.model_dump_json(), content_type="application/json")

    async def csv(self, request: web.Request) -> web.Response:
        answer = await self._answer(request)
        response = web.Response(text=csv_text(self._page.table(answer)), content_type="text/csv", charset="utf-8")
        response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{self._page.name}.csv"'
        return response

    async def _answer(self, request: web.Request) -> Any:
        try:
            return await self._page.ask(self._inquiry(request))
        except Unanswered as error:
            return refuse(error)

    def _inquiry(self, request: web.Request) -> Inquiry:
        who = who_asks(request)
        return Inquiry(self._reading_for(who), who, Asked(request, self._page.parameters), request.match_info)

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
        self._pairs = [(name, value) for name, value in request.query.items() if value]
        self.wheres = [value for name, value in self._pairs if name == "where"]
        self.since = request.query.get("since", "")
        self.until = request.query.get("until", "")
        self.text = request.query.get("text", "")
        self.event = request.query.get("event", "")

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
