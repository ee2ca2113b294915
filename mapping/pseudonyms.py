"""Keyed pseudonyms in place of user and company ids: the same for the same id of a tenant, nobody's without the key.

Applied to finished events, where the settings have a key; no event passes here otherwise. An id that named somebody is
replaced wherever it stands as a whole: in the fields of users and companies, as the value of a header, as a segment
or value in a URI, as a text in JSON. In the middle of a sentence it is not looked for: masks do that.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import unquote_plus

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from mapping.event import Event

Kind = Literal["user", "company"]

_KINDS: Final[tuple[Kind, ...]] = ("company", "user")  # what is the id of both stands for the user elsewhere
PREFIXES: Final[Mapping[Kind, str]] = {"user": "usr_", "company": "cmp_"}
_BYTES: Final = 16  # of a pseudonym, 22 characters: two ids share one by chance once in 10^19 pairs
_SHORTEST_KEY: Final = 16  # characters
_MOST_KNOWN: Final = 100_000  # ids whose pseudonyms are kept in memory, some 300 bytes each
_JSON_FIELDS: Final = ("metadata", "resource", "request_body", "response_body", "body", "links")
_IN_URI: Final = re.compile(r"[^/?&=#;]+")
_NUMBER: Final = re.compile(r"(?<=[:\[, ])[0-9]++(?=[,\]}])")  # of JSON, whole and positive
_VALUE: Final = re.compile(rf'"(?:[^"\\]++|\\.)*+"?+|{_NUMBER.pattern}', re.DOTALL)


class PseudonymSettings(BaseModel):
    """Pseudonyms in place of user and company ids."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: SecretStr = Field(
        default=SecretStr(""),
        description="Secret of at least 16 characters that they are made with; with another one everybody becomes "
        "somebody else. Empty: ids are stored as they are.",
    )
    table: str = Field(
        default="", description="File that says whom they stand for, read by weighbridge reveal. Empty: none is kept."
    )

    @model_validator(mode="after")
    def _usable(self) -> PseudonymSettings:
        length = len(self.key.get_secret_value())
        if 0 < length < _SHORTEST_KEY:
            raise ValueError(f"key has {length} characters, at least {_SHORTEST_KEY} are needed")
        if self.table and not length:
            raise ValueError("table needs a key: without one there are no pseudonyms")
        return self


class Pseudonyms:
    """Of one key. learnt: told of each pseudonym that was not made lately: (pseudonym, kind, tenant, id)."""

    def __init__(self, key: str, learnt: Callable[[str, Kind, str, str], None] = lambda *_: None) -> None:
        self._key = key.encode("utf-8", "surrogatepass")
        self._learnt = learnt
        self.of = lru_cache(_MOST_KNOWN)(self._make)

    def _make(self, kind: Kind, tenant: str, identity: str) -> str:
        """The pseudonym of an id."""
        said = "\0".join((kind, tenant, identity)).encode("utf-8", "surrogatepass")
        code = hmac.new(self._key, said, hashlib.sha256).digest()[:_BYTES]
        made = PREFIXES[kind] + base64.urlsafe_b64encode(code).decode().rstrip("=")
        self._learnt(made, kind, tenant, identity)
        return made

    def applied(self, events: Iterable[Event]) -> list[Event]:
        """The events, with pseudonyms."""
        return [self._applied(event) if event.user_id or event.company_id else event for event in events]

    def _applied(self, event: Event) -> Event:
        standing: dict[str, str] = {}
        changes: dict[str, Any] = {}
        for kind in _KINDS:
            if identity := getattr(event, f"{kind}_id"):
                standing[identity] = changes[f"{kind}_id"] = self.of(kind, event.tenant, identity)
        changes |= {
            "uri": _IN_URI.sub(lambda part: _in_uri(part[0], standing), event.uri),
            "request_headers": _in_headers(event.request_headers, standing),
            "response_headers": _in_headers(event.response_headers, standing),
        }
        for name in _JSON_FIELDS:
            if text := getattr(event, name):
                changes[name] = _in_json(text, standing)
        return event._replace(**changes)


def _in_uri(part: str, standing: Mapping[str, str]) -> str:
    return standing.get(part) or standing.get(unquote_plus(part)) or part


def _in_headers(headers: Mapping[str, str], standing: Mapping[str, str]) -> Mapping[str, str]:
    if not any(value in standing for value in headers.values()):
        return headers
    return {name: standing.get(value, value) for name, value in headers.items()}


def _in_json(text: str, standing: Mapping[str, str]) -> str:
    """Texts of JSON that are one of these as a whole, however they are spelled, and numbers that are written so.

    What is between them, and what a text only contains, stays: an id may be a comma, and stand in any sentence.
    """
    if text.lstrip()[:1] in ("{", "[", '"'):
        return _VALUE.sub(lambda found: _in_value(found[0], standing), text)
    for identity, pseudonym in standing.items():  # a body in words: ids in quotes, and numbers that stand alone
        text = text.replace(json.dumps(identity, ensure_ascii=False), json.dumps(pseudonym))
    return _NUMBER.sub(lambda found: _in_value(found[0], standing), text)


def _in_value(written: str, standing: Mapping[str, str]) -> str:
    """A text with its quotes, or a number, of JSON."""
    value = written
    if written[0] == '"':
        value = written[1:-1]
        if "\\" in value or len(written) < 2 or written[-1] != '"':
            try:
                value = json.loads(written, strict=False)
            except ValueError:  # it was cut
                return written
    return json.dumps(standing[value]) if value in standing else written
