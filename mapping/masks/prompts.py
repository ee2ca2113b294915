"""Prompts, answers, arguments of tools and retrieved documents, under whatever convention's names (spec/mapping.md §7).

A record is of a model when one of its keys belongs to a convention for models, agents or tools: GenAI and MCP,
OpenInference, OpenLLMetry, the Vercel AI SDK, Google ADK, Langfuse, MLflow, Pydantic AI, LangSmith, LiteLLM and others.
In such a record a name tells by its words whether content stands under it: `input.value`, `ai.toolCall.args`,
`llm.openai.messages`, `mlflow.spanOutputs`. Names of models and components, ids, counts, reasons and settings stay, and
so does every number.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import orjson

from mapping.rules.names import words_of

# Keys that only records of models have, by how they begin.
_OF_MODELS: Final = (
    *("gen_ai.", "llm.", "openinference.", "traceloop.", "langfuse.", "mlflow.", "gcp.vertex.agent.", "pydantic_ai."),
    *("langsmith.", "mcp.", "ai.operationId", "ai.model.", "ai.prompt", "ai.response.", "ai.toolCall.", "ai.usage."),
    *("ai.settings.", "ai.telemetry.", "ai.value", "ai.embedding", "ai.result.", "crewai.", "crew_", "autogen."),
    *("haystack.", "llamaindex.", "embedding.", "retrieval.", "reranker.", "agno.", "dspy.", "spring.ai.", "litellm."),
    *("gen_ai_", "vertexai.", "bedrock.", "openai.", "anthropic.", "cohere.", "ollama.", "smolagents.", "genai."),
    *("all_messages_events", "agent_name", "model_request_parameters", "final_result", "tool_arguments", "langgraph."),
    *("claude_code.", "codex.", "gemini_cli.", "qwen-code.", "lk.", "azure.ai.", "watsonx.", "vllm."),
    *(
        "semantic_kernel.",
        "guardrail.",
        "phoenix.",
        "genkit:",
        "dify.",
        "llama_index.",
        "opik.",
        "lunary.",
        "portkey.",
        "weave.",
        "strands.",
        "db.vector.",
        "braintrust.",
        "honeyhive",
        "lmnr.",
        "helicone.",
        "langchain.",
        "posthog.ai.",
        "mastra.",
    ),
)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# The last word of a name under which content stands.
_CONTENT: Final = _set(
    """
    content contents text texts prompt prompts completion completions message messages msgs input inputs output outputs
    query queries question questions answer answers argument arguments args kwargs result results response responses
    request requests document documents docs transcript transcripts transcription instruction instructions value values
    body payload data thought thoughts thinking history choice choices variable variables template templates object
    candidates parts generation generations embedding context contexts chunk chunks summary vector vectors embeddings
    raw params ctx explanation reply replies
    calls call blob reasoning goal backstory utterance speech caption json url image audio file files delta refusal
    events conversation memory scratchpad observation observations snippet snippets passage passages records
    annotations evaluations ranking entity where filter filters preview rationale msg plan task tasks nodes str
    signature tools functions
    """
)
# Behind one of these a name is content whatever its last word is, unless that is one of _FACTS.
_CONTAINERS: Final = _set(
    """
    messages prompts completions documents candidates argument arguments args inputs outputs variables choices prompt
    completion tools functions
    """
)
# Words that say what of a prompt or an answer stands here: nothing of its content.
_FACTS: Final = _set(
    """
    role roles name names id ids type types kind model models version versions count counts token tokens usage cost
    costs price length size sizes format formats index score scores status code system provider language mime reason
    reasons temperature top p k seed time timestamp latency duration ms seconds max min n total dimension dimensions
    class operation method protocol level priority stop sequences choice_count finish path tier details hash label
    labels tag tags encoding environment release parallel enabled streaming stream cached limit rate
    """
)
# A name with one of these words is a measure of content, not content.
_MEASURES: Final = _set("usage count counts tokens token cost costs price latency duration length size tps rate")
_ALWAYS: Final = _set(
    """
    model_request_parameters tool.parameters tool_call.parameters mcp.tool.parameters crew_agents crew_tasks
    formatted_description crewai.task.description gen_ai.tool.definitions ai.prompt.tools retrieval.documents
    document.metadata db.query.result.metadata haystack.openai.chat ai.schema dify.tool.parameters
    formatted_expected_output
    """
)
# The last word of a name that holds settings of a call.
_SETTINGS: Final = _set("parameters parameter settings config configuration options metadata extra agents")
_LONGEST_SETTINGS: Final = 65_536  # characters of a text that is read; those of a call have some hundred
# Of the name of a span and a prompt: what is shorter may be the name of a tool, a model or a role.
_SHORTEST_PROMPT: Final = 12  # characters
_WORDS_OF_A_PROMPT: Final = 2  # blanks in the name
_COMPARED: Final = 32  # characters of either
_COUNTS: Final = ("_tokens", "Tokens", "TokenCount", "tokens")
_LONGEST_NAME: Final = 1024  # characters; longer keys are no name that anybody gives
# Names that hold a word of content and none of it.
_NEVER: Final = ("http.", "url.", "server.", "client.", "network.", "error.", "exception.", "otel.", "code.", "thread.")


# Parts of keys that together say the same: of what a provider answered, or a logger tells of it, under no convention's
# names (AutoGen's `LLMCall`, a completion as OpenAI sends it), and of the tokens that such a record counts.
_TOLD: Final = _set("messages choices prompt completion response content candidates output contents")
_COUNTED: Final = (
    _set("prompt_tokens completion_tokens"),
    _set("input_tokens output_tokens"),
    _set("prompttokens completiontokens"),
    _set("inputtokens outputtokens"),
    _set("prompttokencount candidatestokencount"),
)
_LOGFIRE: Final = _set("request_data logfire.msg_template")  # of the spans that tell of a stream


def is_of_a_model(keys: Iterable[str]) -> bool:
    """True when one of these keys, or several together, say that their record is of a model, an agent or a tool."""
    keys = tuple(keys)
    if any(key.startswith(_OF_MODELS) for key in keys):
        return True
    if _LOGFIRE.issubset(keys):
        return True
    if not any(key.endswith(_COUNTS) for key in keys):
        return False
    parts = {key.rpartition(".")[2].lower() for key in keys}
    return any(parts >= pair for pair in _COUNTED) and any(
        not _TOLD.isdisjoint(key.lower().split(".")) for key in keys if len(key) <= _LONGEST_NAME
    )


@lru_cache(maxsize=4096)
def _holds_content(key: str) -> bool:
    if key in _ALWAYS:
        return True
    if key.startswith(_NEVER):
        return False
    parts = [found for part in key.split(".") if (found := words_of(part))]
    while len(parts) > 1 and parts[-1][0].isdigit():
        parts.pop()
    if not parts:
        return False
    last = [word for word in parts[-1] if not word.isdigit()] or parts[-1]
    words = {word for part in parts for word in part}
    if words & _MEASURES or (key.startswith("gen_ai.request.") and not _CONTAINERS & {*last}):
        return False  # a number, a setting of the request
    if last[-1] in _CONTENT:
        return True
    inside = _CONTAINERS.intersection(word for part in parts[:-1] for word in part)
    # What a variable of a template is called says nothing of what is in it: `…template_variables.name` is a person's.
    return bool(inside) and (last[-1] not in _FACTS or parts[-2][-1] == "variables")


def holds_content(key: str) -> bool:
    """True for a name in a record of a model under which a prompt, an answer or a part of one stands."""
    return _holds_content(key) if len(key) <= 256 else _holds_content.__wrapped__(key)


def shows_content(title: str, contents: Iterable[Any]) -> bool:
    """True when the name of a span is a prompt, or a part of one: contents are the values under names of content."""
    words = title.count(" ") >= _WORDS_OF_A_PROMPT
    for text in contents:
        if isinstance(text, str):
            begin = text[:_COMPARED].strip()
            if (len(begin) >= _SHORTEST_PROMPT and begin in title) or (words and title[:_COMPARED] in text):
                return True
    return False


def holds_settings(key: str) -> bool:
    """True for a name in a record of a model whose text, as JSON, holds settings of a call and perhaps content."""
    parts = words_of(key.rpartition(".")[2]) if len(key) <= 256 else []
    return bool(parts) and parts[-1] in _SETTINGS


def settings_shown(text: str) -> str | None:
    """A text of settings without the content in it, None where that cannot be told. Time is in proportion to it."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        value = without_content(orjson.loads(text)) if len(text) <= _LONGEST_SETTINGS else None
        return orjson.dumps(value).decode() if isinstance(value, dict) else None
    except (orjson.JSONDecodeError, RecursionError):
        return None


def without_content(value: Any) -> Any:
    """A value of a record of a model without the content in it: what is under names of content goes, at any depth."""
    if not isinstance(value, dict):
        return [without_content(item) for item in value] if isinstance(value, list) else value
    return {
        key: without_content(item)
        for key, item in value.items()
        if not (holds_content(key) and not isinstance(item, bool | int | float))
    }
