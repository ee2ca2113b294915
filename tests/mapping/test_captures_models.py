"""Agents and SDKs of models as their own tracing tells them, alone and two at once: each call of a model once.

An API in front of each asks a stand-in for the provider: plainly, by a stream, with a tool, with a wrong key, over its
limit. No two calls have the same number of tokens.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
import pytest

from captures import CAPTURES, map_requests, requests_of, truth_of
from mapping.event import API_CALL, ENTRY, Event
from mapping.event_json import event_json
from mapping.settings import MappingSettings

SETTINGS: Final = MappingSettings.model_validate({"identify_user": {"headers": ["X-User-Id"]}})
SYSTEMS: Final = sorted(path.name for path in (CAPTURES / "models").iterdir())
SECRETS: Final = (b"hunter2", b"lorry", b"green ferry", b"be terse", b"sk-bad", b"A17")
ERRORS: Final = {401: "auth", 429: "rate_limit", 200: ""}
CALLS: Final = ("chat", "text_completion", "generate_content", "embeddings")

# What their spans do not say. Embeddings and calls of no instrumentation:
NO_EMBEDDINGS: Final = ("langsmith", "langchain-openinference-openllmetry")
NO_CALLS: Final = ("crewai-openllmetry",)  # its calls are told by the instrumentation of their SDK
FAILURE_OF_CALL: Final = ("litellm-in-process",)  # it stands on the span of the API call, and is that call's
NO_MODEL_OF_FAILURES: Final = ("openai-agents-openinference", "openai-agents-openllmetry")
NO_RESPONSES: Final = ("openai-v2",)
# The SDK asks again by itself, and tells all of its attempts as one call; Strands' last calls came when none listened.
RETRIES: Final = ("agent-framework",)
USER_OF_SETTINGS: Final = ("langfuse-js",)
NO_KIND_OF_ERROR: Final = ("mastra",)
NAMED_BY_GATEWAY: Final = {("litellm-proxy-v2", 3): "claude", ("litellm-proxy-v2", 4): "emb"}
# Its span came in an earlier request than the one of the call above it.
EARLIER: Final = {"llama-index-openai-openinference": 1, "crewai-openinference": 2}
NOT_TOLD: Final = (("mlflow-langchain", 1), ("mastra", 4))
COUNTED_OTHERWISE: Final = {
    ("sdks-openllmetry-openinference", 11): (171, 22),  # OpenLLMetry adds the one of the first event
    ("litellm-in-process", 2): (0, 0),  # a stream, told when the span of the API call has ended
    ("langfuse-js", 7): (0, 0),
    ("mastra", 3): (207, 27),  # both calls of an agent on one span
}


def events(name: str) -> list[Event]:
    return [event for request in map_requests(requests_of(f"models/{name}"), SETTINGS) for event in request]


def told(event: Event) -> dict[str, Any]:
    metadata: dict[str, Any] = orjson.loads(event.metadata)
    return {key.removeprefix("action."): value for key, value in metadata.items() if key.startswith("action.")}


def calls_of_models(found: list[Event]) -> list[Event]:
    """Also calls of the API that tell of their model themselves, as LiteLLM has it."""
    asked = [event for event in found if event.family in ("genai", "http") and is_call(told(event))]
    return [event for event in asked if told(event).get("model") != "none"]  # which the gateway does not know


def is_call(says: dict[str, Any]) -> bool:
    operation = says.get("operation")
    return "tokens.input" in says or operation in CALLS or ("model" in says and operation is None)


def base(model: str) -> str:
    return model.rpartition("/")[2].removesuffix("-2024-07-18")


def truth(name: str) -> list[dict[str, Any]]:
    known = orjson.loads((CAPTURES / "models" / name / "truth.json").read_bytes())
    models: list[dict[str, Any]] = known["models"]
    return models


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_call_of_a_customer_is_one(name: str) -> None:
    found = [event for event in events(name) if event.event_type == API_CALL and event.direction == "Incoming"]
    found.sort(key=lambda event: event.start_unix_ns)
    made = [call for call in truth_of(f"models/{name}") if call["status"]]  # 0: the caller did not wait for it
    assert [(event.verb, urlsplit(event.uri).path, event.status, event.user_id, event.hop) for event in found] == [
        (call["method"], call["path"], call["status"], call["who"], ENTRY) for call in made
    ]


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_call_of_a_model_is_one_with_its_tokens_and_its_error(name: str) -> None:
    found = calls_of_models(events(name))
    assert Counter(map(shown, found)) == Counter(wanted(name))


def shown(event: Event) -> tuple[Any, ...]:
    says = told(event)
    error = event.error_type if event.family == "genai" else ""
    return base(says.get("model", "")), says.get("tokens.input", 0), says.get("tokens.output", 0), error


def wanted(name: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for call in truth(name):
        error = "" if name in FAILURE_OF_CALL else ERRORS[call["status"]]
        error = "server" if error and name in NO_KIND_OF_ERROR else error
        if (
            name in NO_CALLS
            or (name, call["n"]) in NOT_TOLD
            or (call["api"] == "responses" and name in NO_RESPONSES)
            or (call["api"] == "embeddings" and name in NO_EMBEDDINGS)
        ):
            continue
        tokens = call["input"], call["output"]
        if not call.get("usage_told", True):
            tokens = 0, 0
        if call["api"] == "anthropic":  # which counts what a cache holds apart
            tokens = tokens[0] + 60, tokens[1]
        tokens = COUNTED_OTHERWISE.get((name, call["n"]), tokens)
        model = NAMED_BY_GATEWAY.get((name, call["n"]), call["model"])
        model = "" if error and name in NO_MODEL_OF_FAILURES else model
        found.append((base(model), *tokens, error))
    if name in RETRIES:
        found = [*dict.fromkeys(found)]
    return found


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_call_of_a_model_is_of_its_user(name: str) -> None:
    found = calls_of_models(events(name))
    nobody = sum(not event.user_id for event in found)
    assert nobody == EARLIER.get(name, 0)
    users = {"u-config"} if name in USER_OF_SETTINGS else {"alice", "bob"} if found else set()
    assert {event.user_id for event in found if event.user_id} == users


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_tool_is_called_once(name: str) -> None:
    tools = [event for event in events(name) if told(event).get("operation") == "execute_tool"]
    assert all(not event.error_type for event in tools)
    called = Counter(event.trace_id for event in tools)
    assert set(called.values()) <= {1}


@pytest.mark.parametrize("name", SYSTEMS)
def test_no_prompt_no_answer_and_no_key_is_in_any_event(name: str) -> None:
    everything = b"".join(orjson.dumps(event_json(event)) for event in events(name))
    assert [secret for secret in SECRETS if secret in everything] == []
