"""Masks (spec/mapping.md §7): what must not leave is hidden by structure, before anything is stored or sent.

Enters: headers, query strings, bodies, log text and attributes. Leaves: the same with secrets masked, removed or
hashed; what needs nothing comes back as the same object. It fails closed: whatever goes wrong is a RedactionError
without any of the payload, and the caller must not let the record out.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from functools import wraps
from hashlib import sha256
from typing import Concatenate, Literal, ParamSpec, TypeVar, cast

from mapping.masks.mask import MASK as MASK
from mapping.masks.mask import QUERY_MASK as QUERY_MASK
from mapping.masks.prompts import holds_content, is_of_a_model
from mapping.masks.search import NOTHING
from mapping.masks.settings import MaskSettings, Place
from mapping.masks.shapes import KEYS_BEGIN, is_or_tells_a_key, may_show_a_key, tokens
from mapping.masks.text import beyond_keys, may_hide_secrets, passwords_in_urls
from mapping.masks.urls import may_hold_a_url
from mapping.masks.values import LEAST_CODED_CHARS, REMOVED, ValueMasks
from mapping.masks.verdicts import ASKED, KEYED, PLACES, SHAPED, UNSURE, Verdict, Verdicts, verdicts_for
from mapping.rules.address import CLIENT_ATTRIBUTES, CLIENT_HEADERS
from mapping.rules.bodies import MAX_BODY_BYTES, Body, body_named
from mapping.rules.codings import Take, Unread, holds_coded, readable

GENAI_ATTRIBUTES = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.prompt",
    "gen_ai.prompt.*",
    "gen_ai.completion",
    "gen_ai.completion.*",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
)
_GENAI_EVENT = re.compile(r"gen_ai\.(?:.*\.message|choice|content\..*)").fullmatch

_MAX_PLAIN_KEYS = 10_000
_TEXT_HEADERS = ("baggage", "tracestate")  # key=value pairs of their own
_ODD_PARAMETER = re.compile(r"\?[^\s\"'<>#?]*[%+]").search  # its name may be encoded
# Where addresses stand in attributes and log bodies, compared by the last part of the key (spec/mapping.md §3.7, §6).
_IP_KEYS = (
    *CLIENT_HEADERS,
    "ip",
    "client_ip",
    "remote_addr",
    "remote_ip",
    "remote_address",
    "http_x_forwarded_for",
)
_PLACES_OF_SOURCES: dict[str, Place] = {
    "header": "request_headers",
    "response_header": "response_headers",
    "query": "query",
    "body": "log_body",
}
_CODED_BODY = re.compile(r'ody"\s*+:\s*+"(?:[A-Za-z0-9+/_\-]{16}|b\')').search  # in a log line, perhaps in base64
_ASKED_ONLY = {*NOTHING, ASKED}

# Attributes that hold a query and nothing else: its parameters are masked as those of a URI are.
_QUERIES = frozenset(
    ("url.query", "http.query", "http.query_string", "http.request.query", "http.request.query_string")
)

P = ParamSpec("P")
R = TypeVar("R")


class RedactionError(Exception):
    """Masking failed. The text names the place and the kind of failure; it holds nothing of the payload."""


def _guarded(method: Callable[Concatenate[Redactor, P], R]) -> Callable[Concatenate[Redactor, P], R]:
    """The method, raising RedactionError for everything, without the original error that may quote the payload."""

    @wraps(method)
    def call(self: Redactor, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            failure = f"masking {method.__name__} failed: {type(error).__name__}"
        raise RedactionError(failure)

    return cast("Callable[Concatenate[Redactor, P], R]", call)


class Redactor:
    """Applies one set of mask settings."""

    def __init__(self, settings: MaskSettings, *, genai_content: bool = False) -> None:
        """genai_content: prompts, completions and tool arguments are kept."""
        dropped = (*settings.drop_attributes, *(() if genai_content else GENAI_ATTRIBUTES))
        ip: Verdict = "ip" if settings.ip_address != "keep" else None
        of_headers: dict[str, Verdict] = dict.fromkeys(_TEXT_HEADERS, "text")
        of_values: dict[str, Verdict] = {}
        if ip:
            of_headers.update(dict.fromkeys(CLIENT_HEADERS, ip))
            of_values.update(dict.fromkeys(_IP_KEYS, ip))
        self._ip_keys = frozenset(CLIENT_ATTRIBUTES) if ip else frozenset()
        self._verdicts: dict[Place, Verdicts] = {
            place: verdicts_for(
                settings,
                place,
                of_headers if place.endswith("headers") else of_values if place in ("log_body", "attributes") else {},
                dropped if place in ("log_body", "attributes") else (),
            )
            for place in PLACES
        }
        self._attributes = self._verdicts["attributes"]
        self._log = self._verdicts["log_body"]
        self._query = self._verdicts["query"]
        self._plain_keys: set[str] = set()  # attribute keys of which only the value can give something away
        self._seals: dict[str, bool] = {}  # by source: places that the settings name, in spellings of the senders
        self._genai_content = genai_content
        self._defaults = settings.defaults
        self.values = ValueMasks(settings, self._query, self._log)
        self._urls, self._hide = self.values.urls, self.values.hide

    @property
    def looks_by_keys_alone(self) -> bool:
        """False where the settings look for patterns in every text, or for addresses."""
        return self._hide is None and not self._ip_keys

    def looked_for(self) -> tuple[bytes, ...]:
        """Patterns of RE2 that are in every text that names a masked key or parameter, see `Mentions.in_bytes`."""
        return tuple(of.mentions.in_bytes() for of in (self._log, self._attributes, self._query))

    @_guarded
    def headers(
        self, headers: Mapping[str, str], side: Literal["request", "response"] = "request"
    ) -> Mapping[str, str]:
        """Headers, names in lower case, ready to leave."""
        of = self._verdicts["request_headers" if side == "request" else "response_headers"].of
        changed: dict[str, str] = {}
        removed: list[str] = []
        for name, text in headers.items():
            verdict = of(name)
            if verdict is None and self._hide is None and not (may_hold_a_url(text) or may_show_a_key(text)):
                continue
            new = self._header(verdict, text)
            if new is None:
                removed.append(name)
            elif new != text:
                changed[name] = new
        if not (changed or removed):
            return headers
        return {name: changed.get(name, text) for name, text in headers.items() if name not in removed}

    @_guarded
    def header_text(self, text: str) -> str:
        """The value of a header whose name hides nothing, ready to leave."""
        return cast("str", self._header(None, text))

    def of_header(self, name: str, side: Literal["request", "response"]) -> Verdict:
        """What happens to a header, None for one that is shown unless its value says otherwise."""
        return self._verdicts["request_headers" if side == "request" else "response_headers"].of(name)

    def sealed(self, source: str, value: str) -> str:
        """An id as it may be stored: a hash of it when it stood where values are masked, or looks like what is hidden.

        source: as `mapping.rules.identity` names it: `header:x-user-id`, `attr:user.id`, `query:user`. With a hash_key
        the hash is that of the action `hash`, without one that of session tokens.
        """
        if self._hide is None and self._seals.get(source) is False and not value.startswith(KEYS_BEGIN):
            return value
        return self._sealed(source, value)

    @_guarded
    def _sealed(self, source: str, value: str) -> str:
        hidden = self._seals.get(source)
        if hidden is None:
            if len(self._seals) >= _MAX_PLAIN_KEYS:
                self._seals.clear()
            hidden = self._seals[source] = self.hides_at(source)
        shows = not hidden and self._defaults and may_show_a_key(value) and tokens(value) is not value
        if not (hidden or shows) and (self._hide is None or self._hide(value) == value):
            return value
        if self.values.can_hash:
            return self.values.hash_value(value)
        return "sha256:" + sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def hides_at(self, source: str) -> bool:
        """True when values are masked there, whatever they are. source: as for `sealed`."""
        kind, _, name = source.partition(":")
        verdicts = self._verdicts[_PLACES_OF_SOURCES.get(kind, "attributes")]
        below = verdicts.paths.below(name) if verdicts.paths is not None else None
        verdict = (below.action if below is not None else None) or verdicts.of(name)
        return verdict in ("mask", "hash", "remove", "drop")

    @_guarded
    def query(self, query: str) -> str:
        """A query string without "?", keys kept and secret values hidden."""
        return self._urls.query(self.values.cut(query))

    @_guarded
    def path(self, path: str) -> str:
        """The path of a URL with the secrets of its parameters hidden."""
        return self._urls.path(path)

    @_guarded
    def body(self, body: Body, side: Literal["request", "response"] = "request") -> Body:
        """A request or response body, ready to be encoded."""
        verdicts = self._verdicts["request_body" if side == "request" else "response_body"]
        if isinstance(body.data, bytes):
            raw = body.data
            if len(raw) > MAX_BODY_BYTES:
                raw = raw[:MAX_BODY_BYTES]
                self.values.cuts += 1
            return body._replace(data=self.values.mask_bytes(raw, verdicts, body.content_type))
        data = self.values.walk(body.data, verdicts, verdicts.paths, 0)
        return body if data is body.data else body._replace(data=data, source="")

    @_guarded
    def log_body(self, body: Mapping[str, object]) -> Mapping[str, object]:
        """A log body that is a map; the same object when nothing in it was hidden."""
        masked = self.values.walk(body, self._log, self._log.paths, 0)
        return masked if type(masked) is dict or isinstance(masked, Mapping) else {}

    @_guarded
    def members(self, flat: Mapping[str, object]) -> Mapping[str, object]:
        """The members of a flattened log body; the same object when nothing in it was hidden."""
        changed: dict[str, object] = {}
        for key, value in flat.items():
            below = self._log.paths.below(key) if self._log.paths is not None else None
            verdict = self._log.of(key) or (below.action if below is not None else None)
            new = (
                self.values.apply(verdict, value)
                if verdict is not None
                else self.values.walk(value, self._log, below, 0)
            )
            if new is not value:
                changed[key] = new
        if not changed:
            return flat
        return {key: new for key, value in flat.items() if (new := changed.get(key, value)) is not REMOVED}

    @_guarded
    def leaves_json_as_it_is(self, text: str, place: Place) -> bool:
        """True when no mask of a place changes anything in a JSON text: its values need not be walked through."""
        if self._hide is not None or self._ip_keys:
            return False
        verdicts = self._verdicts[place]
        found = verdicts.seen_in_json(text, self._query.mentions)
        if found == NOTHING or (found is not None and {*found} == _ASKED_ONLY and "=" not in text):
            return True
        if (found is None or UNSURE in found) and (
            "@" in text
            or _ODD_PARAMETER(text) is not None
            # Options in lists, and escapes that hide keys or URLs.
            or '"-' in text
            or "\\u" in text
            or ":\\/" in text
            or "#033[" in text
            or "\ufffd" in text
            or holds_coded(text)
            or ('ody"' in text and _CODED_BODY(text) is not None)
        ):
            return False
        if (found is None or SHAPED in found) and (beyond_keys(text) or (self._defaults and tokens(text) is not text)):
            return False
        if (found is None or KEYED in found) and verdicts.mentioned_in(text, json=True):
            return False
        return not ((found is None or ASKED in found) and self._query.mentions.in_query(text))

    def text(self, text: str) -> str:
        """Free text: a log line, an exception's message. JSON, query strings and `key=value` in it are masked."""
        try:  # by hand, as every log line comes here: `_guarded` costs 0.2 µs
            return self.values.mask_text(text, self._log, self._log.paths, 0)
        except Exception as error:
            failure = f"masking text failed: {type(error).__name__}"
        raise RedactionError(failure)

    @_guarded
    def base64(self, text: str, take: Take | None = None) -> str | Unread:
        """A log body of bytes, as base64: masked inside; Unread when the bytes are no text. take: as for `readable`."""
        sent = b64decode(text)
        raw = readable(sent, take=take)
        if isinstance(raw, Unread):
            return raw
        if len(raw) > MAX_BODY_BYTES:
            self.values.cuts += 1
            raw = raw[:MAX_BODY_BYTES]
        masked = self.values.mask_bytes(raw, self._log)
        return text if masked is sent else b64encode(masked).decode("ascii")

    @_guarded
    def value(self, key: str, value: object) -> object:
        """An attribute's value, None when it must be dropped."""
        return self._attribute(key, value)

    @_guarded
    def attributes(self, attributes: Mapping[str, object]) -> Mapping[str, object]:
        """Attributes of a span, log record, link, event or resource; the same object when nothing was hidden."""
        changed = {}
        plain_keys, hides = self._plain_keys, self._hide is not None
        for key, value in attributes.items():
            # Most attributes are short plain texts and numbers under keys that say nothing: they leave the loop here.
            if key in plain_keys and not hides:
                kind = type(value)
                if kind is int:
                    continue
                if kind is str and not (may_hide_secrets(value) or is_or_tells_a_key(value)):  # type: ignore[arg-type]
                    continue
            new = self._attribute(key, value)
            if new is not value:
                changed[key] = new
        if not changed:
            return attributes
        merged = {**attributes, **changed}
        return {key: value for key, value in merged.items() if value is not None or key not in changed}

    @_guarded
    def ip(self, text: str) -> str:
        """An IP address as it may be stored: whole, as its network, or hashed."""
        return self.values.mask_ip(text)

    def keeps_body_of(self, event_name: str) -> bool:
        """False for GenAI events whose body is a prompt or an answer that must not be kept."""
        if self._genai_content or not is_of_a_model((event_name,)):
            return True
        return _GENAI_EVENT(event_name) is None and not holds_content(event_name)

    def _attribute(self, key: str, value: object) -> object:
        verdicts = self._attributes
        verdict = verdicts.of(key)
        if verdict is not None:
            hidden = self.values.apply(verdict, value)
            return None if hidden is REMOVED else hidden
        paths = verdicts.paths.below(key) if verdicts.paths is not None else None
        if paths is not None and paths.action is not None:
            hidden = self.values.apply(paths.action, value)
            return None if hidden is REMOVED else hidden
        if key in self._ip_keys:
            return self.values.mask_ip(value) if isinstance(value, str) else MASK
        if key in _QUERIES and type(value) is str:
            return self._urls.query(self.values.cut(value))
        if type(value) is str and len(value) >= LEAST_CODED_CHARS and body_named(key):
            return self.values.mask_captured(value, verdicts, paths, 0)
        if paths is None and len(key) <= 256 and not body_named(key):
            if len(self._plain_keys) >= _MAX_PLAIN_KEYS:
                self._plain_keys.clear()
            self._plain_keys.add(key)
        return self.values.walk(value, verdicts, paths, 0)

    def _header(self, verdict: Verdict, text: str) -> str | None:
        if verdict is None:
            if may_hold_a_url(text):  # under any name: location, x-forwarded-uri, :path, refresh, link
                text = passwords_in_urls(self._urls.queries_in(text))
                if '"' in text:  # JSON that nobody encoded
                    text = self.values.mask_text(text, self._log, self._log.paths, 0)
                text = self._urls.path(text)
            if self._defaults and may_show_a_key(text):
                text = tokens(text)
        elif verdict == "text":
            text = self.values.mask_text(text, self._log, self._log.paths, 0)
        else:
            hidden = self.values.apply(verdict, text)
            return hidden if isinstance(hidden, str) else None
        return self._hide(self.values.cut(text)) if self._hide is not None else text
