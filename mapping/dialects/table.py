"""What a dialect is: a table that says how one system names what a call is made of. Data only, no code.

The files beside this one are the dialects that are built in; `mapping.dialects` in the settings takes more with the
same keys. Names are those of attributes or of fields of a log body, objects within objects joined by dots; case, `-`
and `_` do not matter, except for durations.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from mapping.dialects.lines import compile_format

Unit = Literal["ns", "us", "ms", "s", "decimals", "go", "text"]
GENERIC: Final = "generic"  # the dialect whose names count for every record


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Sign(_Table):
    """One way to recognise a record: it has all of the keys, and comes from the scope."""

    keys: Names = Field(default=(), description="Keys that are all there.")
    scope: str = Field(default="", description="Name of the instrumentation scope; empty for any.")
    begins: Names = Field(default=(), description="Of log records: keys with which they begin, in this order.")
    ends: Names = Field(default=(), description="Of log records: keys with which they end, in this order.")

    @model_validator(mode="after")
    def _says_something(self) -> Sign:
        if not (self.keys or self.scope or self.begins or self.ends):
            raise ValueError("a sign needs keys or a scope")
        return self


class Vocabulary(_Table):
    """How a system names things in log records. Of several names the first that has a usable value counts."""

    known_by: tuple[Sign, ...] = Field(default=(), description="Any one of these recognises a record.")
    below: Names = Field(default=(), description="Objects below which the names may also stand.")
    lines: Names = Field(
        default=(), description="Formats of plain text lines, as nginx writes them; what they name is read like keys."
    )
    in_attributes: bool = Field(default=False, description="Calls are read from attributes of log records, too.")

    @field_validator("lines")
    @classmethod
    def _formats_compile(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        for line in lines:
            compile_format(line)
        return lines

    method: Names = Field(default=(), description="HTTP method.")
    methods: dict[int, str] = Field(default={}, description="Methods that are written as numbers.")
    request_line: Names = Field(default=(), description="`GET /a?b=1 HTTP/1.1`, or its target alone.")
    status: Names = Field(default=(), description="Status of the response.")
    ended_by: Names = Field(
        default=(),
        description="Envoy's response flags: a call that its caller gave up needs no status.",
    )
    url: Names = Field(default=(), description="Absolute URL, or target of the request with its query.")
    path: Names = Field(default=(), description="Path of the URL.")
    query: Names = Field(default=(), description="Query of the URL.")
    route: Names = Field(default=(), description="Route with placeholders.")
    scheme: Names = Field(default=(), description="http or https.")
    tls: Names = Field(default=(), description="Version or cipher of TLS: there where the scheme is https.")
    host_header: Names = Field(default=(), description="Host as the caller named it, with its port.")
    host: Names = Field(default=(), description="Public host, its port elsewhere.")
    perhaps_host: Names = Field(default=(), description="Public host or name of a machine: the value decides.")
    port: Names = Field(default=(), description="Port of `host`.")
    forwarded_for: Names = Field(default=(), description="Header X-Forwarded-For.")
    forwarded_host: Names = Field(default=(), description="Header X-Forwarded-Host.")
    forwarded_proto: Names = Field(default=(), description="Header X-Forwarded-Proto.")
    ip: Names = Field(default=(), description="Address of the caller.")
    user_agent: Names = Field(default=(), description="Header User-Agent.")
    duration: dict[str, Unit] = Field(
        default={},
        description="Duration of the call, spelled exactly, with its unit; decimals: seconds where the number has "
        "decimals, else unknown; go: nanoseconds where they are 10,000 or more, else unknown; text: the unit is in the "
        "value.",
    )
    duration_parts: Names = Field(
        default=(), description="Seconds, or texts with units, that add up to the duration of the call."
    )
    direction: Names = Field(default=(), description="outgoing, client, egress for calls that were made.")
    request_headers: Names = Field(default=(), description="Beginnings of keys that hold a header of the request.")
    response_headers: Names = Field(default=(), description="Beginnings of keys that hold a header of the response.")
    user: Names = Field(default=(), description="User of the call.")
    company: Names = Field(default=(), description="Company of the call.")
    application: Names = Field(default=(), description="Application that called.")
    client: Names = Field(default=(), description="OAuth client or credential (its id, no secret) that called.")
    plan: Names = Field(default=(), description="Plan or product of the caller.")
    subscription: Names = Field(default=(), description="Subscription of the caller.")
    session: Names = Field(default=(), description="Session.")
    key: Names = Field(default=(), description="Secret of the caller: masked; its hash is the session.")
    request_id: Names = Field(default=(), description="Id of the request.")
    trace_id: Names = Field(default=(), description="Trace id, in any form.")
    span_id: Names = Field(default=(), description="Span id.")
    level: Names = Field(default=(), description="Level of the line.")
    time: Names = Field(default=(), description="Time of the line.")
    start: Names = Field(default=(), description="Time at which the call began.")
    end: Names = Field(default=(), description="Time at which the call ended; with `start` its duration.")
    ignored: Names = Field(default=(), description="What sounds like one of the above and is something else.")


class SpanVocabulary(_Table):
    """How a system names things in spans, where it does not keep to the semantic conventions.

    Names are spelled exactly. A name of the conventions that is there too comes first, unless it is ignored.
    """

    known_by: tuple[Sign, ...] = Field(default=(), description="Any one of these recognises a span.")
    given_up: Names = Field(
        default=(), description="Values of the status that say that the caller had gone before there was one."
    )
    plumbing: tuple[Sign, ...] = Field(
        default=(), description="Any one of these recognises an internal span that tells of no work of its own."
    )
    incoming: bool = Field(default=False, description="Internal spans with a method are calls that were served.")
    family: Literal["", "graphql", "rpc"] = Field(
        default="", description="What its spans are whose attributes tell nothing of it."
    )

    shares_ids: Names = Field(
        default=(),
        description="Any one of these says that the span of a call that was made may have the id of its server's span.",
    )

    method: Names = Field(default=(), description="HTTP method.")
    status: Names = Field(default=(), description="Status of the response.")
    status_events: dict[str, str] = Field(
        default={}, description="Names of span events, and the attribute of each that is the status."
    )
    grpc_status: Names = Field(default=(), description="gRPC status, by number or name, behind an HTTP status.")
    url: Names = Field(default=(), description="Absolute URL, or target of the request with its query.")
    path: Names = Field(default=(), description="Path of the URL.")
    query: Names = Field(default=(), description="Query of the URL.")
    route: Names = Field(default=(), description="Route with placeholders.")
    scheme: Names = Field(default=(), description="http or https.")
    host_header: Names = Field(default=(), description="Host as the caller named it, with its port.")
    host: Names = Field(default=(), description="Public host, its port elsewhere.")
    port: Names = Field(default=(), description="Port of `host`.")
    ip: Names = Field(default=(), description="Address of the caller.")
    user_agent: Names = Field(default=(), description="Header User-Agent.")
    error: Names = Field(default=(), description="Name of the error.")
    user: Names = Field(default=(), description="User of the call.")
    company: Names = Field(default=(), description="Company of the call.")
    application: Names = Field(default=(), description="Application that called.")
    client: Names = Field(default=(), description="OAuth client or credential (its id, no secret) that called.")
    plan: Names = Field(default=(), description="Plan or product of the caller.")
    subscription: Names = Field(default=(), description="Subscription of the caller.")
    session: Names = Field(default=(), description="Session.")
    key: Names = Field(default=(), description="Secret of the caller: masked; its hash is the session.")
    request_id: Names = Field(default=(), description="Id of the request.")
    ignored: Names = Field(default=(), description="What sounds like one of the above and is something else.")


class Models(_Table):
    """How a system names things in spans of models, agents and tools. The first name that a span has counts.

    In a name `*` stands for a part of it, as LiteLLM has the provider there.
    """

    signs: Names = Field(default=(), description="Keys, or with a dot at the end beginnings of keys, of such spans.")
    operations: dict[str, dict[str, str]] = Field(
        default={}, description="Attributes that say what a span is: their values, and the operation that each means."
    )
    model: Names = Field(default=(), description="Model.")
    system: Names = Field(default=(), description="Provider of the model.")
    agent: Names = Field(default=(), description="Agent.")
    tool: Names = Field(default=(), description="Tool.")
    response_id: Names = Field(default=(), description="Id of the model's response.")
    input_tokens: Names = Field(default=(), description="Tokens that went in.")
    output_tokens: Names = Field(default=(), description="Tokens that came out.")
    cache_read_tokens: Names = Field(default=(), description="Tokens that came from a cache.")
    cache_creation_tokens: Names = Field(default=(), description="Tokens that went into a cache.")
    reasoning_tokens: Names = Field(default=(), description="Tokens of reasoning.")
    usage: Names = Field(default=(), description="Texts that hold all of these counts, as JSON or as Python writes it.")
    settings: Names = Field(
        default=(),
        description="Texts that hold the settings of a call as JSON: read where nothing else names its model.",
    )
    prepare: Names = Field(default=(), description="Ends of names of spans that say call and only prepare one.")
    streaming: Names = Field(default=(), description="Whether the answer was streamed.")
    status: Names = Field(default=(), description="HTTP status of the provider's answer.")
    failed: dict[str, str] = Field(
        default={}, description="Attributes, and the value of each that says that the call failed, in small letters."
    )
    message: Names = Field(default=(), description="Why it failed.")
    user: Names = Field(default=(), description="User of the call.")
    end_user: Names = Field(default=(), description="User as told to the provider; counts where nobody else is named.")
    company: Names = Field(default=(), description="Company of the call.")
    application: Names = Field(default=(), description="Application that called.")
    client: Names = Field(default=(), description="Credential (its id or hash) that called.")
    session: Names = Field(default=(), description="Session or conversation.")
    told_by_call: Names = Field(
        default=(), description="Keys with which the span of an API call itself tells of its model call."
    )
    path: Names = Field(default=(), description="Path of that call, where its span has no other.")


class Dialect(_Table):
    """How one system names things, and what to know of it."""

    title: str = Field(description="The system.")
    source: str = Field(default="", description="Where it is documented.")
    logs: Vocabulary = Vocabulary()
    spans: SpanVocabulary = SpanVocabulary()
    models: Models = Models()
    cannot_say: str = Field(default="", description="What its records do not tell.")
    switch_on: str = Field(default="", description="What to switch on there.")


FIELDS: Final = tuple(
    name
    for name, field in Vocabulary.model_fields.items()
    if name not in ("known_by", "below", "lines", "in_attributes", "methods", "duration")
)
SPAN_FIELDS: Final = tuple(
    name
    for name in SpanVocabulary.model_fields
    if name not in ("known_by", "plumbing", "incoming", "family", "shares_ids", "status_events", "given_up")
)


@lru_cache(maxsize=1)
def builtin() -> dict[str, Dialect]:
    """The dialects of this folder by name, in alphabetical order."""
    files = sorted(Path(__file__).parent.glob("*.yaml"))
    return {file.stem: read(file.read_text(encoding="utf-8")) for file in files}


def read(text: str) -> Dialect:
    """The dialect in a YAML text. Raises ValueError, naming what is wrong."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return Dialect.model_validate(yaml.load(text, loader))  # noqa: S506 - a safe loader either way
