"""The read API against its own description, and the tools for agents through the official client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from mcp import Client, StdioServerParameters
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from bridge import BridgeProcess, eventually
from console_client import ACME_TOKEN, HOSTILE, READ_TOKEN, TOKENS, ConsoleClient, call, line, sent

FAILED, SPAN, OTHER = bytes([1]) * 16, bytes([9]) * 8, bytes([3]) * 16
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    process = BridgeProcess(tmp_path_factory.mktemp("bridge"), admin={"tokens": TOKENS})
    process.start()
    try:
        error = {"exception.type": "ValueError", "exception.message": "no such coupon", "exception.stacktrace": "at 1"}
        sent(
            process,
            [call(FAILED, SPAN, company="acme", status=500), call(OTHER, SPAN, company="globex", user=HOSTILE)],
            [line(FAILED, SPAN, {"message": "order failed"}, attributes=error)],
        )
        client = ConsoleClient(process.admin, READ_TOKEN)
        eventually(lambda: len(client.get("/api/v1/events").json().get("events", ())) == 3, "all events are stored")
        yield process
    finally:
        process.stop()
    assert "Traceback" not in process.log.read_text()


def test_answers_are_as_the_document_says(bridge: BridgeProcess) -> None:
    """Questions made up from the document: none is a fault of the server, and every answer has the form described."""
    url = f"http://127.0.0.1:{bridge.admin}/api/v1/openapi.json"
    document = ConsoleClient(bridge.admin, READ_TOKEN).get("/api/v1/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url.removesuffix("/api/v1/openapi.json"))
    asked = []
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        asked.append(operation.path)

        @hypothesis.settings(
            max_examples=6, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(case=operation.as_strategy())
        def answers_well(case: Any) -> None:
            case.call_and_validate(headers={"Authorization": f"Bearer {READ_TOKEN}"}, checks=CHECKS)

        answers_well()
    assert len(asked) == 10


@pytest.mark.parametrize(
    "path",
    [
        "/now", "/events", f"/traces/{FAILED.hex()}", "/customers", "/customer?company=acme", "/endpoints", "/sql",
        "/endpoint?endpoint=POST%20/v1/orders", "/bridge", "/sql?name=totals&with.by=day", "/sql?q=SELECT%201",
    ],
)  # fmt: skip
def test_questions_that_have_an_answer_get_it_in_the_form_described(bridge: BridgeProcess, path: str) -> None:
    import jsonschema

    client = ConsoleClient(bridge.admin, READ_TOKEN)
    document = client.get("/api/v1/openapi.json").json()
    said = client.get(f"/api/v1{path}")
    assert said.status == 200, said.text
    plain = path.partition("?")[0].replace(FAILED.hex(), "{id}")
    reference = document["paths"][f"/api/v1{plain}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**reference, "components": document["components"]}).validate(said.json())


def test_an_event_is_found_by_what_its_line_says(bridge: BridgeProcess) -> None:
    client = ConsoleClient(bridge.admin, READ_TOKEN)
    for one in client.get("/api/v1/events").json()["events"]:
        said = client.get(f"/api/v1/events/{one['event_id']}?at={one['at']}")
        assert said.status == 200
        assert said.json()["event"]["event_id"] == one["event_id"]
    assert client.get(f"/api/v1/events/{one['event_id']}?at=1700000000000000us").status == 404
    assert client.get(f"/api/v1/events/{one['event_id']}").status == 400


def with_tools(bridge: BridgeProcess, questions: list[tuple[str, dict[str, Any]]], *more: str) -> list[str]:
    """What the tools answer, asked by the official client over stdin and stdout."""
    arguments = ["-P", "-m", "weighbridge", "mcp", "--config", str(bridge.config), *more]
    server = StdioServerParameters(command=sys.executable, args=arguments, cwd=str(bridge.directory))

    async def ask() -> list[str]:
        async with Client(server) as client:
            listed = await client.list_tools()
            assert {tool.name for tool in listed.tools} == {
                "find_events", "explain_trace", "customer_health", "endpoint_health", "run_question", "ledger",
            }  # fmt: skip
            assert all(tool.description and len(tool.description) > 60 for tool in listed.tools)
            found = []
            for name, given in questions:
                answer = await client.call_tool(name, given)
                said = "\n".join(part.text for part in answer.content if part.type == "text")
                found.append(f"refused: {said}" if answer.is_error else said)
            return found

    return asyncio.run(asyncio.wait_for(ask(), 120))


def test_an_agent_finds_the_failing_call_and_why(bridge: BridgeProcess) -> None:
    found, trace, customer, customers, endpoint, totals, listed, ledger, wrong, hostile = with_tools(
        bridge,
        [
            ("find_events", {"where": ["company=acme", "status=5xx"]}),
            ("explain_trace", {"trace_id": FAILED.hex()}),
            ("customer_health", {"company": "acme"}),
            ("customer_health", {}),
            ("endpoint_health", {"endpoint": "POST /v1/orders"}),
            ("run_question", {"name": "totals", "parameters": {"by": "company_id"}}),
            ("run_question", {}),
            ("ledger", {}),
            ("find_events", {"where": ["nonsense"]}),
            ("find_events", {"where": ["company=globex"]}),
        ],
    )
    assert f"trace {FAILED.hex()}" in found
    assert f"More: http://127.0.0.1:{bridge.admin}/events?where=company%3Dacme" in found
    assert "order failed" in trace
    assert "ValueError: no such coupon" in trace
    assert "company acme: 1 calls, 1 failed" in customer
    assert "logged: ERROR order failed" in customer
    assert "acme 1 of 1 failed" in customers
    assert "by company_id: acme 1 of 1 failed" in endpoint
    assert totals.startswith("by | calls")
    assert "failing_customers: " in listed
    assert "Nothing is lost, late or doubtful" in ledger
    assert wrong.startswith("refused: ")
    assert "not a condition" in wrong
    assert "\x1b" not in hostile
    assert "\u202e" not in hostile
    assert all(len(said) < 6000 for said in (found, trace, customer, endpoint, totals))


def test_an_agent_with_a_customers_token_sees_that_customer(bridge: BridgeProcess) -> None:
    found, trace, ledger = with_tools(
        bridge,
        [("find_events", {}), ("explain_trace", {"trace_id": OTHER.hex()}), ("ledger", {})],
        "--token",
        ACME_TOKEN,
    )
    assert "globex" not in found
    assert "company acme" in found
    assert "nothing is stored of trace" in trace
    assert "bound to its own events" in ledger


def test_without_a_bridge_the_tools_say_so(tmp_path: Path) -> None:
    process = BridgeProcess(tmp_path)
    (said,) = with_tools(process, [("ledger", {})])
    assert "no bridge answers" in said
