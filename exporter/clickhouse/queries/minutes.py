"""Named questions that the counts by minute can answer, exactly; and when they cannot, why.

A question of calls goes to `api_minutes` where what it asks is counted there, and to the events that were kept where
not: `alternative` gives the statements, `verdict` reads what the probe found. Their SQL is in minutes.sql.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from exporter.clickhouse.durations import GAMMA
from exporter.clickhouse.minutes_table import MINUTES_DAYS, TABLE
from exporter.clickhouse.queries.milestones import period_marks
from exporter.clickhouse.queries.named import FAILING, FAILING_MARK
from exporter.clickhouse.queries.statement import Condition, Statement, statement
from exporter.clickhouse.schema import TABLE as EVENTS
from exporter.clickhouse.schema import calls_of

# Columns of events that the minutes have under the same name.
KEYS: Final = frozenset(
    {
        "company_id", "plan", "service", "environment", "region", "tenant", "method", "endpoint", "api_version",
        "status_code", "error_type", "application_id", "hop",
    }
)  # fmt: skip
_KEPT_WHEN_FOLDED: Final = (  # by level of folding (counted.py)
    KEYS,
    frozenset({"company_id", "service", "status_code", "hop", "plan", "tenant"}),
    frozenset({"status_code", "hop", "tenant"}),
)
_TIMES: Final = {"hour": "toStartOfHour(minute)", "day": "toDate(minute)", "all": "''"}
_METHOD_TOO: Final = {"endpoint": "if(endpoint = '(other)', endpoint, concat(method, ' ', endpoint))"}
# What each question groups by beside its own parameters.
_ASKED: Final[Mapping[str, Sequence[str]]] = {
    "totals": (),
    "percentile": (),
    "traffic_by_plan": ("plan",),
    "top_erroring_customers": ("company_id",),
    "failing_customers": ("company_id", "endpoint"),
    "endpoint_percentiles": ("endpoint", "method"),
    "endpoint_coverage": ("company_id", "endpoint"),
    "usage": ("company_id", "tenant"),
    "adoption": ("company_id", "api_version"),
    "returning": ("company_id",),
}
_HOPS: Final = {"entry": " AND hop != 'inner'", "all": ""}
_OWN: Final = {"entry": "(hop != 'open' OR service IN {own:Array(String)})", "all": "1"}
# What may be wrong about calls whose hop is open, as a share of all: beyond it the events are asked instead.
_MOST_DOUBT: Final = 0.01
ALL_OF_TIME_S: Final = 1 << 31  # a step that makes one point of everything
_LOOKED: Final = 1000  # traces of nameless calls that are looked at for a name
# Traces with open hops that are looked at: of more, one in so many; they leave 6 calls of 100,000 in doubt.
MOST_TRACES: Final = 50_000
# Of calls, only those have to be resolved.
_OPEN: Final = " AND api_call.call_place = 4 AND api_call.trace_hash % {part:UInt64} = 0"
# A day before rows become hours: a time that begins earlier begins with a whole hour.
_HOURS_BEFORE: Final = MINUTES_DAYS - 1


class Alternative(NamedTuple):
    """How the minutes answer a question, and what tells whether they can."""

    statement: Statement
    probe: Statement
    open_hops: Statement  # to be asked when the probe finds calls whose hop is open
    named_elsewhere: Statement | None  # to be asked when the probe finds calls without a company; None: no matter
    columns: frozenset[str]
    hops: str


class Kept(NamedTuple):
    """What tells whether all calls of a time were kept: to be asked in this order (events are written first)."""

    counted: Statement
    stored: Statement


class OpenHops(NamedTuple):
    """What the kept traces tell of calls whose parents came in other requests."""

    calls: float
    traces: int
    own: Sequence[str]  # services all of whose calls of that kind are customers' own
    doubt: float  # as many calls may be otherwise (95 %)


class Chosen(NamedTuple):
    """The statement that the minutes answer; hops: what it takes from kept traces, None where it needs nothing."""

    statement: Statement
    hops: OpenHops | None


def alternative(name: str, arguments: Mapping[str, Any]) -> Alternative | str:
    """The question of this name for the minutes, or in a few words why only events can answer.

    arguments: of the function of `exporter.clickhouse.queries` that has this name.
    """
    if name not in _ASKED:
        return ""
    values = dict(arguments)
    hops = values.pop("hops", "entry")
    by = values.pop("window", "hour") if name == "usage" else values.pop("by", "all")
    where: list[Condition] = list(values.pop("where", ()))
    values.pop("sample_unit", None)
    since, until = values.pop("since"), values.pop("until")
    marks = period_marks(values.pop("period", "week")) if name == "returning" else {}
    return _alternative(name, since, until, _OWN_PARAMETERS[name](values), where, by, hops, replace=marks)


def all_kept(since: datetime, until: datetime) -> Kept:
    """What to ask about a time before `is_all_kept` is; of whole minutes, as calls are counted."""
    marks = {"$from": _begin("since"), "$to": _end("until")}

    def made(question: str) -> Statement:
        return statement(question, {"since": since, "until": until}, replace=marks, file="minutes.sql")

    return Kept(made("counted_rows"), made("stored_rows"))


def is_all_kept(counted: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> bool | None:
    """Whether every incoming call of a time is there, by the rows of `all_kept`; None where the counts do not tell.

    Then events answer exactly. Calls that a rate of 0 drops are in no answer, and need not be there. stored: not given,
    whether it is worth asking for.
    """
    if counted["uncounted"] or counted["estimated"] or counted["weighted"]:
        return None
    if counted["received"] != counted["were_kept"]:
        return False
    return stored is None or (not stored["sampled"] and stored["stored"] >= counted["were_kept"])


def series(
    since: datetime, until: datetime, step_s: int, where: Sequence[Condition], before: datetime | None = None
) -> Alternative | str:
    """What `exporter.clickhouse.looks.overview` asks, for the minutes; or why only events can answer."""
    if step_s % 60 and step_s < ALL_OF_TIME_S:
        return "its steps are shorter than minutes"
    if step_s < 3600 and since < datetime.now(UTC) - timedelta(days=_HOURS_BEFORE):
        return "its steps are shorter than hours"
    return _alternative("series", before or since, until, {"step": step_s, "middle": since}, where, "all", "entry")


def groups(
    since: datetime,
    until: datetime,
    by: Mapping[str, tuple[str, frozenset[str]]],
    where: Sequence[Condition],
    before: datetime | None,
    limit: int,
) -> Alternative | str:
    """What `exporter.clickhouse.looks.groups` asks. by: each column as SQL, and the columns of the minutes it needs."""
    needed = frozenset[str]().union(*(columns for _, columns in by.values()))
    marks = sets_of({name: sql for name, (sql, _) in by.items()})
    own = {"middle": since, "limit": limit}
    return _alternative("groups", before or since, until, own, where, "all", "entry", needed, marks)


def beside(since: datetime, until: datetime, company: str, where: Sequence[Condition]) -> Alternative | str:
    """What `exporter.clickhouse.looks.beside_others` asks, of a company."""
    needed = frozenset({"company_id"})
    return _alternative("beside", since, until, {"company": company}, where, "all", "entry", needed)


def sets_of(by: Mapping[str, str]) -> Mapping[str, str]:
    """Marks of a question that groups by each of some columns apart. by: their names, each as SQL."""
    kinds = ", ".join(f"grouping(g{n}) = 0, '{name}'" for n, name in enumerate(by))
    values = ", ".join(f"grouping(g{n}) = 0, g{n}" for n in range(len(by)))
    return {
        "$by": f"multiIf({kinds}, '')",
        "$value": f"multiIf({values}, '')",
        "$columns_by": "".join(f", toString({sql}) AS g{n}" for n, sql in enumerate(by.values())),
        "$sets": ", ".join(f"(g{n})" for n in range(len(by))),
    }


def _alternative(
    name: str,
    since: datetime,
    until: datetime,
    own: Mapping[str, object],
    where: Sequence[Condition],
    by: str,
    hops: str,
    needed: frozenset[str] = frozenset(),
    replace: Mapping[str, str] | None = None,
) -> Alternative | str:
    asked = {*_ASKED.get(name, ()), *(condition.column for condition in where), *({by} - _TIMES.keys()), *needed}
    if unknown := sorted(asked - KEYS):
        return f"calls are not counted by {' and '.join(unknown)}"
    parameters: dict[str, object] = {"since": since, "until": until}
    marks = {
        "$all_minutes": _scope(hops),
        "$minutes": f"{_scope(hops)} AND {_OWN[hops]}",
        "$own": _OWN[hops],
        "$doubt": "{doubt:Float64}",
        "$bad": "(status_code >= 400 OR error_type != '')",
        "$server": "(status_code >= 500 OR (status_code < 400 AND error_type NOT IN ('', 'cancelled')))",
        "$by": _TIMES.get(by) or _METHOD_TOO.get(by, by),
        "$gamma": repr(GAMMA),
        **FAILING_MARK,
        "$open_calls": f"({calls_of(EVENTS, _OPEN)})",
        "$middle": _begin("middle"),
        **(replace or {}),
    }
    only = FAILING.replace("$of", "api_call.") if name == "failing_customers" else ""

    def made(question: str, more: Mapping[str, object], terms: Sequence[Condition]) -> Statement:
        return statement(
            question, {**parameters, **more}, terms, replace=marks, hops=hops, file="minutes.sql", only=only
        )

    return Alternative(
        made(name, {**own, "own": [], "doubt": 0.0}, where),
        made("probe", {}, where),
        made("open_hops", {"part": 1}, where),
        made("named_elsewhere", {"looked": _LOOKED}, ()) if "company_id" in asked else None,
        frozenset(asked),
        hops,
    )


def resolved(rows: Sequence[Mapping[str, Any]]) -> OpenHops | None:
    """What the rows of `open_hops` tell; None when calls of one service are both, customers' own and not.

    Both they are also where a call is told of twice (exporter/twins.py), or a service calls itself.
    """
    if any(0 < row["own_traces"] < row["traces"] or row["mixed_traces"] for row in rows):
        return None
    return OpenHops(
        sum(row["open_calls"] for row in rows),
        sum(row["traces"] for row in rows),
        [row["service"] for row in rows if row["own_traces"]],
        sum(row["doubt"] for row in rows),
    )


def with_open_hops(of: Statement, hops: OpenHops) -> Statement:
    """The statement for calls some of which are customers' own by what the kept traces tell."""
    return of._replace(parameters={**of.parameters, "own": list(hops.own), "doubt": hops.doubt})


def choose(of: Alternative) -> Generator[Statement, Sequence[Mapping[str, Any]], Chosen | str]:
    """The statement that the minutes answer, or why they cannot; yields what must be asked, and is sent the rows."""
    (found,) = yield of.probe
    if why := verdict(of, found, _ALL_KNOWN):  # what is asked further takes longer
        return why
    elsewhere, hops = 0, None
    if of.named_elsewhere is not None and found["nameless_calls"]:
        (row,) = yield of.named_elsewhere
        elsewhere = row["calls"]
    if not elsewhere and of.hops == "entry" and found["open_calls"]:
        hops = resolved((yield _in_part(of.open_hops, int(found["open_rows"]))))
    if why := verdict(of, found, hops, elsewhere):
        return why
    return Chosen(with_open_hops(of.statement, hops) if hops else of.statement, hops)


def _in_part(open_hops: Statement, rows: int) -> Statement:
    return open_hops._replace(parameters={**open_hops.parameters, "part": max(1, rows // MOST_TRACES)})


def verdict(of: Alternative, found: Mapping[str, Any], hops: OpenHops | None = None, named_elsewhere: int = 0) -> str:
    """Why the minutes cannot answer, in a few words; "" when they can.

    found: the row of the probe. hops, named_elsewhere: what the other statements found.
    """
    if found["uncounted"]:
        since: datetime = found["counted_from"]
        return f"the store counts calls only since {since:%Y-%m-%d %H:%M} UTC"
    if found["estimated_calls"]:
        return "a part of the time was counted by what was kept (sampling.count: kept)"
    if found["weighted"]:
        return "an SDK had dropped calls before they came; what it kept counts for them"
    all_calls = found["all_calls"] - (hops.calls if hops else 0)
    if of.hops == "entry" and found["open_calls"] and (hops is None or hops.doubt > _MOST_DOUBT * all_calls):
        return (
            f"of {found['open_calls']:.0f} calls only the whole trace tells whether they are customers' own; "
            "hops=all is exact"
        )
    level = int(found["folded_level"])
    if of.columns - _KEPT_WHEN_FOLDED[level]:
        return "there were too many names to count them all apart"
    if named_elsewhere:
        return "other requests of their traces say whose some calls are"
    return ""


def _scope(hops: str) -> str:
    if hops not in _HOPS:
        raise ValueError(f"hops is {' or '.join(_HOPS)}, not {hops!r}")
    return (
        f"{TABLE} WHERE minute >= {_begin('since')} AND minute < {{until:DateTime64(6)}} AND batch_id = 0 "
        f"AND NOT unseen AND direction = 'incoming'{_HOPS[hops]}"
    )


def _begin(parameter: str) -> str:
    """The first minute of a time, of one long ago its first hour."""
    moment = f"{{{parameter}:DateTime64(6)}}"
    return f"if({moment} < now() - INTERVAL {_HOURS_BEFORE} DAY, toStartOfHour({moment}), toStartOfMinute({moment}))"


def _end(parameter: str) -> str:
    """The first minute after a time, of one long ago the first hour."""
    moment = f"({{{parameter}:DateTime64(6)}} - toIntervalMicrosecond(1))"
    hour, minute = (f"toStartOf{unit}({moment}) + INTERVAL 1 {unit}" for unit in ("Hour", "Minute"))
    return f"if({moment} < now() - INTERVAL {_HOURS_BEFORE} DAY, {hour}, {minute})"


_ALL_KNOWN: Final = OpenHops(0.0, 0, (), 0.0)


def _limited(most: int, **defaults: object) -> Callable[[Mapping[str, Any]], Mapping[str, object]]:
    """The parameters of a question's own, with the defaults of its function."""
    return lambda given: {"limit": most, **defaults} | {k: v for k, v in given.items() if k not in ("since", "until")}


_OWN_PARAMETERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, object]]]] = {
    "totals": _limited(1000),
    "percentile": _limited(1000, q=0.95),
    "traffic_by_plan": _limited(1000),
    "top_erroring_customers": lambda given: {
        "least": given.get("least_calls", 0),
        "limit": given.get("limit", 20),
    },
    "failing_customers": _limited(50, status=0),
    "endpoint_percentiles": _limited(1000, endpoint=""),
    "endpoint_coverage": _limited(100),
    "usage": _limited(10_000),
    "adoption": _limited(1000, version=""),
    "returning": lambda _: {},
}
