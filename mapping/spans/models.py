"""What spans of models, agents and tools say by every convention (spec/mapping.md §4): operation, model, tokens.

The words are those of the tables in `mapping.dialects` (`models:`), put together once for a mapper. A span is a *call*
of a model, which has tokens, or a *step* around such calls: an agent, a tool, a chain. Steps repeat the tokens of what
is below them, so theirs are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from mapping.dialects.table import Dialect, Models, builtin
from mapping.masks.prompts import holds_content, shows_content
from mapping.otlp.records import SpanStatus
from mapping.rules.identity import unquote
from mapping.shape import ABSENT, Shape

_OTHER_FIELDS: Final = ("signs", "operations", "failed")  # than names of attributes
_FIRST: Final = "genai"  # the dialect whose names come before those of others: OpenTelemetry's own
TOKENS: Final = ("input", "output", "cache_read", "cache_creation", "reasoning")
# What is no call of a model but a step around some.
STEPS: Final = frozenset(
    (
        *("execute_tool", "invoke_agent", "create_agent", "invoke_workflow", "retrieval", "chain", "task", "prompt"),
        *("guardrail", "evaluation"),
    )
)
# What is one even where the span names no model and no tokens; any other word is one only where it does.
_CALLS: Final = frozenset(("chat", "text_completion", "generate_content", "embeddings", "rerank", "image_generation"))
# Calls that make text: what one instrumentation calls a chat is a completion for another.
GENERATED: Final = frozenset(("", "chat", "text_completion", "generate_content"))
_UNNAMED: Final = "genai"  # instead of a name that is a prompt, where nothing else says what was done
_OF_TOOLS: Final = frozenset(("execute_tool",))
_OF_AGENTS: Final = frozenset(("invoke_agent", "create_agent", "invoke_workflow"))
_REQUESTED: Final = ("gen_ai.request.model", "gen_ai.response.model")  # of a call, where no operation is stated
_LONGEST_USAGE: Final = 4096  # characters of a text of counts that are looked at; providers write some 300
_COUNT: Final = re.compile(r"[\"'](\w{1,40})[\"']\s{0,4}:\s{0,4}(\d{1,15})\b", re.ASCII).finditer
# In a text of settings.
_MODEL: Final = re.compile(r"[\"']model(?:_name|_id)?[\"']\s{0,4}:\s{0,4}[\"']([\w./:@-]{1,128})[\"']", re.ASCII).search
_STREAM: Final = re.compile(r"[\"']stream[\"']\s{0,4}:\s{0,4}true\b", re.ASCII | re.IGNORECASE).search
_COUNTS: Final = {
    "prompt_tokens": "input",
    "input_tokens": "input",
    "promptTokenCount": "input",
    "prompt_token_count": "input",
    "inputTokens": "input",
    "input": "input",
    "completion_tokens": "output",
    "output_tokens": "output",
    "candidatesTokenCount": "output",
    "candidates_token_count": "output",
    "outputTokens": "output",
    "output": "output",
    "cached_tokens": "cache_read",
    "input_cached_tokens": "cache_read",
    "input_cache_read": "cache_read",
    "cache_read": "cache_read",
    "cache_creation": "cache_creation",
    "reasoning": "reasoning",
    "total": "total",
    "output_reasoning_tokens": "reasoning",
    "output_reasoning": "reasoning",
    "cache_read_input_tokens": "cache_read",
    "cachedContentTokenCount": "cache_read",
    "cache_creation_input_tokens": "cache_creation",
    "reasoning_tokens": "reasoning",
    "thoughtsTokenCount": "reasoning",
}


class Words(NamedTuple):
    """The names of all dialects. Of several names the first that a span has counts."""

    signs: frozenset[str]
    beginnings: tuple[str, ...]  # of keys
    operations: tuple[tuple[str, Mapping[str, str]], ...]  # attribute, and what its values mean
    named: Mapping[str, tuple[str, ...]]  # field of `Models` -> attributes
    failed: tuple[tuple[str, str], ...]  # attribute, and its value where a call failed

    def first(self, field: str, shape: Shape) -> int:
        """Index of the first attribute of a shape that has a name of the field, else ABSENT."""
        names = self.named[field]
        found = shape.first(names)
        if found != ABSENT:
            return found
        for name in names:
            if "*" in name:
                begins, _, ends = name.partition("*")
                keys = (key for key in shape.at if key.startswith(begins) and key.endswith(ends))
                found = shape.first(key for key in keys if "." not in key[len(begins) : -len(ends)])
                if found != ABSENT:
                    return found
        return ABSENT

    def facts(self, shape: Shape) -> list[tuple[str, str]]:
        """Fields that are promoted as they are, each with the attribute of a shape that tells it."""
        names = {index: key for key, index in shape.at.items()}
        found = [(field, self.first(field, shape)) for field in ("system", "model")]
        return [(field, names[index]) for field, index in found if index != ABSENT]

    def mean(self, keys: Iterable[str]) -> bool:
        """True when attributes with these keys are a model's, an agent's or a tool's."""
        return any(key in self.signs or key.startswith(self.beginnings) for key in keys)


def words(own: Mapping[str, Dialect]) -> Words:
    """The words of the dialects that are built in and of a team's own, which come first."""
    return _words(tuple(own.items())) if own else _builtin_words()


@lru_cache(maxsize=1)
def _builtin_words() -> Words:
    return _words(())


def _words(own: tuple[tuple[str, Dialect], ...]) -> Words:
    mine = dict(own)
    known = builtin()
    order = [*mine, _FIRST, *(name for name in known if name != _FIRST)]
    tables = [mine.get(name) or known[name] for name in dict.fromkeys(order)]
    models = [table.models for table in tables]
    operations: dict[str, dict[str, str]] = {}
    for model in models:
        for attribute, meanings in model.operations.items():
            known_of = operations.setdefault(attribute, {})
            for value, meaning in meanings.items():
                known_of.setdefault(value.lower(), meaning)
    # The SDK's own word is more exact than what it says in OpenTelemetry's words beside it.
    first = sorted(operations.items(), key=lambda item: item[0] == "gen_ai.operation.name")
    signs = [sign for model in models for sign in (*model.signs, *model.operations)]
    return Words(
        frozenset(sign for sign in signs if not sign.endswith(".")),
        tuple(sign for sign in signs if sign.endswith(".")),
        tuple(first),
        {field: _all(field, models) for field in Models.model_fields if field not in _OTHER_FIELDS},
        tuple(item for model in models for item in model.failed.items()),
    )


def _all(field: str, models: list[Models]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for model in models for name in getattr(model, field)))


class Told(NamedTuple):
    """What a record says of itself."""

    operation: str  # "" when nothing says it
    call: bool  # a call of a model, not a step around some


class ModelPlan:
    """Reads spans of one shape that are a model's, an agent's or a tool's."""

    __slots__ = (
        *(
            "_agent",
            "_asked",
            "_contents",
            "_failed",
            "_message",
            "_model",
            "_operations",
            "_prepare",
            "_response",
            "_settings",
            "_tool",
            "_usage",
        ),
        *("end_user", "names_tool", "tokens"),
    )

    def __init__(self, shape: Shape, known: Words, *, drops_content: bool = False) -> None:
        """drops_content: what a prompt says is shown nowhere."""

        def first(field: str) -> int:
            return known.first(field, shape)

        at = shape.at
        self._operations = [
            (at[name], name == "gen_ai.operation.name", meanings)
            for name, meanings in known.operations
            if name in at and at[name] not in shape.many
        ]
        self._model, self._agent, self._tool = first("model"), first("agent"), first("tool")
        self._response = first("response_id")
        self.names_tool = self._tool != ABSENT
        self._asked = shape.has(*_REQUESTED)
        self.tokens = tuple((f"action.tokens.{kind}", first(f"{kind}_tokens")) for kind in TOKENS)
        self.tokens = tuple(found for found in self.tokens if found[1] != ABSENT)
        self._usage = first("usage")
        self._settings, self._message = first("settings"), first("message")
        self._failed = [(at[name], value) for name, value in known.failed if name in at]
        self._contents = [at for key, at in shape.at.items() if holds_content(key)] if drops_content else []
        self._prepare = known.named["prepare"]
        self.end_user = first("end_user")

    @property
    def counted(self) -> bool:
        """True when a call of this shape tells its tokens."""
        return bool(self.tokens) or self._usage != ABSENT

    def told(self, values: tuple[Any, ...], title: str) -> Told:
        operation = ""
        for index, standard, meanings in self._operations:
            value = values[index]
            if not isinstance(value, str) or len(value) > _LONGEST_USAGE:
                continue
            operation = meanings.get(value.strip(' "').lower(), value if standard else "")
            if operation:
                call = operation in _CALLS or (operation not in STEPS and (self._asked or self.counted))
                if call and title.endswith(self._prepare):
                    return Told("task", call=False)
                return Told(operation, call)
        if not self._asked and not operation:
            if self._tool != ABSENT:
                return Told("execute_tool", call=False)
            if self._agent != ABSENT:
                return Told("invoke_agent", call=False)
            if self._model == ABSENT and self._response == ABSENT and not self.counted:
                return Told("task", call=False)
        return Told("", call=True)

    def name(self, told: Told, values: tuple[Any, ...], title: str) -> str:
        """`{operation} {model}`, or the tool or agent instead of the model; the span's name where one is missing."""
        where = self._model
        if told.operation in STEPS:
            where = (
                self._tool if told.operation in _OF_TOOLS else self._agent if told.operation in _OF_AGENTS else ABSENT
            )
        what = values[where] if where != self._model else self.asked(values)
        return f"{told.operation} {unquote(what)}" if told.operation and isinstance(what, str) else title

    def failure(self, values: tuple[Any, ...]) -> SpanStatus | None:
        """What a call says of its failure where its span's status says nothing, None where it has not failed."""
        if any(isinstance(value := values[at], str) and value.lower() == told for at, told in self._failed):
            message = values[self._message]
            return SpanStatus(2, message if isinstance(message, str) else "")
        return None

    def title(self, title: str, values: tuple[Any, ...]) -> str:
        """The name of a span as it may be shown: CrewAI's are prompts."""
        if self._contents and shows_content(title, [values[at] for at in self._contents]):
            return self.told(values, "").operation or _UNNAMED
        return title

    def tool(self, values: tuple[Any, ...]) -> str:
        """The tool, "" for none."""
        what = values[self._tool]
        return unquote(what) if isinstance(what, str) else ""

    def response(self, values: tuple[Any, ...]) -> str:
        """The id of the model's answer, "" for none."""
        value = values[self._response]
        return value if isinstance(value, str) else ""

    def asked(self, values: tuple[Any, ...]) -> object:
        """The model; where no attribute names it, the settings of the call may."""
        if self._model == ABSENT and self._settings != ABSENT and isinstance(text := values[self._settings], str):
            named = _MODEL(text, 0, _LONGEST_USAGE)
            return named[1] if named is not None else None
        return values[self._model]

    def streamed(self, values: tuple[Any, ...]) -> bool | None:
        """True when the settings of the call ask for a stream, else None: LangChain streams where they say no."""
        if self._settings == ABSENT or not isinstance(text := values[self._settings], str):
            return None
        return _STREAM(text, 0, _LONGEST_USAGE) is not None or None

    def facts(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """Model and tokens by metadata key, for a call of an API that tells them itself."""
        model = values[self._model]
        return {**({"action.model": unquote(model)} if isinstance(model, str) else {}), **self.counts(values)}

    def counts(self, values: tuple[Any, ...]) -> dict[str, int | float]:
        """The tokens of a call by metadata key."""
        found = {}
        for key, index in self.tokens:
            value = values[index]
            if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
                value = int(value)
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
                found[key] = value
        if self._usage != ABSENT and isinstance(text := values[self._usage], str):
            for kind, count in _counts(text).items():
                found.setdefault(f"action.tokens.{kind}", count)
        return found


def _counts(text: str) -> dict[str, int]:
    """The tokens that a text tells. Where its total says that they are counted apart, those of a cache are input, too,
    and those of reasoning output.
    """
    found: dict[str, int] = {}
    for count in _COUNT(text[:_LONGEST_USAGE]):
        kind = _COUNTS.get(count[1])
        if kind is not None:
            found.setdefault(kind, int(count[2]))
    total = found.pop("total", 0)
    cached, reasoned = found.get("cache_read", 0) + found.get("cache_creation", 0), found.get("reasoning", 0)
    apart = cached + reasoned
    if apart and "input" in found and total == found["input"] + found.get("output", 0) + apart:
        found["input"] += cached
        if reasoned:
            found["output"] = found.get("output", 0) + reasoned
    return found
