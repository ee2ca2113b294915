"""Which spans become what (spec/mapping.md §2): an API call, an action of a family, or plumbing that is skipped.

The answer depends on the span's kind, on which attributes it has, and on its name in two places only; so it
is found once for a shape.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mapping.event import ACTION, API_CALL, SKIP
from mapping.shape import Shape
from mapping.spans.models import Words

# SpanKind of trace.proto; unknown numbers are treated as unspecified.
UNSPECIFIED, INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(6)

PLUMBING: Final = "plumbing"
METHODS: Final = ("http.request.method", "http.method")
STATUSES: Final = ("http.response.status_code", "http.status_code")
LOCATIONS: Final = ("url.full", "http.url", "http.target", "url.path", "http.route")

_OF_SERVERS: Final = ("http.route", "http.client_ip", "client.address")  # only who serves a call knows these

_PLUMBING_KEYS: Final = (
    "asgi.event.type",
    "express.type",
    "router.type",
    "connect.type",
    "koa.type",
    "hapi.type",
    "fastify.type",
    "fastify.root",  # INTERNAL only below the HTTP server's span of the same call
    "nestjs.type",
    "restify.type",
)
# Their routes stand on the HTTP server's own span as well.
_ROUTED_KEYS: Final = tuple(key for key in _PLUMBING_KEYS if key != "nestjs.type")
_PLUMBING_NAMES: Final = (
    "graphql.parse",
    "graphql.validate",
    "graphql.resolve",
    "GraphQL Parsing",
    "GraphQL Validation",
    "GraphQL Resolving",
)

# Of one field of an operation: Node, Datadog, Spring, Envelop; and gqlgen, whose spans of all kinds are SERVER.
_RESOLVER_KEYS: Final = ("graphql.field.name", "graphql.field.path", "graphql.resolver.fieldName")
_RESOLVER_KEYS_OF_ANY: Final = ("gql.resolver.field",)

# First match wins. A key that ends in a dot stands for everything below it.
_FAMILIES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("mcp", ("mcp.method.name",)),
    ("genai", ()),  # by the tables of `mapping.dialects`
    ("rpc", ("rpc.system", "rpc.system.name", "rpc.service", "grpc.method.name")),
    (
        "graphql",
        (
            *("graphql.operation.type", "graphql.operation.name", "graphql.document"),
            # Of Hot Chocolate, Spring, and gqlgen's two instrumentations.
            *("graphql.operation.kind", "graphql.document.id", "graphql.operation", "graphql.execution.id"),
            *("graphql.outcome", "gql.request.query", "gql.resolver.field"),
            *("graphql.execute.operationName", "graphql.execute.document"),  # Envelop: Yoga, Hive Gateway
        ),
    ),
    (
        "messaging",
        (
            "messaging.system",
            "messaging.destination",
            "messaging.destination.name",
            "messaging.operation",
            "messaging.operation.name",
            "messaging.operation.type",
        ),
    ),
    ("db", ("db.system", "db.system.name", "db.statement", "db.query.text")),
    ("faas", ("faas.invocation_id", "faas.execution", "faas.trigger", "faas.invoked_name")),
)


class Kind(NamedTuple):
    """What a span becomes."""

    event_type: str  # API_CALL | ACTION | SKIP
    family: str  # "http" for API calls, PLUMBING for skips
    reason: str = ""  # of a skip
    kind: int = INTERNAL  # of an API call, as what it is read: its sender may have left it out


def is_plumbing_name(name: str) -> bool:
    """True for the spans that GraphQL servers emit around every operation; they say nothing about a caller."""
    return name.startswith(_PLUMBING_NAMES)


def classify(kind: int, shape: Shape, models: Words, *, skip_plumbing: bool = True) -> Kind:
    """What spans of this kind and shape become, their name aside."""
    has = shape.has
    if skip_plumbing and kind == INTERNAL and has(*_PLUMBING_KEYS):
        key = next(key for key in _PLUMBING_KEYS if key in shape.at)
        return Kind(SKIP, PLUMBING, key)
    is_resolver = (kind in (INTERNAL, UNSPECIFIED) and has(*_RESOLVER_KEYS)) or has(*_RESOLVER_KEYS_OF_ANY)
    if skip_plumbing and is_resolver:
        return Kind(SKIP, PLUMBING, "graphql")
    told = kind in (SERVER, CLIENT, PRODUCER, CONSUMER)
    # LiteLLM tells of a model's call that failed on FastAPI's own span.
    if skip_plumbing and not told and shape.reading.plumbing and not models.mean(shape.at):
        return Kind(SKIP, PLUMBING, shape.reading.plumbing)
    method, located = has(*METHODS), has(*STATUSES) and has(*LOCATIONS)
    # LiteLLM's own span of a call may say neither method nor status.
    gateway = has(*models.named["told_by_call"]) and has(*LOCATIONS)
    if kind == SERVER and (method or located or gateway):
        return Kind(API_CALL, "http", kind=SERVER)
    family = _family(kind, shape, models)
    if family == "faas" and method and not has("faas.trigger", "faas.invoked_name"):
        family = "other" if told else "internal"  # a call that a function makes: Cloudflare tells its invocation on all
    if kind == CLIENT and family == "other" and (method or located):
        return Kind(API_CALL, "http", kind=CLIENT)
    if not told and method and has(*STATUSES, *LOCATIONS):
        served = family == "internal" and has(*_OF_SERVERS)  # whoever made the span left its kind out
        if served or shape.reading.incoming or (family == "faas" and not has("faas.invoked_name")):
            return Kind(API_CALL, "http", kind=SERVER)
        if family == "internal":
            return Kind(API_CALL, "http", kind=kind)
    return Kind(ACTION, family)


def _family(kind: int, shape: Shape, models: Words) -> str:
    keys = shape.at
    for family, names in _FAMILIES:
        for name in names:
            if name in keys or (name[-1] == "." and any(key.startswith(name) for key in keys)):
                return family
        if family == "genai" and models.mean(keys):
            return family
        if family == "graphql" and "component" in shape.graphql and "query" in keys:
            return family
        if family == "messaging" and kind in (PRODUCER, CONSUMER):
            return family
    return shape.reading.family or ("internal" if kind not in (SERVER, CLIENT) else "other")


def may_tell_route(kind: int, shape: Shape) -> bool:
    """True for spans within a call that may say its route where the HTTP server's own span does not."""
    return kind not in (SERVER, CLIENT, PRODUCER, CONSUMER) and not shape.has(*_ROUTED_KEYS)


def direction(kind: int) -> str:
    """Incoming, Outgoing or Internal (spec/mapping.md §3.8)."""
    if kind in (SERVER, CONSUMER):
        return "Incoming"
    return "Outgoing" if kind in (CLIENT, PRODUCER) else "Internal"
