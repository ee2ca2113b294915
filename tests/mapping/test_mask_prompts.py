"""Prompts and answers are dropped under every convention's names; what measures and names them stays."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from mapping.event_json import event_json
from mapping.masks.prompts import holds_content, is_of_a_model
from mapping.settings import MappingSettings
from mapping_requests import INTERNAL, log, logs, mapped, span, traces

WORDS = "the blue lorry weighs nine tons"


def span_event(attributes: dict[str, Any], settings: MappingSettings | None = None, name: str = "work") -> str:
    found = mapped(traces(span(attributes, kind=INTERNAL, name=name)), settings or MappingSettings())
    return orjson.dumps(event_json(found.events[0])).decode()


def log_event(attributes: dict[str, Any], body: Any) -> str:
    return orjson.dumps(event_json(mapped(logs(log(body, attributes))).events[0])).decode()


def listed(names: str) -> list[str]:
    return names.split()


CONTENT = listed(
    """
    assistant_reply llm.reply
    input.value output.value llm.input_messages.0.message.content llm.output_messages.0.message.content
    llm.input_messages.1.message.contents.0.message_content.text
    llm.input_messages.1.message.contents.0.message_content.image.image.url
    llm.input_messages.1.message.tool_calls.0.tool_call.function.arguments llm.prompts llm.prompts.0.prompt.text
    llm.choices.0.completion.text llm.prompt_template.variables llm.prompt_template.template
    retrieval.documents.0.document.content retrieval.documents.0.document.metadata tool.parameters embedding.text
    embedding.embeddings.0.embedding.text embedding.embeddings.0.embedding.vector reranker.query
    reranker.input_documents.0.document.content traceloop.entity.input traceloop.entity.output
    gen_ai.prompt.0.content gen_ai.completion.0.content gen_ai.content.prompt gen_ai.content.completion
    gen_ai.prompt gen_ai.completion ai.prompt ai.prompt.messages ai.response.text ai.response.object
    ai.response.toolCalls ai.response.reasoning ai.toolCall.args ai.toolCall.result ai.value ai.values
    ai.result.text ai.result.object ai.result.toolCalls ai.embedding ai.embeddings ai.prompt.tools
    gcp.vertex.agent.llm_request gcp.vertex.agent.llm_response gcp.vertex.agent.tool_call_args
    gcp.vertex.agent.tool_response gcp.vertex.agent.data langfuse.observation.input langfuse.observation.output
    langfuse.trace.input langfuse.trace.output mlflow.spanInputs mlflow.spanOutputs mlflow.chat.messages
    mlflow.traceInputs mlflow.traceOutputs all_messages_events events final_result tool_arguments tool_response
    pydantic_ai.all_messages model_request_parameters request_data response_data llm.openai.messages
    llm.openai.choices llm.anthropic.content llm.openai.input llm.openai.data llm.openai.prompt
    llm.vertex_ai.contents llm.openai.output llm.raw_response mcp.tool.arguments mcp.tool.result
    mcp.request.argument.city mcp.request.params mcp.response.value gen_ai.tool.call.arguments
    gen_ai.tool.call.result gen_ai.system_instructions gen_ai.input.messages gen_ai.output.messages
    haystack.component.input haystack.pipeline.output_data crewai.crew.result crewai.agent.goal
    spring.ai.chat.client.user.text db.vector.query.content gen_ai.retrieval.documents gen_ai.retrieval.query.text
    gen_ai.system.message
    """
)
FACTS = listed(
    """
    openinference.span.kind llm.model_name llm.system llm.provider llm.token_count.prompt
    llm.token_count.completion llm.token_count.total llm.token_count.prompt_details.cache_read llm.finish_reason
    llm.invocation_parameters llm.input_messages.0.message.role input.mime_type output.mime_type session.id
    user.id metadata tag.tags llm.output_messages.0.message.tool_calls.0.tool_call.function.name
    llm.output_messages.0.message.tool_calls.0.tool_call.id retrieval.documents.0.document.id
    retrieval.documents.0.document.score embedding.model_name tool.name tool.description
    llm.prompt_template.version gen_ai.system gen_ai.provider.name gen_ai.request.model gen_ai.response.model
    gen_ai.response.id gen_ai.response.finish_reasons gen_ai.request.temperature gen_ai.request.top_p
    gen_ai.request.stop_sequences gen_ai.request.max_tokens gen_ai.request.encoding_formats gen_ai.output.type
    gen_ai.operation.name gen_ai.tool.name gen_ai.tool.call.id gen_ai.tool.type gen_ai.agent.name gen_ai.agent.id
    gen_ai.conversation.id gen_ai.usage.input_tokens gen_ai.usage.output_tokens gen_ai.token.type
    traceloop.span.kind traceloop.entity.name traceloop.entity.path traceloop.workflow.name
    traceloop.association.properties.user_id llm.request.type llm.is_streaming llm.usage.total_tokens
    ai.operationId ai.model.id ai.model.provider ai.settings.maxRetries ai.settings.temperature
    ai.usage.promptTokens ai.usage.completionTokens ai.response.finishReason ai.response.id ai.response.model
    ai.response.timestamp ai.response.msToFinish ai.toolCall.name ai.toolCall.id ai.telemetry.functionId
    resource.name operation.name gcp.vertex.agent.event_id gcp.vertex.agent.invocation_id
    gcp.vertex.agent.session_id langfuse.observation.type langfuse.trace.name langfuse.session.id langfuse.user.id
    langfuse.observation.model.name langfuse.observation.usage_details langfuse.observation.prompt.name
    langfuse.observation.prompt.version mlflow.spanType mlflow.spanFunctionName mlflow.chat.tokenUsage
    mlflow.traceRequestId agent_name model_name logfire.json_schema llm.openai.model llm.openai.id llm.openai.user
    llm.openai.usage llm.openai.created metadata.user_api_key_team_id mcp.method.name mcp.tool.name mcp.session.id
    mcp.request.id mcp.protocol.version mcp.resource.uri server.address http.request.method
    http.response.status_code error.type error.message exception.message db.system rpc.method code.function
    thread.name haystack.component.name haystack.component.type crewai.version crew_key crew_id
    """
)


@pytest.mark.parametrize("name", CONTENT)
def test_content_goes_under_every_name(name: str) -> None:
    for value in (WORDS, [WORDS], {"deep": WORDS}, orjson.dumps([{"content": WORDS}]).decode()):
        assert WORDS not in span_event({"gen_ai.system": "s", name: value})
        assert WORDS not in log_event({"gen_ai.system": "s", name: value}, "called")
    assert WORDS not in log_event({"gen_ai.system": "s"}, {name: WORDS, "at": 1})


@pytest.mark.parametrize("name", FACTS)
def test_facts_about_content_stay(name: str) -> None:
    assert not holds_content(name)


@pytest.mark.parametrize("name", CONTENT)
def test_numbers_are_no_content(name: str) -> None:
    if not name.startswith("gen_ai."):
        assert "4711" in span_event({"gen_ai.system": "s", name: 4711})


def test_content_is_kept_when_asked_for_and_in_records_of_no_model() -> None:
    settings = MappingSettings.model_validate({"genai": {"content": True}})
    assert WORDS in span_event({"gen_ai.system": "s", "input.value": WORDS}, settings)
    assert WORDS in span_event({"form": "f", "input.value": WORDS})
    assert WORDS in log_event({"form": "f"}, {"prompt": WORDS})


def test_maps_lose_their_content_only() -> None:
    shown = span_event({"gen_ai.system": "s", "about": {"input": WORDS, "model": "m-1", "tokens": {"input": 3}}})
    assert WORDS not in shown
    assert "m-1" in shown


@pytest.mark.parametrize("key", ["openinference.span.kind", "traceloop.span.kind", "ai.operationId", "mlflow.spanType"])
def test_a_convention_is_known_by_any_of_its_keys(key: str) -> None:
    assert is_of_a_model(["a", key])
    assert WORDS not in span_event({key: "x", "input.value": WORDS, "output.value": WORDS})


@pytest.mark.parametrize(
    ("attributes", "model"),
    [
        ({"llm.model_name": "m-1", "llm.token_count.prompt": 13, "llm.token_count.completion": 7}, "m-1"),
        ({"ai.model.id": "m-2", "ai.usage.promptTokens": 13, "ai.usage.completionTokens": 7}, "m-2"),
    ],
)
def test_model_and_tokens_of_other_conventions_are_promoted(attributes: dict[str, Any], model: str) -> None:
    event = orjson.loads(span_event(attributes))
    assert event["family"] == "genai"
    assert event["metadata"]["action"] == {"model": model, "tokens": {"input": 13, "output": 7}}


# Names that OpenInference, OpenLLMetry and Langfuse's key list have in their sources, and likely ones of MLflow,
# Logfire, Haystack, LlamaIndex, CrewAI, smolagents, Genkit and Dify, whose sources were not read for this.
MORE_CONTENT = listed(
    """
    annotations trace.annotations session.evaluations evaluations document.metadata llm.tools
    llm.tools.0.tool.json_schema llm.request.functions llm.request.functions.0.description
    llm.request.functions.0.parameters llm.openai.functions mlflow.chat.tools message_content.signature
    haystack.openai.chat pinecone.query.filter db.chroma.query.where db.milvus.query.filter db.vector.query.filter
    db.query.result.metadata db.search.result.entity ai.schema ai.ranking mlflow.trace.requestPreview
    mlflow.trace.responsePreview mlflow.assessment.rationale logfire.msg crewai.crew.plan
    smolagents.task llamaindex.nodes llama_index.query_str dify.tool.parameters dify.inputs genkit:input genkit:output
    traceloop.prompt.template_variables.name llm.prompt_template.variables.id
    """
)
MORE_FACTS = listed(
    """
    llm.request.functions.0.name llm.tools.0.tool.name crewai.task.id crewai.task.name gen_ai.tool.name
    gen_ai.agent.description traceloop.entity.name traceloop.entity.path genkit:name genkit:path dify.conversation.name
    db.vector.query.top_k langfuse.observation.prompt.name mlflow.spanType
    """
)


@pytest.mark.parametrize("key", MORE_CONTENT)
def test_content_under_names_of_the_sources_is_dropped(key: str) -> None:
    told = span_event({"gen_ai.operation.name": "chat", key: WORDS})
    assert WORDS not in told


@pytest.mark.parametrize("key", MORE_FACTS)
def test_facts_under_names_of_the_sources_stay(key: str) -> None:
    assert WORDS in span_event({"gen_ai.operation.name": "chat", key: WORDS})


@pytest.mark.parametrize("key", ["genkit:name", "dify.app.id", "llama_index.version"])
def test_one_name_of_a_framework_tells_that_the_record_is_of_a_model(key: str) -> None:
    assert is_of_a_model([key])


MESSAGES = [{"role": "user", "content": WORDS}]


@pytest.mark.parametrize(
    "body",
    [
        # AutoGen's log of a call, by `autogen_core.events`
        {"type": "LLMCall", "messages": MESSAGES, "response": {"choices": [{"message": {"content": WORDS}}]},
         "prompt_tokens": 3, "completion_tokens": 4, "agent_id": "writer/1"},
        # what OpenAI, Anthropic and Gemini answer, logged as it is
        {"id": "c-1", "model": "gpt-4", "choices": [{"message": {"role": "assistant", "content": WORDS}}],
         "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        {"id": "msg_1", "content": [{"type": "text", "text": WORDS}], "usage": {"input_tokens": 3, "output_tokens": 4}},
        {"candidates": [{"content": {"parts": [{"text": WORDS}]}}],
         "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}},
        {"openai": {"prompt": WORDS, "usage": {"promptTokens": 3, "completionTokens": 4}}},
    ],
)  # fmt: skip
def test_logs_of_calls_of_models_lose_the_content_under_no_conventions_names(body: dict[str, Any]) -> None:
    for text in (body, orjson.dumps(body).decode()):
        found = log_event({}, text)
        assert WORDS not in found
        assert "3" in found, "what was counted stays"


def test_a_line_that_counts_tokens_and_tells_no_content_keeps_its_message() -> None:
    line = {"message": "completion done", "input_tokens": 3, "output_tokens": 4, "model": "gpt-4"}
    assert "completion done" in log_event({}, line)
    assert "42 left" in log_event({}, {"message": "42 left", "refresh_tokens": 1, "prompt": "y/n"})


def test_logfires_span_of_a_stream_loses_what_was_asked_and_answered() -> None:
    attributes = {
        "request_data": orjson.dumps({"messages": MESSAGES, "model": "gpt-4"}).decode(),
        "response_data": orjson.dumps({"combined_chunk_content": WORDS, "chunk_count": 2}).decode(),
        "logfire.msg_template": "streaming response from {request_data[model]!r} took {duration:.2f}s",
        "logfire.span_type": "log",
        "duration": 1.5,
    }
    found = span_event(attributes)
    assert WORDS not in found
    assert "1.5" in found
    assert WORDS in span_event({"request_data": WORDS}), "of a span that is of no model nothing is dropped"


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"event.name": "gen_ai.user.message", "gen_ai.system": "openai", "CHAT_MESSAGE_INDEX": 0}, MESSAGES[0]),
        ({"event.name": "gen_ai.choice", "gen_ai.system": "openai"}, {"message": MESSAGES[0], "finish_reason": "stop"}),
    ],
)
def test_semantic_kernels_events_lose_their_bodies(attributes: dict[str, Any], text: dict[str, Any]) -> None:
    assert WORDS not in log_event(attributes, orjson.dumps(text).decode())


@pytest.mark.parametrize(
    "name", ["llm.invocation_parameters", "model_settings", "metadata", "crewai.crew.agents", "gen_ai.agent.config"]
)
def test_settings_are_shown_without_the_content_between_them(name: str) -> None:
    settings = {"temperature": 0.5, "instructions": WORDS, "tools": [{"description": WORDS}], "text": {"format": "x"}}
    shown = span_event({"gen_ai.system": "s", name: orjson.dumps(settings).decode()})
    assert WORDS not in shown
    assert "temperature" in shown
    for broken in (f'{{"instructions": "{WORDS}', f'[{{"goal": "{WORDS}"}}]', f'["{WORDS}"]', "[" * 5000 + WORDS):
        assert WORDS not in span_event({"gen_ai.system": "s", name: broken})
    assert "plain" in span_event({"gen_ai.system": "s", name: "plain"})


@pytest.mark.parametrize("title", [WORDS, f"{WORDS}.task", f"task: {WORDS}", f"{WORDS} and more of it"[:30]])
def test_a_span_that_is_named_by_its_prompt_is_named_by_what_it_does(title: str) -> None:
    prompt = f"{WORDS} and more of it"
    event = span_event({"gen_ai.operation.name": "chat", "crewai.task.description": prompt}, name=title)
    assert WORDS not in event
    assert '"chat"' in event
    known = {"gen_ai.operation.name": "chat", "gen_ai.prompt": "x chat gpt-4o"}
    assert "chat gpt-4o" in span_event(known, name="chat gpt-4o")
