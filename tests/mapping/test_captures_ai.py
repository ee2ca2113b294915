"""What gateways and SDKs of language models, MCP and GraphQL servers really sent, against what was really called."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
import pytest

from captures import CAPTURES, LIMITS, map_requests, requests_of, truth_of
from mapping.event import Event
from mapping.event_json import event_json
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from receiver.decode.request import decode_request

# The gateway's keys in the truth, and whom its settings give them to: user, company, team.
KEYS = {"sk-alice-aaaa1111": ("alice", "acme", "team-acme"), "sk-bob-bbbb2222": ("bob", "globex", "team-globex")}
MODELS = {"claude": "claude-3-5-haiku-20241022", "emb": "text-embedding-3-small"}
ONLY_THE_TEAM = {0, 2, 3, 4}  # answered whole: the attributes came when their span had ended
NOBODY = {5, 12, 13}  # a wrong key; two calls of which LiteLLM tells nothing
TOKENS = {0: (13, 7), 1: (13, 7), 2: (21, 9), 3: (21, 9), 4: (5, 0)}


def events(system: str) -> list[Event]:
    return [event for request in map_requests(requests_of(system)) for event in request]


def entries(found: list[Event]) -> list[Event]:
    return sorted(
        (event for event in found if event.event_type == "api_call" and event.direction == "Incoming"),
        key=lambda event: event.start_unix_ns,
    )


def minimal(name: str) -> list[Event]:
    (path,) = (CAPTURES / "minimal").glob(f"{name}-*.json")
    decoded = decode_request(Decoder(), "traces", "application/json", "", path.read_bytes(), LIMITS)
    mapper = Mapper(MappingSettings(), Sampler(SamplingSettings()))
    return mapper.map(decoded, received_unix_ns=1_795_903_000_000_000_000).events


def actions(found: list[Event], family: str) -> list[Event]:
    return [event for event in found if event.event_type == "action" and event.family == family]


def told(event: Event) -> dict[str, Any]:
    metadata: dict[str, Any] = orjson.loads(event.metadata)
    return {key.removeprefix("action."): value for key, value in metadata.items() if key.startswith("action.")}


def tokens(event: Event) -> tuple[int, int]:
    found = told(event)
    return found.get("tokens.input", 0), found.get("tokens.output", 0)


def test_every_call_through_litellm_is_one_call_of_who_made_it() -> None:
    calls, truth = entries(events("litellm-v1")), truth_of("litellm-v1")
    assert [(call.route, call.status) for call in calls] == [(call["path"], call["status"]) for call in truth]
    assert {call.verb for call in calls} == {"POST", "GET"}
    for call, true in zip(calls, truth, strict=True):
        user, company, team = KEYS.get(true["key"], ("", "", ""))
        number = true["n"]
        wanted = ("", "") if number in NOBODY else ("", team) if number in ONLY_THE_TEAM else (user, company)
        assert (call.user_id, call.company_id) == wanted, number
    assert calls[1].ip_address == "127.0.0.1"
    assert calls[1].application_id == "alice-key"
    assert calls[1].client_id.startswith("sha256:")


def test_every_call_through_litellm_has_one_action_of_its_model_and_its_tokens_once() -> None:
    found, truth = events("litellm-v1"), truth_of("litellm-v1")
    by_trace: dict[str, list[Event]] = {}
    for event in found:
        by_trace.setdefault(event.trace_id, []).append(event)
    for call, true in zip(entries(found), truth, strict=True):
        whole, number = by_trace[call.trace_id], true["n"]
        of_models = actions(whole, "genai")
        assert len(of_models) == (true["model"] is not None), number
        counted = [tokens(event) for event in whole]
        assert (sum(some for some, _ in counted), sum(some for _, some in counted)) == TOKENS.get(number, (0, 0))
        if of_models:
            assert told(of_models[0])["model"] == MODELS.get(true["model"], true["model"])
            assert told(of_models[0]).get("status", 200) == true["status"], number


@pytest.mark.parametrize("system", ["litellm-v1", "llm-openllmetry"])
def test_no_prompt_and_no_answer_is_in_any_event(system: str) -> None:
    shown = b"".join(orjson.dumps(event_json(event)) for event in events(system))
    for words in (b"hunter2", b"4111111111111111", b"hello there", b"hi claude", b"hello from claude", b"be nice"):
        assert words not in shown


def test_calls_by_openllmetry_count_once_each_with_their_failures_in_buckets() -> None:
    found = events("llm-openllmetry")
    of_models = actions(found, "genai")
    assert Counter((told(event)["operation"], told(event)["model"], event.error_type) for event in of_models) == {
        ("chat", "gpt-4o-mini", ""): 3,
        ("embeddings", "text-embedding-3-small", ""): 1,
        ("chat", "claude-3-5-haiku-20241022", ""): 1,
        ("chat", "gpt-4o-mini", "rate_limit"): 1,
        ("chat", "gpt-4o-mini", "server"): 1,
        ("chat", "gpt-4o-mini", "auth"): 1,
        ("chat", "gpt-4o-mini", "timeout"): 1,
    }
    assert [tokens(event) for event in of_models if not event.error_type] == [(13, 7)] * 3 + [(5, 0), (25, 9)]
    assert {event.user_id for event in of_models if event.parent_id} == {"alice"}


def test_calls_of_mcp_tools_are_actions_of_who_called_and_no_tool_is_the_servers_fault() -> None:
    found = events("mcp-http")
    of_tools = {(event.user_id, event.action_name): event.error_type for event in actions(found, "mcp")}
    truth: list[Any] = truth_of("mcp-http")
    for user, called, *error in (call for call in truth if call[0] != "-"):
        wanted = "" if not error else "not_found" if "Unknown tool" in error[0] else "client_error"
        assert of_tools[user, called] == wanted
    assert {call.status for call in entries(found)} == {200, 401}


METHODS_OF_MCP = {
    "list_tools": "tools/list",
    "call_tool": "tools/call",
    "read_resource": "resources/read",
    "get_prompt": "prompts/get",
}


def test_calls_of_the_python_sdks_mcp_server_under_fastapi_are_one_each_with_who_is_at_fault() -> None:
    settings = MappingSettings.model_validate({"identify_user": {"headers": ["X-User-Id"]}})
    found = [event for request in map_requests(requests_of("mcp-sdk"), settings) for event in request]
    truth: list[Any] = truth_of("mcp-sdk")
    made = []
    for user, method, what, *out in (call if len(call) > 3 else (*call[:2], "", *call[2:]) for call in truth):
        named = f" {what}" if method in ("call_tool", "get_prompt") else ""
        # It tells every failure of a tool as `tool_error`, also of one that is not there.
        bucket = {"ToolError": "client_error", "MCPError": "not_found"}.get(out[0].partition(":")[0], "")
        made.append((user, f"{METHODS_OF_MCP[method]}{named}", bucket))
    of_mcp = [(event.user_id, event.action_name, event.error_type) for event in actions(found, "mcp")]
    assert Counter(call for call in of_mcp if call[1] != "server/discover") == Counter(made)
    # The client first asks what the server can do, and once in a way that this one refuses.
    assert Counter((call.user_id, call.status) for call in entries(found)) == {
        ("alice", 200): 9, ("alice", 400): 1, ("bob", 200): 9, ("bob", 400): 1,
    }  # fmt: skip
    assert {event.hop for event in entries(found)} == {"entry"}


def test_a_graphql_operation_has_the_error_of_its_resolver_and_no_inline_argument() -> None:
    found = events("node-apollo")
    assert {event.action_name: event.error_type for event in actions(found, "graphql")} == {
        "query GetOrder": "",
        "query": "",
        "mutation Login": "",
        "query Boom": "server",
    }
    shown = b"".join(orjson.dumps(event_json(event)) for event in found)
    assert b"sk_inline_secret" not in shown
    assert b"hunter2" not in shown
    (boom,) = (event for event in actions(found, "graphql") if event.error_type)
    assert "boom token=" in boom.metadata
    assert "abc123" not in boom.metadata


def test_a_failed_call_through_litellm_is_one_call() -> None:
    found = minimal("d04")
    (call,) = (event for event in found if event.event_type == "api_call")
    assert (call.verb, call.status, call.hop, call.user_id, call.company_id) == ("POST", 429, "entry", "alice", "acme")
    (model,) = actions(found, "genai")
    assert (told(model)["model"], told(model)["status"], model.error_type) == ("gpt-4o-mini", 429, "rate_limit")


@pytest.mark.parametrize(("name", "user"), [("d05", "end-user-7"), ("d06", "alice")])
def test_a_models_span_has_no_prompt_and_its_tokens(name: str, user: str) -> None:
    (model,) = minimal(name)
    assert (model.family, model.user_id) == ("genai", user)
    assert told(model)["model"] == "gpt-4o-mini"
    assert (tokens(model), told(model)["tokens.cache_read"]) == ((13, 7), 3)
    assert not any(words in repr(model) for words in ("hunter2", "hello there", "be nice"))


def test_a_requested_model_alone_is_no_call_of_one() -> None:
    found = minimal("d10")
    (model,) = actions(found, "genai")
    assert (model.action_name, tokens(model), told(model)["tokens.cache_read"]) == ("chat gpt-4o-mini", (13, 7), 3)
    assert {(event.user_id, event.company_id) for event in found} == {("alice", "acme")}
    assert (model.application_id, model.client_id[:7]) == ("alice-key", "sha256:")


@pytest.mark.parametrize("name", ["d11", "d12"])
def test_a_models_rate_limit_is_no_fault_of_the_network(name: str) -> None:
    (model,) = minimal(name)
    assert (model.family, model.error_type) == ("genai", "rate_limit")


def test_a_graphql_error_that_only_plumbing_tells_reaches_the_operation() -> None:
    (operation,) = actions(minimal("d13"), "graphql")
    assert (operation.action_name, operation.error_type, operation.span_status) == ("query Boom", "server", 2)


def test_a_models_call_that_two_instrumentations_tell_is_one() -> None:
    (model,) = minimal("d17")
    assert (model.family, tokens(model)) == ("genai", (25, 9))
