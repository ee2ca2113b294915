"""Masks as the plans need them: what a key alone decides is found once for a shape, the rest asks the Redactor.

The rules are `mapping.masks.redactor`'s. Whatever fails here raises RedactionError, and the record is not delivered.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from mapping.masks.many import ManyTexts
from mapping.masks.prompts import is_of_a_model
from mapping.masks.redactor import MASK, Redactor
from mapping.masks.settings import MaskSettings
from mapping.memory import Memory
from mapping.rules.bodies import Body, bodies_around, body_named, without_bodies

if TYPE_CHECKING:
    from mapping.settings import MappingSettings

Side = Literal["request", "response"]
Verdict = Literal["keep", "look", "mask", "drop"]

# The text of a statement holds its values; dropped unless asked for (spec/mapping.md §4).
_STATEMENTS: Final = ("db.statement", "db.query.text", "db.query.parameter.*", "db.query.parameters")
_DOCUMENTS: Final = frozenset(
    ("graphql.document", "graphql.source", "graphql.query", "graphql.execute.document", "gql.request.query")
)
# What is open is a literal to the end of its line: nothing is looked at twice.
_LITERAL: Final = re.compile(r'"""(?:[^"]++|"(?!""))*+(?:""")?|"(?:\\.|[^"\\\n]++)*+"?|(?<![\w$])-?\d[\w.+\-]*+')
# Datadog's tracers name spans after the statement that they ran, here and in the span's name.
_NAME_OF_RESOURCE: Final = "resource.name"
_STATEMENT: Final = re.compile(
    r"\s*(?:(?:query|mutation|subscription)\b[^{}]{0,1024}\{|\{"
    r"|(?:select\b.*?\sfrom|insert\s+into|replace\s+into|merge\s+into|update\b.*?\sset|delete\s+from|with\b.*?\sas)\s)",
    re.IGNORECASE | re.DOTALL,
).match
_QUOTED: Final = re.compile(r"'(?:[^'\\]++|\\.|'')*+'?", re.DOTALL)
# A text that no pattern hides and that every rule changes in its own way: what becomes of it tells the rule.
_PROBE: Final = "192.0.2.1"
_LONGEST_REMEMBERED: Final = 256  # characters of a value; with the next: half a megabyte of them at most
_MOST_REMEMBERED: Final = 1024


def without_values(text: str) -> str:
    """A statement of SQL or GraphQL with `?` for its values, as a span is named after it; any other text as it is."""
    if _STATEMENT(text) is None:
        return text
    return _LITERAL.sub("?", _QUOTED.sub("?", text) if "'" in text else text)


class Masking:
    """Masks of one mapper."""

    def __init__(self, settings: MappingSettings) -> None:
        masks = settings.presets.masks_over(settings.masks)
        dropped = masks.drop_attributes if settings.db.statement else (*masks.drop_attributes, *_STATEMENTS)
        masks = masks.model_copy(update={"drop_attributes": dropped})
        self.custom = bool(masks.headers or masks.keys or masks.rules or masks.drop_attributes != _STATEMENTS)
        masks = masks.model_copy(update={"keys": (*masks.keys, *settings.secret_names)})
        self._usual = Redactor(MaskSettings(keys=settings.secret_names, drop_attributes=_STATEMENTS))
        # Sides of which bodies are not kept.
        self.dropped_bodies = frozenset(side for side, kept in settings.kept_bodies.items() if not kept)
        self.redactor = redactor = Redactor(masks, genai_content=settings.genai.content)
        self.looks_inside_text = bool(masks.patterns)  # every text has to be searched
        self.drops_content = not settings.genai.content  # prompts and answers of models
        tables = [dialect.models for dialect in settings.dialects.values()]
        self._own_signs = tuple(sign for table in tables for sign in (*table.signs, *table.operations))
        self.query = redactor.query
        self.path = redactor.path
        self.text = redactor.text
        many = ManyTexts(redactor)
        self.lines_untouched, self.json_untouched = many.lines_untouched, many.json_untouched
        self.leaves_json_as_it_is = redactor.leaves_json_as_it_is
        self.base64 = redactor.base64
        self.log_body = redactor.log_body
        self.attributes = redactor.attributes
        self.ip = redactor.ip
        self.sealed = redactor.sealed
        self.headers = redactor.headers
        # Values of headers whose names hide nothing. What callers send in `accept` and its like repeats.
        self.header_texts: Memory[str] = Memory(redactor.header_text, _MOST_REMEMBERED, longest=_LONGEST_REMEMBERED)
        # (side, name, value) of headers whose names alone do not decide -> the value as it may be stored, None for none
        self.headers_looked_at: Memory[str | None] = Memory(
            lambda key: redactor.headers({key[1]: key[2]}, key[0]).get(key[1]), _MOST_REMEMBERED, _LONGEST_REMEMBERED
        )
        self._texts: dict[tuple[str, str], str] = {}  # attributes that are looked at, as they may be stored
        # By name of an event, which repeats.
        self.keeps_body_of = Memory(redactor.keeps_body_of, _MOST_REMEMBERED, _LONGEST_REMEMBERED).__getitem__
        self.drops_content_of: Memory[bool] = Memory(
            lambda name: self.drops_content and self.is_of_a_model((name,)), _MOST_REMEMBERED, _LONGEST_REMEMBERED
        )

    def hides(self, source: str) -> bool:
        """True where the settings hide what the defaults show: no column is read from there. source: see `sealed`."""
        return self.custom and self.redactor.hides_at(source) and not self._usual.hides_at(source)

    def drops_body(self, key: str) -> bool:
        """True for the name of a body that is not kept; one that says no side goes with either."""
        if not self.dropped_bodies:
            return False
        side = body_named(key)
        return side in self.dropped_bodies or side == "either"

    def lies_in_dropped_body(self, key: str) -> bool:
        """True for a dotted key of something that is, or is within, a body that is not kept."""
        sides = bodies_around(key)
        return bool(self.dropped_bodies) and ("either" in sides or not sides.isdisjoint(self.dropped_bodies))

    def without_bodies(self, value: Any) -> Any:
        """A value without the bodies in it that are not kept, in JSON texts too."""
        return without_bodies(value, self.drops_body)

    def open(self, headers: Mapping[str, str], side: Side) -> Mapping[str, str]:
        """The headers as sent that columns may be read from."""
        if not (self.custom and headers):
            return headers
        source = "header" if side == "request" else "response_header"
        return {name: text for name, text in headers.items() if not self.hides(f"{source}:{name}")}

    def seals(self, source: str) -> bool:
        """True when ids found there may be stored as a hash only: see `Redactor.sealed`."""
        return self.looks_inside_text or self.sealed(source, _PROBE) != _PROBE

    def is_of_a_model(self, keys: Collection[str]) -> bool:
        """True when attributes with these keys are a model's, also by the words of a team's own dialect."""
        return is_of_a_model(keys) or (bool(self._own_signs) and any(key.startswith(self._own_signs) for key in keys))

    def verdict(self, key: str) -> Verdict:
        """What becomes of an attribute: kept when no secret shows in its text, looked at, masked or dropped."""
        if (
            key in _DOCUMENTS
            or key == _NAME_OF_RESOURCE
            or (body_named(key) and not self.redactor.hides_at(f"attr:{key}"))
        ):
            return "look"
        found = self.redactor.value(key, _PROBE)
        if found == _PROBE:
            return "keep"
        return "drop" if found is None else "mask" if found == MASK else "look"

    def header_verdict(self, name: str, side: Side) -> Verdict:
        """What becomes of a header, as `verdict` says it of an attribute. What is kept may still hold a URL."""
        verdict = self.redactor.of_header(name, side)
        if verdict is None:
            return "look" if self.looks_inside_text else "keep"
        return "mask" if verdict == "mask" else "look"

    def value(self, key: str, value: Any) -> Any:
        """An attribute's value as it may be stored, None when it must be dropped."""
        if self.dropped_bodies:
            value = self.without_bodies(value)
        if type(value) is not str:
            return self.redactor.value(key, value)
        # Addresses, URLs without parameters and statements repeat: by hand, as a Memory costs more where none does.
        known: Any = self._texts.get((key, value))
        if known is None:
            told = _LITERAL.sub("?", value) if key in _DOCUMENTS else value
            known = self.redactor.value(key, without_values(told) if key == _NAME_OF_RESOURCE else told)
            if len(value) <= _LONGEST_REMEMBERED and isinstance(known, str):
                if len(self._texts) >= _MOST_REMEMBERED:
                    self._texts.clear()
                self._texts[key, value] = known
        return known

    def request_body(self, body: Body) -> Body:
        return self.redactor.body(body, "request")

    def response_body(self, body: Body) -> Body:
        return self.redactor.body(body, "response")
