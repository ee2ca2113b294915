"""`/api/v1`: the questions of the pages for programs, and the OpenAPI document that describes them.

The document is made from what the code checks: the parameters that a question knows, and the classes of its answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from weighbridge.console import answers, asking, pages
from weighbridge.console.asked import LONGEST_SQL, MOST_CONDITIONS
from weighbridge.console.pages import MOST_EVENTS, TIME, USUAL_EVENTS, Page

PREFIX: Final = "/api/v1"
_MOMENT: Final = r"^([0-9]{1,4}[smh]|[0-9]{1,3}d|[0-9]{1,2}w|20[0-9]{2}-[01][0-9]-[0-3][0-9](T[0-2][0-9]:[0-5][0-9])?)$"
_TIME_SAID: Final = "An age such as 90m, 12h, 3d, or a date or time in UTC such as 2026-11-20T18:00."


class Operation(NamedTuple):
    """One path of the API."""

    page: Page
    answer: type[BaseModel]
    summary: str

    @property
    def path(self) -> str:
        return PREFIX + self.page.path


def _operation(
    name: str, path: str, parameters: Sequence[str], ask: Any, answer: type[BaseModel], summary: str
) -> Operation:
    return Operation(Page(name, path, parameters, ask, pages.no_table, ""), answer, summary)


OPERATIONS: Final = (
    _operation("now", "/now", TIME, pages.now, answers.Now, "All calls of a time, what fails, and what changed"),
    _operation(
        "events", "/events", (*TIME, "where", "text", "limit"), pages.events, answers.Events,
        "The newest events that match, counted by what they have in common",
    ),
    _operation("event", "/events/{id}", ("at",), pages.event, answers.EventWhole, "One event whole"),
    _operation("trace", "/traces/{id}", ("at",), pages.trace, answers.Trace, "One trace in the order of its steps"),
    _operation("customers", "/customers", TIME, pages.customers, answers.Groups, "Companies and users by failed calls"),
    _operation(
        "customer", "/customer", (*TIME, "company", "user"), pages.customer, answers.Customer, "One company or user"
    ),
    _operation("endpoints", "/endpoints", TIME, pages.endpoints, answers.Groups, "Endpoints by failed calls"),
    _operation("endpoint", "/endpoint", (*TIME, "endpoint"), pages.endpoint, answers.Endpoint, "One endpoint"),
    _operation("bridge", "/bridge", (), pages.bridge, answers.Bridge, "What happened to everything that was received"),
    _operation(
        "sql", "/sql", ("q", "name", *asking.known()), pages.sql, answers.Sql,
        "A question in SQL, or by name with its parameters; without one, the questions there are",
    ),
)  # fmt: skip

_PARAMETERS: Final[Mapping[str, dict[str, Any]]] = {
    "since": {"schema": {"type": "string", "pattern": _MOMENT}, "description": f"From when on. {_TIME_SAID}"},
    "until": {"schema": {"type": "string", "pattern": _MOMENT}, "description": f"Up to when; now. {_TIME_SAID}"},
    "where": {
        "schema": {"type": "array", "items": {"type": "string", "maxLength": 1000}, "maxItems": MOST_CONDITIONS},
        "description": "A condition of `weighbridge tail --where`: company=acme, status=5xx. All hold.",
    },
    "text": {"schema": {"type": "string", "maxLength": 1000}, "description": "In names, addresses, bodies; any case."},
    "limit": {
        "schema": {"type": "integer", "minimum": 1, "maximum": MOST_EVENTS, "default": USUAL_EVENTS},
        "description": "Events at most.",
    },
    "at": {
        "schema": {"type": "string", "pattern": r"^[0-9]{16}us$"},
        "description": "The event's time as `at` of an event has it; of a trace, some time in it: it is found quicker.",
    },
    "company": {"schema": {"type": "string", "minLength": 1, "maxLength": 1000}, "description": "Either this"},
    "user": {"schema": {"type": "string", "minLength": 1, "maxLength": 1000}, "description": "or this."},
    "endpoint": {
        "schema": {"type": "string", "minLength": 1, "maxLength": 1000},
        "description": "Method and route, as in `POST /v1/orders`.",
    },
    "q": {"schema": {"type": "string", "maxLength": LONGEST_SQL}, "description": "One SELECT."},
    "name": {"schema": {"type": "string", "enum": asking.names()}, "description": "Of a question."},
}
_NEEDED: Final = {("event", "at"), ("endpoint", "endpoint")}
_TRACE_ID: Final = {"type": "string", "pattern": "^[0-9a-f]{32}$"}


def document(server: str) -> dict[str, Any]:
    """The OpenAPI document, version 3.1."""
    models = [(one.answer, "serialization") for one in OPERATIONS]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "weighbridge",
            "version": "1",
            "description": "What the pages of the console show, for programs. Numbers are about all calls, whatever "
            "sampling kept; an interval beside a number is its 95 % interval.",
        },
        "servers": [{"url": server}],
        "security": [{"token": []}],
        "paths": {one.path: {"get": _get(one)} for one in OPERATIONS},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**schemas["$defs"], "Refusal": _REFUSAL},
        },
    }


_REFUSAL: Final = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "Why, in a sentence."}},
    "required": ["error"],
    "additionalProperties": False,
}
_REFUSED: Final = {
    "400": "The question cannot be asked so.",
    "401": "No token, or one that nobody has.",
    "403": "Not for this token.",
    "429": "Too many wrong tokens came from this address: Retry-After says when to try again.",
    "404": "There is no such thing, or not for this token.",
    "503": "The store does not answer now.",
    "504": "A limit of time or memory was hit: ask about less.",
}


def _get(one: Operation) -> dict[str, Any]:
    refused = {
        code: {
            "description": said,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
        }
        for code, said in _REFUSED.items()
    }
    schema = {"$ref": f"#/components/schemas/{one.answer.__name__}"}
    answer = {"description": "The answer.", "content": {"application/json": {"schema": schema}}}
    return {
        "operationId": one.page.name,
        "summary": one.summary,
        "parameters": [_parameter(one.page, name) for name in (*_of_path(one.page), *one.page.parameters)],
        "responses": {"200": answer, **refused},
    }


def _of_path(page: Page) -> list[str]:
    return ["id"] if "{id}" in page.path else []


def _parameter(page: Page, name: str) -> dict[str, Any]:
    if name == "id":
        schema = _TRACE_ID if page.name == "trace" else {"type": "string", "format": "uuid"}
        return {"name": "id", "in": "path", "required": True, "schema": schema, "description": f"Of the {page.name}."}
    plain = {"schema": {"type": "string", "maxLength": 1000}, "description": "Of the question by name."}
    found = {"name": name, "in": "query", "required": (page.name, name) in _NEEDED, **_PARAMETERS.get(name, plain)}
    return found | ({"style": "form", "explode": True} if name == "where" else {})
