"""Spans of models, agents and tools by every convention: which are calls, which are steps, tokens once."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from mapping.event import Event
from mapping.settings import MappingSettings
from mapping_requests import CLIENT, INTERNAL, NOW, SERVER, mapped, span, traces

LOCAL, REMOTE = 0x100, 0x300
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
COUNTED = {"gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 5}
CALL = {"http.request.method": "POST", "url.path": "/ask", "http.response.status_code": 200}


def told(event: Event) -> dict[str, Any]:
    metadata: dict[str, Any] = orjson.loads(event.metadata)
    return {key.removeprefix("action."): value for key, value in metadata.items() if key.startswith("action.")}


def one(attributes: dict[str, Any], kind: int = INTERNAL, **fields: Any) -> Event:
    (event,) = mapped(traces(span(attributes, kind=kind, name="title", **fields))).events
    return event


def scoped(*spans: tuple[str, Span]) -> ExportTraceServiceRequest:
    """A request with each span in a scope of that name."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    for scope, made in spans:
        of_scope = ScopeSpans()
        of_scope.scope.name = scope
        of_scope.spans.append(made)
        resource.scope_spans.append(of_scope)
    return request


def models(*spans: Span | tuple[str, Span]) -> list[Event]:
    """The actions of models in a request."""
    pairs = [made if isinstance(made, tuple) else ("one", made) for made in spans]
    return [event for event in mapped(scoped(*pairs)).events if event.family == "genai"]


def counted(found: list[Event]) -> int:
    return sum(told(event).get("tokens.input", 0) for event in found)


@pytest.mark.parametrize(
    ("attributes", "operation", "counts"),
    [
        (CHAT, "chat", True),
        ({"gen_ai.operation.name": "count", "gen_ai.request.model": "m"}, "count", True),
        ({"gen_ai.operation.name": "generate_content", "gen_ai.request.model": "m"}, "generate_content", True),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "a"}, "invoke_agent", False),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}, "execute_tool", False),
        ({"gen_ai.operation.name": "acompletion", "gen_ai.request.model": "m"}, "chat", True),
        ({"gen_ai.operation.name": "aembedding", "gen_ai.request.model": "m"}, "embeddings", True),
        ({"openinference.span.kind": "LLM", "llm.model_name": "m"}, "chat", True),
        ({"openinference.span.kind": "EMBEDDING", "embedding.model_name": "m"}, "embeddings", True),
        ({"openinference.span.kind": "RERANKER", "reranker.model_name": "m"}, "rerank", True),
        ({"openinference.span.kind": "AGENT"}, "invoke_agent", False),
        ({"openinference.span.kind": "CHAIN"}, "chain", False),
        ({"openinference.span.kind": "TOOL", "tool.name": "t"}, "execute_tool", False),
        ({"openinference.span.kind": "RETRIEVER"}, "retrieval", False),
        ({"traceloop.span.kind": "workflow", "traceloop.entity.name": "w"}, "invoke_workflow", False),
        ({"traceloop.span.kind": "agent", "traceloop.entity.name": "w"}, "invoke_agent", False),
        ({"traceloop.span.kind": "task"}, "task", False),
        ({"llm.request.type": "chat", "gen_ai.request.model": "m"}, "chat", True),
        ({"llm.request.type": "completion", "gen_ai.system": "s"}, "text_completion", True),
        ({"ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "m"}, "chat", True),
        ({"ai.operationId": "ai.streamText.doStream", "ai.model.id": "m"}, "chat", True),
        ({"ai.operationId": "ai.embedMany.doEmbed", "ai.model.id": "m"}, "embeddings", True),
        ({"ai.operationId": "ai.generateText", "ai.model.id": "m"}, "chain", False),
        ({"ai.operationId": "ai.toolCall", "ai.toolCall.name": "t"}, "execute_tool", False),
        ({"langfuse.observation.type": "generation", "langfuse.observation.model.name": "m"}, "chat", True),
        ({"langfuse.observation.type": "span"}, "task", False),
        ({"mlflow.spanType": '"CHAT_MODEL"'}, "chat", True),
        ({"mlflow.spanType": '"RETRIEVER"'}, "retrieval", False),
        ({"langsmith.span.kind": "llm"}, "chat", True),
        ({"langsmith.span.kind": "chain"}, "chain", False),
        ({"gen_ai.system": "gcp.vertex.agent", "gen_ai.request.model": "m", "gen_ai.agent.name": "a"}, None, True),
        ({"agent_name": "a", "model_name": "m"}, "invoke_agent", False),
        ({"gen_ai.tool.name": "t", "gen_ai.tool.call.id": "1"}, "execute_tool", False),
        ({"gen_ai.operation.name": "framework", "gen_ai.system": "spring_ai"}, "chain", False),
        ({"gen_ai.operation.name": "create_thread", "gen_ai.system": "az.ai.agents"}, "task", False),
        ({"gen_ai.operation.name": "chat.completions", "gen_ai.request.model": "m"}, "chat", True),
        ({"gen_ai.operation.name": "text.completions", "gen_ai.request.model": "m"}, "text_completion", True),
        ({"gen_ai.span.kind": "LLM", "gen_ai.request.model": "m"}, "chat", True),
        ({"genkit:type": "action", "genkit:metadata:subtype": "model", "genkit:name": "openai/m"}, "chat", True),
        ({"genkit:type": "action", "genkit:metadata:subtype": "tool", "genkit:name": "t"}, "execute_tool", False),
        ({"genkit:type": "util", "genkit:name": "generate"}, "chain", False),
        ({"mastra.span.type": "model_generation", "gen_ai.operation.name": "chat"}, "chat", True),
        ({"mastra.span.type": "model_step", "gen_ai.operation.name": "model_step"}, "chain", False),
        ({"gen_ai.span.kind": "CHAIN", "gen_ai.operation.name": "WORKFLOW"}, "chain", False),
        ({"gen_ai.span.kind": "RETRIEVER", "dify.app_id": "a"}, "retrieval", False),
    ],
)
def test_a_span_is_a_call_of_a_model_or_a_step_and_only_calls_count_tokens(
    attributes: dict[str, Any], operation: str | None, counts: bool
) -> None:
    event = one({**attributes, **COUNTED})
    found = told(event)
    assert (event.event_type, event.family, found.get("operation")) == ("action", "genai", operation)
    assert (found.get("tokens.input"), found.get("tokens.output")) == ((3, 5) if counts else (None, None))


@pytest.mark.parametrize(
    ("attributes", "counts"),
    [
        ({"gen_ai.usage.prompt_tokens": 3, "gen_ai.usage.completion_tokens": 5}, {"input": 3, "output": 5}),
        ({"gen_ai.usage.input_tokens": "3", "gen_ai.usage.output_tokens": "x"}, {"input": 3}),
        (
            {"gen_ai.usage.cache_write.input_tokens": 2, "gen_ai.usage.input_tokens": 3},
            {"input": 3, "cache_creation": 2},
        ),
        ({"gen_ai.usage.cache_read_input_tokens": 2}, {"cache_read": 2}),
        ({"gen_ai.usage.reasoning_tokens": 2}, {"reasoning": 2}),
        (
            {"llm.token_count.prompt": 3, "llm.token_count.prompt_details.cache_write": 1},
            {"input": 3, "cache_creation": 1},
        ),
        ({"llm.token_count.completion_details.reasoning": 2}, {"reasoning": 2}),
        ({"ai.usage.promptTokens": 3, "ai.usage.completionTokens": 5}, {"input": 3, "output": 5}),
        ({"ai.usage.inputTokens": 3, "ai.usage.cachedInputTokens": 2}, {"input": 3, "cache_read": 2}),
        ({"ai.usage.tokens": 4}, {"input": 4}),
        ({"ai.usage.outputTokenDetails.reasoningTokens": 2}, {"reasoning": 2}),
        ({"llm.openai.usage": "{'prompt_tokens': 3, 'completion_tokens': 5}"}, {"input": 3, "output": 5}),
        ({"llm.None.usage": "{'input_tokens': 3, 'cache_read_input_tokens': 1}"}, {"input": 3, "cache_read": 1}),
        (
            {"llm.vertex_ai.usageMetadata": '{"promptTokenCount": 3, "candidatesTokenCount": 5}'},
            {"input": 3, "output": 5},
        ),
        ({"langfuse.observation.usage_details": '{"input": 3, "output": 5}'}, {"input": 3, "output": 5}),
        ({"mlflow.chat.tokenUsage": '{"input_tokens": 3, "output_tokens": 5}'}, {"input": 3, "output": 5}),
        (
            {"langfuse.observation.usage_details": '{"input": 3, "input_cached_tokens": 1, "output_reasoning": 2}'},
            {"input": 3, "cache_read": 1, "reasoning": 2},
        ),
        ({"gen_ai.response.prompt_tokens": 3, "gen_ai.response.completion_tokens": 5}, {"input": 3, "output": 5}),
        ({"llm.openai.usage": "x" * 1_000_000}, {}),
        ({"gen_ai.usage.input_tokens": True, "gen_ai.usage.output_tokens": -1}, {}),
    ],
)
def test_tokens_of_every_convention_have_one_name(attributes: dict[str, Any], counts: dict[str, int]) -> None:
    found = told(one({"gen_ai.system": "s", **attributes}))
    assert {key.removeprefix("tokens."): value for key, value in found.items() if key.startswith("tokens.")} == counts


@pytest.mark.parametrize(
    ("attributes", "who"),
    [
        ({"traceloop.association.properties.user_id": "u"}, ("u", "", "")),
        ({"traceloop.association.properties.session_id": "s"}, ("", "", "s")),
        ({"langfuse.user.id": "u", "langfuse.session.id": "s"}, ("u", "", "s")),
        ({"ai.telemetry.metadata.userId": "u", "ai.telemetry.metadata.sessionId": "s"}, ("u", "", "s")),
        ({"user.id": "u", "session.id": "s"}, ("u", "", "s")),
        ({"gcp.vertex.agent.session_id": "s"}, ("", "", "s")),
        ({"gen_ai.user": "u"}, ("u", "", "")),
        ({"gen_ai.user": "u", "user.id": "v"}, ("v", "", "")),
        ({"gen_ai.user.id": "u", "gen_ai.session.id": "s", "dify.tenant_id": "t"}, ("u", "t", "s")),
        ({"mlflow.trace.user": '"u"', "mlflow.trace.session": '"s"'}, ("u", "", "s")),
        ({"llm.openai.user": "u"}, ("u", "", "")),
        ({"metadata.user_api_key_user_id": "u", "metadata.user_api_key_end_user_id": "e"}, ("u", "", "")),
        ({"metadata.user_api_key_end_user_id": "e"}, ("e", "", "")),
        ({"metadata.user_api_key_org_id": "o", "metadata.user_api_key_team_id": "t"}, ("", "o", "")),
        ({"litellm.metadata.user_api_key_user_id": "u", "litellm.team.id": "t"}, ("u", "t", "")),
        ({"metadata.team_id": "t", "metadata.user_api_key_user_id": "None"}, ("", "", "")),
    ],
)
def test_who_asked_a_model_is_found_by_every_convention(attributes: dict[str, Any], who: tuple[str, str, str]) -> None:
    event = one({**CHAT, **attributes})
    assert (event.user_id, event.company_id, event.session_token) == who


def test_values_that_are_written_as_json_are_read_as_what_they_say() -> None:
    event = one({"mlflow.spanType": '"CHAT_MODEL"', "mlflow.llm.model": '"gpt-4"', "mlflow.llm.provider": '"openai"'})
    assert (event.action_name, told(event)["model"], told(event)["system"]) == ("chat gpt-4", "gpt-4", "openai")


def test_a_user_that_is_told_to_the_provider_counts_only_where_nobody_else_is_named() -> None:
    server = span({**CALL, "user.id": "alice"}, name="POST /ask", number=1)
    found = mapped(traces(server, span({**CHAT, "gen_ai.user": "x"}, kind=CLIENT, number=2, parent=1))).events
    assert [event.user_id for event in found] == ["alice", "alice"]
    server = span(CALL, name="POST /ask", number=1)
    found = mapped(traces(server, span({**CHAT, "gen_ai.user": "x"}, kind=INTERNAL, number=2, parent=1))).events
    assert [event.user_id for event in found] == ["", "x"]


def test_calls_of_models_name_the_user_of_the_call_that_they_are_made_for() -> None:
    server = span(CALL, name="POST /ask", number=1)
    asked = span({**CHAT, "traceloop.association.properties.user_id": "u"}, kind=CLIENT, number=2, parent=1)
    assert [event.user_id for event in mapped(traces(asked, server)).events] == ["u", "u"]
    other = span({**CHAT, "traceloop.association.properties.user_id": "v"}, kind=CLIENT, number=3, parent=1)
    assert [event.user_id for event in mapped(traces(asked, other, server)).events] == ["u", "v", ""]


def test_a_teams_own_words_for_models_are_read_and_their_prompts_dropped() -> None:
    own = {"signs": ["our.llm"], "model": "our.llm", "input_tokens": "our.in", "user": "our.user", "system": "our.by"}
    settings = MappingSettings.model_validate({"dialects": {"ours": {"title": "Ours", "models": own}}})
    attributes = {"our.llm": "m", "our.in": 3, "our.user": "u", "our.by": "p", "our.prompt": "the blue lorry"}
    (event,) = mapped(traces(span(attributes, kind=CLIENT)), settings).events
    assert (event.family, event.user_id) == ("genai", "u")
    assert (told(event)["model"], told(event)["system"], told(event)["tokens.input"]) == ("m", "p", 3)
    assert "blue lorry" not in repr(event)


@pytest.mark.parametrize("key", ["gen_ai.request.model", "gen_ai.conversation.id", "gen_ai.request.temperature"])
def test_what_a_request_asks_for_is_no_call_of_a_model(key: str) -> None:
    assert one({key: "m"}).family == "internal"


def test_a_call_inside_a_call_is_one_and_the_wrapper_tells_it() -> None:
    outer = span({**CHAT, **COUNTED}, kind=INTERNAL, number=1)
    inner = span({**CHAT, **COUNTED, "gen_ai.response.id": "r"}, kind=CLIENT, number=2, parent=1)
    for spans in ((outer, inner), (inner, outer)):
        (event,) = models(*spans)
        assert (event.span_id[-1], counted([event])) == ("1", 3)


def test_of_a_call_inside_a_call_the_one_with_tokens_is_told() -> None:
    outer = span(CHAT, kind=INTERNAL, number=1)
    between = span({"code.function.name": "f"}, kind=INTERNAL, number=2, parent=1)
    inner = span({**CHAT, **COUNTED}, kind=CLIENT, number=3, parent=2)
    (event,) = models(outer, between, inner)
    assert (event.span_id[-1], counted([event])) == ("3", 3)


def test_a_call_around_several_calls_is_a_step_and_its_tokens_are_theirs() -> None:
    outer = span({**CHAT, "gen_ai.usage.input_tokens": 6}, kind=INTERNAL, number=1)
    inner = [span({**CHAT, **COUNTED}, kind=CLIENT, number=number, parent=1) for number in (2, 3)]
    found = models(outer, *inner)
    assert [told(event)["operation"] for event in found] == ["chain", "chat", "chat"]
    assert counted(found) == 6


def test_attempts_inside_a_call_are_not_counted_beside_it() -> None:
    outer = span({**CHAT, **COUNTED}, kind=INTERNAL, number=1)
    raw = [span({"llm.openai.model": "m"}, kind=INTERNAL, number=number, parent=1) for number in (2, 3)]
    (event,) = models(outer, *raw)
    assert (event.span_id[-1], counted([event])) == ("1", 3)


def test_calls_through_three_wrappers_are_one() -> None:
    spans = [span({**CHAT, **COUNTED}, kind=INTERNAL, number=number, parent=number - 1) for number in (1, 2, 3, 4)]
    assert counted(models(*spans)) == 3
    assert len(models(*reversed(spans))) == 1


def test_a_thousand_wrappers_around_a_thousand_calls_take_no_time_of_their_product() -> None:
    depth, calls = 1000, 1000
    wrappers = [span({**CHAT, **COUNTED}, kind=INTERNAL, number=at, parent=at - 1) for at in range(1, depth + 1)]
    leaves = [span({**CHAT, **COUNTED}, kind=CLIENT, number=depth + at, parent=depth) for at in range(1, calls + 1)]
    found = models(*wrappers, *leaves)
    assert counted(found) == 3 * calls


def test_the_same_call_in_two_services_is_told_by_each() -> None:
    request = traces(span({**CHAT, **COUNTED}, kind=CLIENT, number=1))
    served = traces(span({**CHAT, **COUNTED}, kind=SERVER, number=2, parent=1), resource={"service.name": "vllm"})
    request.MergeFrom(served)
    assert counted(mapped(request).events) == 6


def test_an_agent_or_a_tool_between_two_calls_keeps_them_apart() -> None:
    outer = span({**CHAT, **COUNTED}, kind=INTERNAL, number=1)
    tool = span({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}, kind=INTERNAL, number=2, parent=1)
    inner = span({**CHAT, **COUNTED}, kind=CLIENT, number=3, parent=2)
    assert counted(models(outer, tool, inner)) == 6


def test_vercels_wrapper_and_its_call_are_one_call() -> None:
    usage = {"ai.usage.promptTokens": 3, "ai.usage.completionTokens": 5}
    outer = span({"ai.operationId": "ai.generateText", "ai.model.id": "m", **usage}, kind=INTERNAL, number=1)
    inner = {"ai.operationId": "ai.generateText.doGenerate", "ai.model.id": "m", "gen_ai.system": "s", **usage}
    found = models(span(inner, kind=INTERNAL, number=2, parent=1), outer)
    assert [told(event)["operation"] for event in found] == ["chat", "chain"]
    assert counted(found) == 3


def test_two_instrumentations_beside_each_other_tell_one_call_and_one_instrumentation_two() -> None:
    answer = {**CHAT, **COUNTED, "gen_ai.response.id": "r"}
    first, second = (span(answer, kind=CLIENT, number=number, parent=9) for number in (1, 2))
    assert len(models(("a", first), ("b", second))) == 1
    assert len(models(("a", first), ("a", second))) == 2
    later = span(answer, kind=CLIENT, number=2, parent=9, start_time_unix_nano=NOW + 1, end_time_unix_nano=NOW + 9)
    assert len(models(("a", first), ("b", later))) == 2


def test_failed_calls_that_two_instrumentations_tell_are_one() -> None:
    first, second = (
        span(CHAT, kind=CLIENT, number=number, parent=9, status=Status(code=Status.STATUS_CODE_ERROR))
        for number in (1, 2)
    )
    assert len(models(("a", first), ("b", second))) == 1


ANSWERED = {**CHAT, **COUNTED, "gen_ai.response.id": "r"}
OPENINFERENCE = {"openinference.span.kind": "LLM", "llm.token_count.prompt": 3, "llm.token_count.completion": 5}


def at(begin: int, end: int) -> dict[str, Any]:
    return {"start_time_unix_nano": NOW + begin, "end_time_unix_nano": NOW + end}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((ANSWERED, at(0, 100)), ({**OPENINFERENCE, "llm.model_name": "m"}, at(5, 95))),  # only one names the answer
        ((ANSWERED, at(0, 100)), ({**OPENINFERENCE, "llm.model_name": "m"}, at(-5, 90))),  # neither is within the other
        ((ANSWERED, at(0, 100)), ({**OPENINFERENCE, "llm.model_name": "openai/m-2024-07-18"}, at(5, 95))),
        ((ANSWERED, at(0, 100)), ({**OPENINFERENCE, "llm.token_count.completion": 9}, at(5, 95))),  # thoughts apart
        (
            ({**ANSWERED, "gen_ai.operation.name": "generate_content"}, at(0, 100)),
            ({**OPENINFERENCE, "llm.model_name": "m"}, at(5, 95)),
        ),
    ],
)
def test_two_instrumentations_tell_one_call_whatever_each_says_of_it(one: Any, other: Any) -> None:
    for (first, when), (second, then) in ((one, other), (other, one)):
        pair = [
            ("a", span(first, kind=CLIENT, number=1, parent=9, **when)),
            ("b", span(second, kind=INTERNAL, number=2, parent=9, **then)),
        ]
        assert counted(models(*pair)) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"llm.model_name": "m-mini"},
        {"llm.model_name": "n"},
        {"llm.token_count.prompt": 4, "llm.token_count.completion": 6},
        {"gen_ai.response.id": "s"},
        {"openinference.span.kind": "EMBEDDING"},
    ],
)
def test_what_differs_is_another_call(other: dict[str, Any]) -> None:
    pair = [
        ("a", span(ANSWERED, kind=CLIENT, number=1, parent=9, **at(0, 100))),
        ("b", span({**OPENINFERENCE, **other}, kind=INTERNAL, number=2, parent=9, **at(5, 95))),
    ]
    assert len(models(*pair)) == 2


def test_each_instrumentation_may_have_agents_and_steps_of_its_own_around_a_call() -> None:
    call = span(CALL, name="POST /ask", number=1)
    tree = [("http", call)]
    for number, scope in ((2, "a"), (5, "b")):
        chain = {"openinference.span.kind": "CHAIN"}
        tree += [
            (scope, span(chain, kind=INTERNAL, number=number, parent=1)),
            (scope, span(chain, kind=INTERNAL, number=number + 1, parent=number)),
            (scope, span({**CHAT, **COUNTED}, kind=CLIENT, number=number + 2, parent=number + 1, **at(0, 100))),
        ]
    assert counted(models(*tree)) == 3
    assert counted(models(*reversed(tree))) == 3


def test_calls_at_the_same_time_have_one_twin_each() -> None:
    spans = []
    for number in range(3):
        attributes = {**CHAT, "gen_ai.usage.input_tokens": 10 + number, "gen_ai.usage.output_tokens": 5}
        for scope, offset in (("a", 0), ("b", 1)):
            made = span(attributes, kind=CLIENT, number=10 * number + offset + 1, parent=99, **at(offset, 100 - offset))
            spans.append((scope, made))
    found = models(*spans)
    assert sorted(told(event)["tokens.input"] for event in found) == [10, 11, 12]


def test_the_span_that_is_kept_is_of_whom_the_other_names() -> None:
    named = {**OPENINFERENCE, "llm.model_name": "m", "user.id": "alice"}
    pair = [
        ("a", span(ANSWERED, kind=CLIENT, number=1, parent=9, **at(0, 100))),
        ("b", span(named, kind=INTERNAL, number=2, parent=9, **at(5, 95))),
    ]
    (event,) = models(*pair)
    assert event.user_id == "alice"


def test_two_names_of_one_scope_are_one_call_where_they_tell_the_same_tokens() -> None:
    outer = span({**CHAT, **COUNTED}, kind=INTERNAL, number=1, parent=9, name="ChatOpenAI", **at(0, 100))
    inner = span({**CHAT, **COUNTED}, kind=INTERNAL, number=2, parent=8, name="OpenAI-generation", **at(5, 95))
    assert counted(models(outer, inner)) == 3
    inner.attributes[-1].value.int_value = 6
    assert len(models(outer, inner)) == 2


def test_a_tool_that_two_instrumentations_tell_is_called_once() -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}
    other = {"openinference.span.kind": "TOOL", "tool.name": "t"}
    outer, inner = span(tool, kind=INTERNAL, number=1), span(other, kind=INTERNAL, number=2, parent=1)
    assert len(models(("a", outer), ("b", inner))) == 1
    assert len(models(("a", outer), ("a", inner))) == 2
    inner = span({"langfuse.observation.type": "tool"}, kind=INTERNAL, number=2, parent=1, name="t")
    assert len(models(("a", outer), ("b", inner))) == 1
    inner = span({**other, "tool.name": "u"}, kind=INTERNAL, number=2, parent=1)
    assert len(models(("a", outer), ("b", inner))) == 2


def test_the_tokens_of_a_stream_on_a_span_of_their_own_are_of_its_request() -> None:
    request = span(CHAT, kind=CLIENT, number=1, parent=9, name="Chat Completion", **at(0, 40))
    end = span({**CHAT, **COUNTED}, kind=INTERNAL, number=2, parent=9, name="streaming response", **at(100, 100))
    (event,) = models(end, request)
    assert (counted([event]), event.duration_ms) == (3, 100 / 1e6)
    around = span({**CHAT, **COUNTED}, kind=CLIENT, number=9, name="chat m", **at(-5, 105))
    assert counted(models(request, end, around)) == 3


def test_a_thousand_calls_at_the_same_time_are_compared_with_few() -> None:
    spans = [
        (scope, span({**CHAT, **COUNTED}, kind=CLIENT, number=2 * number + offset, parent=9999, **at(0, 100)))
        for number in range(1, 1001)
        for offset, scope in enumerate("ab")
    ]
    assert counted(models(*spans)) == 3000
    assert counted(models(*sorted(spans, key=lambda pair: pair[0]))) == 3000


def test_a_call_of_the_api_that_tells_the_last_of_several_calls_leaves_them_their_tokens() -> None:
    call = span({**FRAMEWORK, **CHAT, **COUNTED, "litellm.call_id": "c"}, number=1, name="POST /v1/chat")
    usage = {"llm.openai.model": "m", "llm.openai.usage": "{'prompt_tokens': 3, 'completion_tokens': 5}"}
    raw = [span(usage, kind=INTERNAL, number=number, parent=1) for number in (2, 3)]
    assert counted(mapped(traces(*raw, call)).events) == 6


@pytest.mark.parametrize(
    ("attributes", "operation"),
    [
        ({"gen_ai.system": "openai", "name": "helper"}, "task"),
        ({"gen_ai.operation.name": "agent_step", "gen_ai.request.model": "m", **COUNTED}, "chain"),
    ],
)
def test_what_names_no_model_and_a_step_of_an_agent_are_no_calls(attributes: dict[str, Any], operation: str) -> None:
    found = told(one(attributes))
    assert (found["operation"], "tokens.input" in found) == (operation, False)


def test_a_span_that_only_prepares_a_call_is_none() -> None:
    (event,) = models(span({**OPENINFERENCE}, kind=INTERNAL, name="OpenAI._prepare_chat_with_tools"))
    assert (told(event)["operation"], counted([event])) == ("task", 0)


@pytest.mark.parametrize("model", ['{"model": "gpt-4o", "stream": true}', '{"stream": True, "model_name": "gpt-4o"}'])
def test_the_settings_of_a_call_name_its_model_where_nothing_else_does(model: str) -> None:
    event = one({"openinference.span.kind": "LLM", "llm.invocation_parameters": model})
    assert (event.action_name, told(event)["model"], told(event)["streaming"]) == ("chat gpt-4o", "gpt-4o", True)


@pytest.mark.parametrize(
    ("message", "bucket"),
    [
        ("Error getting response: {'error': 'Error code: 401 - Incorrect API key provided'}", "auth"),
        ("401 UNAUTHENTICATED. {'error': {'code': 401}}", "auth"),
        ("Error: 429 Rate limit reached for gpt-4o", "rate_limit"),
        ("Incorrect API key provided: ****", "auth"),
        ("403 Your project has no access", "authorization"),
        ("Error code: 400 - {'error': {'message': 'x'}}", "validation"),
        ('529 {"type":"error"}', "upstream"),
        ("nothing that is known", "server"),
    ],
)
def test_a_provider_says_its_status_in_words(message: str, bucket: str) -> None:
    status = Status(code=Status.STATUS_CODE_ERROR, message=message)
    assert one({"openinference.span.kind": "LLM"}, status=status).error_type == bucket
    attributes = {"langfuse.observation.type": "generation", "langfuse.observation.level": "ERROR"}
    event = one({**attributes, "langfuse.observation.status_message": message})
    assert (event.error_type, told(event)["operation"]) == (bucket, "chat")


def test_a_total_tells_whether_a_cache_is_counted_apart() -> None:
    apart = '{"input": 44, "output": 14, "total": 126, "input_cache_read": 64, "output_reasoning": 4}'
    found = told(one({"langfuse.observation.type": "generation", "langfuse.observation.usage_details": apart}))
    assert (found["tokens.input"], found["tokens.output"], found["tokens.cache_read"]) == (108, 18, 64)
    inside = '{"prompt_tokens": 108, "completion_tokens": 18, "total_tokens": 126, "cached_tokens": 64}'
    found = told(one({"langfuse.observation.type": "generation", "langfuse.observation.usage_details": inside}))
    assert (found["tokens.input"], found["tokens.output"]) == (108, 18)


def test_a_call_told_twice_is_kept_without_tokens_where_plumbing_is_kept() -> None:
    answer = {**CHAT, **COUNTED, "gen_ai.response.id": "r"}
    pair = [("a", span(answer, kind=CLIENT, number=1)), ("b", span(answer, kind=CLIENT, number=2))]
    found = mapped(scoped(*pair), MappingSettings(skip_plumbing=False)).events
    assert [told(event).get("tokens.input") for event in found] == [3, None]


def test_loops_of_parents_end() -> None:
    loop = [span({**CHAT, **COUNTED}, kind=INTERNAL, number=number, parent=3 - number) for number in (1, 2)]
    assert len(models(*loop)) >= 1
    assert len(models(span({**CHAT, **COUNTED}, kind=INTERNAL, number=1, parent=1))) == 1


RECEIVED = {"url.path": "/v1/chat", "http.route": "/v1/chat", "http.response.status_code": 429}
FRAMEWORK = {"http.request.method": "POST", **RECEIVED}


def calls(*spans: Span) -> list[tuple[str, str]]:
    return [(event.verb, event.hop) for event in mapped(traces(*spans)).events if event.event_type == "api_call"]


@pytest.mark.parametrize("flags", [0, LOCAL])
def test_a_server_span_below_the_frameworks_own_is_the_same_call(flags: int) -> None:
    framework = span(FRAMEWORK, number=1, name="POST /v1/chat")
    between = span({}, kind=INTERNAL, number=2, parent=1)
    again = span(RECEIVED, number=3, parent=2, name="Received Proxy Server Request", flags=flags)
    for spans in ((framework, between, again), (again, between, framework)):
        assert calls(*spans) == [("POST", "entry")]


def test_a_server_span_whose_parent_is_in_its_process_is_no_call_in_a_request_of_its_own() -> None:
    assert calls(span(RECEIVED, number=3, parent=2, name="Received Proxy Server Request", flags=LOCAL)) == []


def test_a_server_span_beside_the_frameworks_own_is_the_same_call() -> None:
    framework = span(FRAMEWORK, number=1, parent=9, name="POST /v1/chat", flags=REMOTE)
    again = span(RECEIVED, number=2, parent=9, name="Received Proxy Server Request", flags=REMOTE)
    assert [verb for verb, _ in calls(again, framework)] == ["POST"]


def test_a_server_span_alone_is_a_call() -> None:
    assert len(calls(span(RECEIVED, number=1, name="Received Proxy Server Request"))) == 1
    assert len(calls(span(RECEIVED, number=1, parent=9, name="Received Proxy Server Request", flags=REMOTE))) == 1


def test_tokens_on_the_span_of_a_call_are_not_counted_again_below_it() -> None:
    call = span({**FRAMEWORK, **CHAT, **COUNTED, "litellm.call_id": "c"}, number=1, name="POST /v1/chat")
    usage = {"llm.openai.usage": "{'prompt_tokens': 3, 'completion_tokens': 5}"}
    raw = span({"llm.openai.model": "m", **usage}, kind=INTERNAL, number=2, parent=1)
    found = mapped(traces(raw, call)).events
    assert counted(found) == 3
    assert [event.family for event in found] == ["genai", "http"]


def test_a_call_that_only_names_its_model_leaves_the_tokens_to_the_span_below_it() -> None:
    told_of = {"litellm.call_id": "c", "gen_ai.request.model": "m"}
    call = span({**FRAMEWORK, **told_of}, number=1, name="POST /v1/chat")
    inner = span({**CHAT, **COUNTED}, kind=CLIENT, number=2, parent=1)
    found = [told(event) for event in mapped(traces(inner, call)).events]
    assert [("model" in says, says.get("tokens.input", 0)) for says in found] == [(True, 3), (False, 0)]


@pytest.mark.parametrize("place", [{"url.path": "/v1/chat/completions"}, {}, {"http.route": "/v1/chat/completions"}])
def test_litellms_own_span_of_a_call_is_the_call_where_nothing_else_tells_it(place: dict[str, Any]) -> None:
    who = {"metadata.user_api_key_hash": "h", "metadata.user_api_key_user_id": "u", "metadata.user_agent": "curl/8"}
    route = {
        "metadata.user_api_key_request_route": "/v1/chat/completions",
        "metadata.requester_ip_address": "192.0.2.7",
    }
    call = span({**CHAT, **COUNTED, **who, **route, **place}, number=1, name="Received Proxy Server Request")
    raw = span({"llm.openai.usage": "{'prompt_tokens': 3}", "llm.openai.model": "m"}, kind=INTERNAL, number=2, parent=1)
    found = mapped(traces(raw, call)).events
    assert [event.event_type for event in found] == ["action", "api_call"]
    assert (found[1].hop, found[1].user_id, found[1].route) == ("entry", "u", "/v1/chat/completions")
    assert (found[1].ip_address, found[1].user_agent) == ("192.0.2.7", "curl/8")
    assert counted(found) == 3


def failing_resolver(number: int, parent: int) -> Span:
    status = Status(code=Status.STATUS_CODE_ERROR, message="no quota")
    return span({}, kind=INTERNAL, name="graphql.resolve order", number=number, parent=parent, status=status)


def test_a_failed_resolver_fails_its_operation_however_deep_it_is() -> None:
    operation = span({"graphql.operation.type": "query"}, kind=INTERNAL, name="query", number=1)
    resolvers = [span({}, kind=INTERNAL, name="graphql.resolve a", number=2, parent=1), failing_resolver(3, 2)]
    (event,) = mapped(traces(*resolvers, operation)).events
    assert (event.error_type, event.span_status) == ("server", 2)
    assert "no quota" in event.metadata


def test_a_failed_resolver_without_its_operation_is_not_skipped() -> None:
    (event,) = mapped(traces(failing_resolver(3, 2))).events
    assert (event.event_type, event.family, event.error_type) == ("action", "graphql", "server")


@pytest.mark.parametrize(("status", "told_here"), [(400, []), (200, ["validation"])])
def test_a_document_that_does_not_parse_fails_the_call_or_is_told_beside_it(status: int, told_here: list[str]) -> None:
    call = span({**CALL, "http.response.status_code": status}, name="POST /graphql", number=1)
    wrong = Status(code=Status.STATUS_CODE_ERROR)
    parse = span({}, kind=INTERNAL, name="graphql.parse", number=2, parent=1, status=wrong)
    found = mapped(traces(parse, call)).events
    assert [event.error_type for event in found if event.event_type == "action"] == told_here


@pytest.mark.parametrize(
    ("attributes", "message", "bucket"),
    [
        ({"error.type": "tool_error"}, "", "client_error"),
        ({"error.type": "ToolError"}, "Unknown tool: 'x'", "not_found"),
        ({"error.type": "-32601"}, "", "not_found"),
        ({"error.type": "-32602"}, "", "validation"),
        ({"error.type": "-32602"}, "MCP error -32602: Tool x not found", "not_found"),
        ({"rpc.response.status_code": "-32602"}, "", "validation"),
        ({"rpc.response.status_code": -32603}, "", "server"),
        ({"error.type": "McpError"}, "MCP error -32001: Request timed out", "timeout"),
        ({"error.type": "-32002"}, "", "not_found"),
        ({"error.type": "fastmcp.exceptions.NotFoundError"}, "", "not_found"),
        ({"error.type": "ValidationError"}, "", "validation"),
        ({"error.type": "ValueError"}, "", "server"),
    ],
)
def test_an_mcp_call_fails_by_who_is_at_fault(attributes: dict[str, Any], message: str, bucket: str) -> None:
    status = Status(code=Status.STATUS_CODE_ERROR, message=message)
    event = one({"mcp.method.name": "tools/call", **attributes}, SERVER, status=status)
    assert (event.family, event.error_type) == ("mcp", bucket)
