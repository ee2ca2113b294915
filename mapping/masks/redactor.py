"""Masks (spec/mapping.md §7): what must not leave is hidden by structure, before anything is stored or sent.

Enters: headers, query strings, bodies, log text and attributes. Leaves: the same with secrets masked, removed or
hashed; what needs nothing comes back as the same object. It fails closed: whatever goes wrong is a RedactionError
without any of the payload, and the caller must not let the record out.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from hashlib import sha256
from ipaddress import ip_network
from typing import Concatenate, Literal, ParamSpec, TypeVar, cast

import orjson

from mapping.masks.mask import MASK as MASK
from mapping.masks.mask import QUERY_MASK as QUERY_MASK
from mapping.masks.neighbours import hidden_items
from mapping.masks.patterns import hider
from mapping.masks.prompts import holds_content, is_of_a_model
from mapping.masks.search import NOTHING
from mapping.masks.settings import MaskSettings, Place
from mapping.masks.shapes import KEYS_BEGIN, SHORTEST, is_or_tells_a_key, may_show_a_key, tokens
from mapping.masks.text import (
    MAX_TEXT_CHARS,
    bare_pairs,
    beyond_keys,
    colon_pairs,
    command_lines,
    cut,
    encoded_pairs,
    form_parts,
    header_lines,
    is_form,
    passwords_in_urls,
    printed_lists,
    quoted_pairs,
    raw_headers,
    tuples,
    two_words,
    value_attributes,
    xml_elements,
)
from mapping.masks.text import may_hide_secrets as may_hide_secrets
from mapping.masks.urls import UrlMasks, is_hash, may_hold_a_url
from mapping.masks.verdicts import ASKED, KEYED, PLACES, SHAPED, PathNode, Verdict, Verdicts, verdicts_for
from mapping.rules.address import CLIENT_ATTRIBUTES, CLIENT_HEADERS, valid_ip
from mapping.rules.bodies import MAX_BODY_BYTES, Body, body_named
from mapping.rules.codings import (
    CODED_BEGINNINGS,
    UNREADABLE,
    Take,
    Unread,
    coded,
    garbled,
    holds_coded,
    readable,
    readable_text,
)

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
MAX_JSON_CHARS = 1024 * 1024  # longer text is cut at once, even when it is JSON or holds nothing to mask
_MAX_DEPTH = 100  # deeper values are masked whole
_CODED_DEPTH = 20  # levels that base64 in a text counts for: a text of base64 in base64 is undone five times
_MAX_JSON_IN_A_QUERY = 10  # levels of JSON that is itself a parameter
_TEXT_HEADERS = ("baggage", "tracestate")  # key=value pairs of their own
# {"name": "Authorization", "value": "..."}: headers and variables as HAR, OTLP, Kubernetes and AWS write them.
_NAME_KEYS = ("name", "key", "header", "Name", "Key", "Header", "headerName", "field", "option", "parameter", "k")
_VALUE_KEYS = ("value", "Value", "values", "headerValue", "val", "v")
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
_LEAST_CODED_CHARS = 16  # of a body that is base64
_REMOVED = object()
_ASKED_ONLY = {*NOTHING, ASKED}

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
        self._ip_mode = settings.ip_address
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
        self._hash_key = settings.hash_key.get_secret_value().encode()
        self._hide = hider(settings.patterns)
        self._seals: dict[str, bool] = {}  # by source: places that the settings name, in spellings of the senders
        self._genai_content = genai_content
        self._defaults = settings.defaults
        self.cuts = 0  # texts cut since they were longer than masks look at
        self._urls = UrlMasks(
            self._query,
            self._hashed,
            self._hide,
            lambda text: self._string(text, self._log, None, _MAX_DEPTH - _MAX_JSON_IN_A_QUERY),
            hashes=any(rule.action == "hash" for rule in settings.rules),
            shapes=settings.defaults,
        )

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
        if self._hash_key:
            return self._hashed(value)
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
        return self._urls.query(self._cut(query))

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
                self.cuts += 1
            return body._replace(data=self._bytes(raw, verdicts, body.content_type))
        data = self._walk(body.data, verdicts, verdicts.paths, 0)
        return body if data is body.data else body._replace(data=data, source="")

    @_guarded
    def log_body(self, body: Mapping[str, object]) -> Mapping[str, object]:
        """A log body that is a map; the same object when nothing in it was hidden."""
        masked = self._walk(body, self._log, self._log.paths, 0)
        return masked if isinstance(masked, Mapping) else {}

    @_guarded
    def members(self, flat: Mapping[str, object]) -> Mapping[str, object]:
        """The members of a flattened log body; the same object when nothing in it was hidden."""
        changed: dict[str, object] = {}
        for key, value in flat.items():
            below = self._log.paths.below(key) if self._log.paths is not None else None
            verdict = self._log.of(key) or (below.action if below is not None else None)
            new = self._apply(verdict, value) if verdict is not None else self._walk(value, self._log, below, 0)
            if new is not value:
                changed[key] = new
        if not changed:
            return flat
        return {key: new for key, value in flat.items() if (new := changed.get(key, value)) is not _REMOVED}

    @_guarded
    def leaves_json_as_it_is(self, text: str, place: Place) -> bool:
        """True when no mask of a place changes anything in a JSON text: its values need not be walked through."""
        if self._hide is not None or self._ip_keys:
            return False
        verdicts = self._verdicts[place]
        found = verdicts.seen_in_json(text, self._query.mentions)
        if found == NOTHING or (found is not None and {*found} == _ASKED_ONLY and "=" not in text):
            return True
        if "@" in text or _ODD_PARAMETER(text) is not None:
            return False
        if '"-' in text or "\\u" in text or ":\\/" in text:  # options in lists, and escapes that hide keys or URLs
            return False
        if "\ufffd" in text or holds_coded(text) or ('ody"' in text and _CODED_BODY(text) is not None):
            return False
        if (found is None or SHAPED in found) and (beyond_keys(text) or (self._defaults and tokens(text) is not text)):
            return False
        if (found is None or KEYED in found) and verdicts.mentioned_in(text, json=True):
            return False
        return not ((found is None or ASKED in found) and self._query.mentions.in_query(text))

    @_guarded
    def text(self, text: str) -> str:
        """Free text: a log line, an exception's message. JSON, query strings and `key=value` in it are masked."""
        return self._string(text, self._log, self._log.paths, 0)

    @_guarded
    def base64(self, text: str, take: Take | None = None) -> str | Unread:
        """A log body of bytes, as base64: masked inside; Unread when the bytes are no text. take: as for `readable`."""
        sent = b64decode(text)
        raw = readable(sent, take=take)
        if isinstance(raw, Unread):
            return raw
        if len(raw) > MAX_BODY_BYTES:
            self.cuts += 1
            raw = raw[:MAX_BODY_BYTES]
        masked = self._bytes(raw, self._log)
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
        return self._ip(text)

    def keeps_body_of(self, event_name: str) -> bool:
        """False for GenAI events whose body is a prompt or an answer that must not be kept."""
        if self._genai_content or not is_of_a_model((event_name,)):
            return True
        return _GENAI_EVENT(event_name) is None and not holds_content(event_name)

    def _attribute(self, key: str, value: object) -> object:
        verdicts = self._attributes
        verdict = verdicts.of(key)
        if verdict is not None:
            hidden = self._apply(verdict, value)
            return None if hidden is _REMOVED else hidden
        paths = verdicts.paths.below(key) if verdicts.paths is not None else None
        if paths is not None and paths.action is not None:
            hidden = self._apply(paths.action, value)
            return None if hidden is _REMOVED else hidden
        if key in self._ip_keys:
            return self._ip(value) if isinstance(value, str) else MASK
        if type(value) is str and len(value) >= _LEAST_CODED_CHARS and body_named(key):
            return self._captured(value, verdicts, paths, 0)
        if paths is None and len(key) <= 256 and not body_named(key):
            if len(self._plain_keys) >= _MAX_PLAIN_KEYS:
                self._plain_keys.clear()
            self._plain_keys.add(key)
        return self._walk(value, verdicts, paths, 0)

    def _header(self, verdict: Verdict, text: str) -> str | None:
        if verdict is None:
            if may_hold_a_url(text):  # under any name: location, x-forwarded-uri, :path, refresh, link
                text = passwords_in_urls(self._urls.queries_in(text))
                if '"' in text:  # JSON that nobody encoded
                    text = self._string(text, self._log, self._log.paths, 0)
                text = self._urls.path(text)
            if self._defaults and may_show_a_key(text):
                text = tokens(text)
        elif verdict == "text":
            text = self._string(text, self._log, self._log.paths, 0)
        else:
            hidden = self._apply(verdict, text)
            return hidden if isinstance(hidden, str) else None
        return self._hide(self._cut(text)) if self._hide is not None else text

    def _walk(self, value: object, verdicts: Verdicts, paths: PathNode | None, depth: int) -> object:
        kind = type(value)
        if kind is str:
            return self._string(value, verdicts, paths, depth)  # type: ignore[arg-type]
        if kind is int or kind is float or value is None or kind is bool:
            if self._hide is not None and kind is int and self._hide(str(value)) != str(value):
                return MASK
            return value
        if depth > _MAX_DEPTH:
            return MASK
        if isinstance(value, Mapping):
            return self._map(value, verdicts, paths, depth)
        if isinstance(value, (list, tuple)):
            return self._list(value, verdicts, paths, depth + 1)
        if isinstance(value, (bytes, bytearray)):
            raw = readable(bytes(value))
            return UNREADABLE if isinstance(raw, Unread) else self._bytes(raw, verdicts)
        return value

    def _list(self, value: Sequence[object], verdicts: Verdicts, paths: PathNode | None, depth: int) -> object:
        hidden = hidden_items(value, verdicts.of) if type(value[0] if value else None) is str else {}
        items = []
        for index, item in enumerate(value):
            if (found := hidden.get(index)) is not None:
                behind = item[len(found.shown) :] if isinstance(item, str) else item
                new = self._apply(cast("Verdict", found.verdict), behind)
                items.append(found.shown if new is _REMOVED else f"{found.shown}{new}" if found.shown else new)
            else:
                items.append(self._item(item, verdicts, paths, depth))
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value

    def _item(self, item: object, verdicts: Verdicts, paths: PathNode | None, depth: int) -> object:
        """An element of a list. Lists of [name, value] pairs are how some servers write headers."""
        if isinstance(item, (list, tuple)) and len(item) == 2:
            name, value = item
            if isinstance(name, bytes):
                name = name.decode("latin-1")
            verdict = verdicts.of(name) if isinstance(name, str) else None
            # [["password", "email"], ...] would be odd, but numbers are values of their own.
            if verdict is not None and isinstance(value, (str, bytes, list, Mapping)):
                hidden = self._apply(verdict, value.decode("latin-1") if isinstance(value, bytes) else value)
                return [item[0], "" if hidden is _REMOVED else hidden]
        return self._walk(item, verdicts, paths, depth)

    def _map(
        self, value: Mapping[str, object], verdicts: Verdicts, paths: PathNode | None, depth: int
    ) -> Mapping[str, object]:
        changed: dict[str, object] = {}
        for key, item in value.items():
            verdict = verdicts.of(key)
            below = paths.below(key) if paths is not None else None
            if verdict is None and below is not None:
                verdict = below.action
            if verdict is not None:
                new = self._apply(verdict, item)
            elif type(item) is str and len(item) >= _LEAST_CODED_CHARS and " " not in item and body_named(key):
                new = self._captured(item, verdicts, below, depth + 1)
            else:
                new = self._walk(item, verdicts, below, depth + 1)
            if new is not item:
                changed[key] = new
        for key in _VALUE_KEYS:
            if key in value and key not in changed:
                names = [value[name] for name in _NAME_KEYS if name in value]
                verdict = next(
                    (found for name in names if isinstance(name, str) and (found := verdicts.of(name))), None
                )
                if verdict is not None and type(value[key]) is not bool:
                    changed[key] = self._apply(verdict, value[key])
        if not changed:
            return value
        return {key: new for key, item in value.items() if (new := changed.get(key, item)) is not _REMOVED}

    def _string(self, text: str, verdicts: Verdicts, paths: PathNode | None, depth: int) -> str:
        if len(text) > MAX_JSON_CHARS:
            text = self._cut(text)
        if text[:2] in CODED_BEGINNINGS and coded(text):
            return self._coded(text, verdicts, paths, depth)
        if not text.isascii() and garbled(text):
            return UNREADABLE
        sent = text
        if len(text) < SHORTEST and not may_hide_secrets(text):
            return text if self._hide is None else self._hide(text)
        found = verdicts.seen_in(text)
        shaped = found is None or SHAPED in found
        # A query has masks of its own, which the search for pairs in the whole text must not meet.
        queries = self._urls.sent(text) if "=" in text and ("?" in text or "#" in text) else ()
        json = text[:1] in _JSON_BEGINS or text.lstrip()[:1] in _JSON_BEGINS
        # Escapes in JSON may spell keys, hide URLs; options stand before their value in lists.
        unsure = found != NOTHING or (json and ('"-' in text or "\\u" in text or ":\\/" in text))
        if unsure and ("=" in text or may_hide_secrets(text)):
            beyond = shaped and beyond_keys(text)
            if (json and (beyond or '"-' in text)) or verdicts.mentioned_in(text, json=json):
                text = self._structured(text, verdicts, paths, depth)
            elif beyond:
                text = self._printed(self._cut(text), verdicts)
                text = command_lines(encoded_pairs(text, verdicts.hides), verdicts.hides)
        if "=" in sent:
            if queries:
                text = self._urls.queries_in(text, queries)
            if ";" in text:
                text = self._urls.path(text)
        if "@" in text and ":" in text:
            text = passwords_in_urls(text)
        if self._defaults and (shaped or text is not sent):
            text = tokens(text)
        if self._hide is None:
            return text
        if len(text) > MAX_TEXT_CHARS and (parsed := _json_in(text)) is not None:
            masked = self._walk(parsed, verdicts, paths, depth + 1)
            return text if masked is parsed else orjson.dumps(masked).decode()
        return self._hide(self._cut(text))

    def _captured(self, text: str, verdicts: Verdicts, paths: PathNode | None, depth: int) -> str:
        """A body that a log line or an attribute carries under a name of bodies."""
        if text.lstrip()[:1] in _JSON_BEGINS or isinstance(readable_text(text), str):
            return self._string(text, verdicts, paths, depth)
        return self._coded(text, verdicts, paths, depth)

    def _coded(self, text: str, verdicts: Verdicts, paths: PathNode | None, depth: int) -> str:
        """A text that is base64 of something: itself when it is text without secrets, hidden when it cannot be read."""
        raw = readable_text(text) if depth < _MAX_DEPTH else MASK
        if isinstance(raw, str):
            return MASK if depth >= _MAX_DEPTH else text
        if isinstance(raw, Unread):
            return UNREADABLE
        plain = raw.decode("utf-8", "surrogateescape")
        masked = self._string(plain, verdicts, paths, depth + _CODED_DEPTH)
        return text if masked == plain else b64encode(masked.encode("utf-8", "surrogateescape")).decode("ascii")

    def _cut(self, text: str) -> str:
        if len(text) <= MAX_TEXT_CHARS:
            return text
        self.cuts += 1
        return cut(text)

    def _structured(self, text: str, verdicts: Verdicts, paths: PathNode | None, depth: int) -> str:
        """Text that may be JSON, masked as such leaf by leaf; any other text, cut, with values behind keys masked."""
        if (parsed := _json_in(text)) is not None:
            masked = self._walk(parsed, verdicts, paths, depth + 1)
            return text if masked is parsed else orjson.dumps(masked).decode()
        secret, text = verdicts.hides, self._cut(text)
        masked = header_lines(bare_pairs(quoted_pairs(form_parts(text, secret), secret), secret), secret)
        if "'," in masked or '",' in masked:
            masked = tuples(masked, secret)
        if "eaders" in masked:
            masked = raw_headers(masked, secret)
        masked = self._printed(masked, verdicts)
        if "=" in masked:
            masked = two_words(masked, secret)
        if ":" in masked:
            masked = colon_pairs(masked, secret)
        if "</" in masked:
            masked = xml_elements(masked, secret)
        if "value=" in masked:
            masked = value_attributes(masked, secret)
        if beyond_keys(masked):
            masked = command_lines(encoded_pairs(masked, secret), secret)
        return text if masked == text else masked

    def _printed(self, text: str, verdicts: Verdicts) -> str:
        """The text with the secrets in printed lists hidden, as `_list` hides them in lists."""
        if "'-" not in text and '"-' not in text and "eaders" not in text:
            return text
        return printed_lists(
            text, lambda items: {index: found.shown for index, found in hidden_items(items, verdicts.of).items()}
        )

    def _bytes(self, raw: bytes, verdicts: Verdicts, content_type: str = "") -> bytes:
        """Bytes that are text, masked like text."""
        text = raw.decode("utf-8", "surrogateescape")
        if "form-urlencoded" in content_type or is_form(text):
            masked = self._urls.query(self._urls.query(text, verdicts))
        else:
            masked = self._string(text, verdicts, verdicts.paths, 0)
        return raw if masked == text else masked.encode("utf-8", "surrogateescape")

    def _apply(self, verdict: Verdict, value: object) -> object:
        if verdict in ("remove", "drop"):
            return _REMOVED
        if value is None or value == "":
            return value
        if verdict == "ip":
            return ", ".join(map(self._ip, value.split(","))) if isinstance(value, str) else MASK
        if verdict == "hash":
            if isinstance(value, str) and (value == MASK or is_hash(value)):
                return value
            if isinstance(value, (list, tuple)):  # one by one: a value has the same hash wherever it stands
                return [self._apply(verdict, item) for item in value]
            return self._hashed(value if isinstance(value, str) else orjson.dumps(value, default=str, option=_SORTED))
        return MASK

    def _hashed(self, value: str | bytes) -> str:
        raw = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
        return "hmac-sha256:" + hmac.digest(self._hash_key, raw, "sha256").hex()[:32]

    def _ip(self, text: str) -> str:
        if self._ip_mode == "keep" or not text:
            return text
        address = valid_ip(text)
        if not address:
            return MASK
        if self._ip_mode == "hash":
            return self._hashed(address)
        prefix = 48 if ":" in address else 24
        return str(ip_network(f"{address}/{prefix}", strict=False).network_address)


def _json_in(text: str) -> object:
    """The object, list or string that a text is as a whole in JSON, else None."""
    if text.lstrip()[:1] not in _JSON_BEGINS:
        return None
    try:
        parsed: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return parsed


_SORTED = orjson.OPT_SORT_KEYS
_JSON_BEGINS = frozenset('{["')
