"""What pages and the API answer: plain data, described well enough that the OpenAPI document is made from it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Milliseconds = Annotated[float, Field(description="Milliseconds.")]


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(Answer):
    """A number about all traffic, with its 95 % interval where sampling left doubt."""

    value: float
    low: float | None = Field(None, description="None: the number is exact.")
    high: float | None = None


class Figures(Answer):
    """Calls of a time: how many, how many failed, how long they took."""

    calls: Estimate
    failed: Estimate = Field(description="With a status from 400, or an error and no status.")
    server_failed: float = Field(description="Of these, from 500 or without a status.")
    error_rate: Estimate | None = Field(description="failed / calls; None without calls.")
    p50_ms: Estimate | None = None
    p95_ms: Estimate | None = None
    p99_ms: Estimate | None = None
    rows_seen: int = Field(description="Calls that are stored; with sampling fewer than calls.")


class Point(Figures):
    time: datetime = Field(description="When it begins; it lasts step_s.")


class Asked(Answer):
    """What the answer is about."""

    since: datetime
    until: datetime
    step_s: int = Field(description="Seconds of one point.")
    where: list[str] = Field(default_factory=list, description="Conditions, as in `weighbridge tail --where`.")
    text: str = ""


class Group(Answer):
    """Calls with one value of a column, beside the time before of the same length."""

    value: str
    calls: float
    failed: float
    calls_before: float
    failed_before: float
    last_seen: datetime | None
    last_failed_trace: str
    estimated: bool = Field(description="Whether sampled calls are in it, so that the numbers are estimates.")


class Facet(Answer):
    value: str
    events: float


class Told(Answer):
    """A log line that tells of something."""

    time: datetime
    service: str
    severity: str
    text: str


class Line(Answer):
    """An event as one line."""

    event_id: str
    time: datetime
    at: str = Field(description="Its time, as the parameter `at` takes it.")
    received: datetime
    event_type: Literal["api_call", "action", "log"]
    direction: str
    service: str
    method: str
    endpoint: str
    uri: str
    name: str
    action: str
    family: str
    status_code: int = Field(description="0: no response was seen.")
    error_type: str
    message: str = Field(description="Of an exception.")
    duration_ms: float | None
    user_id: str
    company_id: str
    severity: str
    text: str = Field(description="Of a log: its message and fields on one line.")
    weight: int
    trace_id: str
    span_id: str
    failed: bool
    moved: bool = Field(description="Whether its own time could not be, and was replaced.")


class Failed(Line):
    """A failed call with the log lines of its trace that tell most."""

    told: list[Told]


class Change(Answer):
    """Something that is otherwise than in the time before."""

    kind: Literal["worse", "better", "new"]
    by: str
    value: str
    failed: float
    failed_before: float
    said: str


class Now(Answer):
    asked: Asked
    total: Figures
    before: Figures = Field(description="The time before, of the same length.")
    points: list[Point]
    companies: list[Group]
    endpoints: list[Group]
    failures: list[Failed]
    changes: list[Change]
    newest: datetime | None = Field(description="The newest event of all; None when nothing is stored.")


class Bin(Answer):
    time: datetime
    calls: float
    failed: float
    actions: float
    logs: float


class Events(Answer):
    asked: Asked
    events: list[Line] = Field(description="Newest first.")
    more: bool = Field(description="Whether there are more, older ones in the time.")
    facets: dict[str, list[Facet]] = Field(description="By column, weighted; most first.")
    histogram: list[Bin]
    said: list[str] = Field(description="What people should know of conditions that may mean something else.")
    newest: datetime | None


class EventWhole(Answer):
    line: Line
    event: dict[str, Any] = Field(description="Every column as it is stored; what was masked is masked here too.")


class Exception_(Answer):
    said: str
    stack: str


class Step(Answer):
    """A line of a trace."""

    line: Line
    depth: int
    offset_ms: float = Field(description="After the trace's beginning.")
    critical: bool = Field(description="On the critical path: without it the trace would have been shorter.")
    exception: Exception_ | None = Field(description="Told once a trace, where it is told best.")
    alike: int = Field(description="How many further steps beside it are alike and folded into it.")
    folded: bool = Field(description="Whether it is one of those.")


class Trace(Answer):
    trace_id: str
    started: datetime
    duration_ms: Milliseconds
    services: list[str]
    calls: int
    failed: int
    logs: int
    steps: list[Step]
    cut: bool = Field(description="Whether the trace has more events than are shown.")


class Beside(Answer):
    """Somebody's calls beside everybody else's."""

    calls: float
    failed: float
    p50_ms: float | None
    p95_ms: float | None


class Customer(Answer):
    asked: Asked
    kind: Literal["company", "user"]
    id: str
    total: Figures
    points: list[Point]
    groups: dict[str, list[Group]] = Field(description="By column: endpoints, users, keys, agents, versions, plans.")
    failures: list[Failed]
    quota: dict[str, str] = Field(description="Headers of the newest answer that tell of a quota.")
    quota_told: datetime | None
    models: list[Model]
    own: Beside
    others: Beside
    first_seen: datetime | None
    last_seen: datetime | None
    seen_since: datetime = Field(description="How far back first and last were looked for.")


class Model(Answer):
    """Calls of a model."""

    model: str
    calls: float
    input_tokens: float
    output_tokens: float


class Endpoint(Answer):
    asked: Asked
    endpoint: str = Field(description="Method and route, as in `POST /v1/orders`.")
    total: Figures
    points: list[Point]
    groups: dict[str, list[Group]]
    failures: list[Failed]


class Table(Answer):
    """The answer to SQL or to a question by name."""

    columns: list[str]
    rows: list[list[Any]]
    cut: bool = Field(description="Whether there are more rows than are shown.")
    said: list[str]
    took_ms: Milliseconds


Customer.model_rebuild()


class Groups(Answer):
    """Calls by who makes them or by where they go."""

    asked: Asked
    groups: dict[str, list[Group]]


class Ended(Answer):
    """Where the records of a sink and tenant ended; `received` is the sum of what follows it."""

    sink: str
    tenant: str
    received: int
    delivered: int
    deduplicated: int
    dead_lettered: int
    skipped: int
    sampled_out: int
    failed: int
    dropped: int
    routed: int
    waiting_for_span: int
    in_spool: int
    catching_up: bool


class Taken(Answer):
    """What arrived of a tenant since the bridge was started, in records; refusals by reason."""

    tenant: str
    accepted: int
    resent: int
    unanswered: int
    stored: int
    refused: dict[str, int]
    refused_requests: dict[str, int] = Field(description="Requests, not records.")


class SinkState(Answer):
    sink: str
    backlog_records: int
    backlog_bytes: int
    oldest_undelivered_age_s: float
    last_error: str | None


class Sampled(Answer):
    """What a sampling rule received and kept of a tenant since the start."""

    rule: str
    tenant: str
    numbers: dict[str, float]
    audit_z: float | None = Field(description="How far the weights are from adding up, in standard errors.")


class DeadLetter(Answer):
    id: str
    time: datetime
    sink: str
    event_type: str
    records: int
    reason: str
    content: str = Field(description="The entry as JSON, cut when it is long.")


class Bridge(Answer):
    """What happened to everything that was received."""

    kind: Literal["good", "late", "doubtful", "lost"]
    said: str = Field(description="One sentence: whether anything is lost, late or doubtful.")
    more: list[str] = Field(description="What else is to be known, one sentence each.")
    intake: list[Taken]
    ended: list[Ended]
    sinks: list[SinkState]
    spool_bytes: int
    spool_max_bytes: int
    oldest_undelivered_age_s: float
    last_sync_s: float | None
    sampled: list[Sampled]
    dead_letters: list[DeadLetter] = Field(description="Newest first.")
    dead_letters_cut: bool
    residue: dict[str, int] = Field(description="Records that nothing explains, by step; anything but 0 is a fault.")


class Parameter(Answer):
    """A field of a form."""

    name: str
    value: str
    usual: str
    needed: bool


class Question(Answer):
    name: str
    about: str


class Sql(Answer):
    """A question in SQL or by name, with its answer where it was asked."""

    sql: str
    name: str
    about: str
    parameters: list[Parameter]
    questions: list[Question]
    table: Table | None
    refused: str = Field(description="Why there is no answer.")
