"""A GraphQL operation that fails behind HTTP 200: the customer's own call says so, and its status stays what it was."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from mapping.event import ACTION, API_CALL, Event
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from otlp_requests import CLIENT, INTERNAL, NOW, SERVER, key_values, span, traces

POST = {"http.request.method": "POST", "http.route": "/graphql", "url.path": "/graphql"}


def failing(message: str) -> Status:
    return Status(code=Status.STATUS_CODE_ERROR, message=message)


ERROR = failing("it broke")


def exception(kind: str, message: str) -> Span.Event:
    told = {"exception.type": kind, "exception.message": message}
    return Span.Event(name="exception", attributes=key_values(told))


def call(status: int = 200, **more: Any) -> Span:
    return span({**POST, "http.response.status_code": status}, name="POST /graphql", number=1, **more)


def mapped(*spans: Span) -> list[Event]:
    result = Mapper(MappingSettings(), Sampler(SamplingSettings())).map(
        Decoder().traces(traces(*spans).SerializeToString()), received_unix_ns=NOW
    )
    assert not result.failed
    return result.events


def the_call(*spans: Span) -> Event:
    (found,) = [event for event in mapped(*spans) if event.event_type == API_CALL and event.direction == "Incoming"]
    return found


# What the instrumentations of each system send, by their sources; the call is above.
FAILURES: dict[str, list[Span]] = {
    "graphql-js, a resolver": [
        span({"graphql.field.name": "book"}, kind=INTERNAL, name="graphql.resolve", number=3, parent=2, status=ERROR),
        span({"graphql.operation.type": "query"}, kind=INTERNAL, name="graphql.execute", number=2, parent=1),
    ],
    "graphql-js, a document that no server takes": [
        span(
            {},
            kind=INTERNAL,
            name="graphql.validate",
            number=2,
            parent=1,
            events=[exception("graphql.validation.error", '[{"message":"Cannot query field"}]')],
        ),
    ],
    "Apollo with a response hook": [
        span(
            {"graphql.operation.type": "query"},
            kind=INTERNAL,
            name="graphql.execute",
            number=2,
            parent=1,
            status=ERROR,
            events=[exception("GraphQLError", "it broke")],
        ),
    ],
    "Apollo Router": [
        span({"graphql.document": "{ a }"}, kind=INTERNAL, name="supergraph", number=3, parent=2, status=ERROR),
        span({}, kind=INTERNAL, name="router", number=2, parent=1),
    ],
    "Strawberry": [
        span(
            {"component": "graphql", "graphql.path": "book"},
            kind=INTERNAL,
            name="GraphQL Resolving: book",
            number=3,
            parent=2,
            status=ERROR,
        ),
        span({"component": "graphql", "query": "{ a }"}, name="GraphQL Query", number=2, parent=1),
    ],
    "otelgqlgen": [
        span({"gql.request.query": "{ a }"}, name="nameless-operation", number=2, parent=1, status=ERROR),
    ],
    "Hot Chocolate": [
        span(
            {"graphql.operation.kind": "Query", "graphql.errors.count": 1},
            kind=INTERNAL,
            name="ExecuteRequest",
            number=2,
            parent=1,
            status=ERROR,
        ),
    ],
    "Spring": [
        span(
            {"graphql.operation.type": "query", "graphql.outcome": "INTERNAL_ERROR", "graphql.execution.id": "1"},
            kind=INTERNAL,
            name="graphql query",
            number=2,
            parent=1,
        ),
    ],
    "Spring, a bad request": [
        span(
            {"graphql.operation": "query", "graphql.outcome": "REQUEST_ERROR"},
            kind=INTERNAL,
            name="graphql query",
            number=2,
            parent=1,
        ),
    ],
    "async-graphql": [
        span(
            {},
            name="execute",
            number=3,
            parent=2,
            events=[Span.Event(name="error", attributes=key_values({"graphql.error": "it broke"}))],
        ),
        span({}, name="request", number=2, parent=1),
    ],
}
BAD = {"graphql-js, a document that no server takes", "Spring, a bad request"}


@pytest.mark.parametrize("system", FAILURES)
def test_the_call_above_a_failed_operation_says_its_error(system: str) -> None:
    found = the_call(*FAILURES[system], call())
    assert (found.status, found.error_type) == (200, "validation" if system in BAD else "server")
    metadata = orjson.loads(found.metadata)
    assert metadata["action.status"] == "GRAPHQL_ERROR"
    if "Spring" not in system:
        assert metadata["error.message"]
    assert found == the_call(call(), *reversed(FAILURES[system])), "whatever the order"


@pytest.mark.parametrize("system", FAILURES)
def test_the_operation_itself_has_failed_too(system: str) -> None:
    (failed,) = [event for event in mapped(*FAILURES[system], call()) if event.span_status == 2]
    assert (failed.event_type, failed.family, bool(failed.error_type)) == ("action", "graphql", True)


@pytest.mark.parametrize("system", FAILURES)
def test_a_call_whose_status_is_an_error_keeps_it(system: str) -> None:
    found = the_call(*FAILURES[system], call(401))
    assert (found.status, found.error_type) == (401, "auth")
    assert "action.status" not in orjson.loads(found.metadata)


def test_an_operation_that_works_or_is_another_services_says_nothing_of_the_call() -> None:
    fine = span({"graphql.operation.type": "query"}, kind=INTERNAL, name="graphql.execute", number=2, parent=1)
    assert the_call(fine, call()).error_type == ""
    good = {"graphql.operation.type": "query", "graphql.outcome": "SUCCESS"}
    assert the_call(span(good, kind=INTERNAL, name="graphql query", number=2, parent=1), call()).error_type == ""
    asked = [
        span({"graphql.operation.type": "query"}, kind=INTERNAL, name="execute", number=3, parent=2, status=ERROR),
        span({"http.request.method": "POST", "url.full": "http://b/graphql"}, kind=CLIENT, number=2, parent=1),
    ]
    assert the_call(*asked, call()).error_type == "", "it is the other server's, asked by a client"


def test_of_several_operations_the_call_tells_the_first_that_failed() -> None:
    batch = [
        span({"graphql.operation.type": "query"}, kind=INTERNAL, name="a", number=place, parent=1, status=status)
        for place, status in ((2, Status()), (3, failing("first")), (4, failing("then")))
    ]
    found = the_call(*batch, call())
    assert (found.error_type, orjson.loads(found.metadata)["error.message"]) == ("server", "first")


def test_a_call_that_sampling_drops_is_counted_with_the_error() -> None:
    sampler = Sampler(SamplingSettings(rate="0"))
    mapper = Mapper(MappingSettings(), sampler, count_dropped=True)
    request = traces(*FAILURES["Spring"], call())
    dropped = mapper.map(Decoder().traces(request.SerializeToString()), received_unix_ns=NOW).dropped
    assert dropped is not None
    assert [event.error_type for event in dropped] == ["server"]


def test_where_the_call_came_before_in_another_request_it_cannot_know() -> None:
    mapper = Mapper(MappingSettings(), Sampler(SamplingSettings()))
    events = [
        event
        for one in ([call()], FAILURES["Spring"])
        for event in mapper.map(Decoder().traces(traces(*one).SerializeToString()), received_unix_ns=NOW).events
    ]
    assert [(event.event_type, event.error_type) for event in events] == [(API_CALL, ""), ("action", "server")]


def test_senders_cannot_send_the_mark_of_a_failure_below() -> None:
    forged = Span.Event(name="", attributes=key_values({"error_type": "server", "record": "x"}))
    assert the_call(call(events=[forged])).error_type == ""


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("Syntax Error: Expected Name, found <EOF>.", "validation"),
        ("input:1:16: Expected Name, found <EOF>", "validation"),
        ('Cannot query field "nothing" on type "Query".', "validation"),
        ('Variable "$id" of required type "ID!" was not provided.', "validation"),
        ("unexpected EOF", "cancelled"),
        ("the Syntax Error of another", "server"),
    ],
)
def test_what_servers_say_of_documents_that_they_do_not_take_is_known(message: str, error: str) -> None:
    told = span({"gql.request.query": "{ a }"}, name="nameless-operation", number=2, parent=1, status=failing(message))
    assert the_call(told, call()).error_type == error


@pytest.mark.parametrize(
    ("kind", "name"), [(INTERNAL, "graphql.field.name"), (0, "graphql.field.name"), (SERVER, "gql.resolver.field")]
)
def test_a_resolver_is_no_operation_whatever_its_kind(kind: int, name: str) -> None:
    operation = span({"graphql.operation.name": "A"}, kind=INTERNAL, name="A", number=2, parent=1)
    resolver = span({name: "book"}, kind=kind, name="Query/book", number=3, parent=2, status=ERROR)
    events = mapped(resolver, operation, call())
    assert [event.action_name for event in events if event.event_type == ACTION] == ["A"]
    assert the_call(resolver, operation, call()).error_type == "server"


@pytest.mark.parametrize("inner", [{"graphql.operation.name": "A"}, {"graphql.operation.type": "query"}, {}])
def test_an_operation_within_one_of_the_same_name_is_a_step_of_it(inner: dict[str, str]) -> None:
    told = {"graphql.operation.name": "A", "graphql.operation.type": "query"}
    step = span({"graphql.document": "{ a }", **inner}, kind=INTERNAL, number=3, parent=2, status=ERROR)
    around = span(told, kind=INTERNAL, number=2, parent=1)
    names = [event.action_name for event in mapped(step, around, call()) if event.event_type == ACTION]
    assert names.count("query A") == 1
    assert len(names) == (1 if "graphql.operation.name" in inner else 2)
    assert the_call(step, around, call()).error_type == "server"
