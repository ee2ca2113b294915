"""Captured HTTP headers out of attributes (spec/mapping.md §3.5): lower-case names, one text per name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import orjson

Side = Literal["request", "response"]

_PREFIXES: tuple[tuple[str, Side], ...] = (
    ("http.request.header.", "request"),
    ("http.response.header.", "response"),
    ("http.request.headers.", "request"),  # Datadog's tracers
    ("http.response.headers.", "response"),
)
REQUEST_MAPS = ("http.request.headers",)
RESPONSE_MAPS = ("http.response.headers",)
USER_AGENT_ATTRIBUTES = ("user_agent.original", "http.user_agent")
_ONE_TYPE: tuple[set[type], ...] = (set(), {str}, {int})  # of all items of a list that is a header's
_OF_ITEMS = frozenset('"0123456789')  # first characters of the texts and numbers in a list
_MAX_JSON_CHARS = 1024 * 1024  # larger "header maps" are left alone


def header_name(attribute_key: str) -> tuple[Side, str] | None:
    """("request" or "response", header name) of an attribute that holds one header; None for any other
    attribute.

    Python writes `x_user_id` where Node and the conventions write `x-user-id`.
    """
    for prefix, side in _PREFIXES:
        if attribute_key.startswith(prefix):
            name = _canonical(attribute_key[len(prefix) :])
            return (side, name) if name else None
    return None


def join(value: object) -> str:
    """One text for the value or values of a header, several joined with a comma and a blank.

    Translators to Jaeger and Zipkin write the list as text, `["a", "b"]`: that is the list.
    """
    if isinstance(value, str):
        return _list_as_text(value) if value[:1] == "[" and value[-1:] == "]" else value
    if isinstance(value, (list, tuple)):
        return value[0] if len(value) == 1 and isinstance(value[0], str) else ", ".join(map(_scalar, value))
    return _scalar(value)


def _list_as_text(text: str) -> str:
    """The header in a list of texts that was written as JSON, or as Python prints it; other texts as they are."""
    if text[:2] == "['" and text[-2:] == "']" and text.count("'") == 2:
        return text[2:-2]
    if text != "[]" and (text[1:].lstrip()[:1] not in _OF_ITEMS or len(text) > _MAX_JSON_CHARS):
        return text
    try:
        items = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return ", ".join(map(str, items)) if {*map(type, items)} in _ONE_TYPE else text


def from_map(value: object) -> dict[str, str]:
    """Headers out of a map, a JSON object text, or a list of [name, value] pairs; {} for anything else.

    Where two names become one, their values are joined.
    """
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, list):
        value = _pairs(value)
    if not isinstance(value, Mapping):
        return {}
    found: dict[str, str] = {}
    for key, item in value.items():
        text = join(item)
        name = _canonical(str(key).strip())
        if name and text:
            found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def collect(attributes: Mapping[str, object]) -> tuple[dict[str, str], dict[str, str]]:
    """(request headers, response headers) of a record, the user agent attribute included when no header has
    it.

    A header attribute wins over the same name in a map.
    """
    request: dict[str, str] = {}
    response: dict[str, str] = {}
    for side, keys in ((request, REQUEST_MAPS), (response, RESPONSE_MAPS)):
        for key in keys:
            value = attributes.get(key)
            if value is not None:
                side.update(from_map(value))
    for key, value in attributes.items():
        if key[:5] == "http." and (named := header_name(key)) is not None:
            text = join(value)
            if text:
                (request if named[0] == "request" else response)[named[1]] = text
    if "user-agent" not in request:
        for key in USER_AGENT_ATTRIBUTES:
            agent = attributes.get(key)
            if isinstance(agent, str) and agent:
                request["user-agent"] = agent
                break
    return request, response


def _canonical(name: str) -> str:
    name = name.lower()
    return name if "-" in name else name.replace("_", "-")


def _parsed(text: str) -> object:
    if text.lstrip()[:1] not in ("{", "[") or len(text) > _MAX_JSON_CHARS:
        return None
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError):
        return None


def read_pairs(value: object) -> Mapping[str, object] | None:
    """The headers in a list of pairs, as HAR (one object each) and ASGI (lists of two) write it, or in a JSON text;
    None for anything else.
    """
    if isinstance(value, str):
        value = _parsed(value)
        if isinstance(value, Mapping):
            return value
    return _pairs(value) if isinstance(value, list) and value and isinstance(value[0], (dict, list)) else None


def _pairs(value: list[object]) -> dict[str, object] | None:
    """A [[name, value], ...] or [{"name": name, "value": value}, ...] list as a map, None when it is another list."""
    found: dict[str, object] = {}
    for pair in value:
        if isinstance(pair, dict) and "value" in pair and isinstance(name := pair.get("name", pair.get("key")), str):
            found[name] = f"{found[name]}, {pair['value']}" if name in found else pair["value"]
            continue
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            return None
        found[pair[0]] = pair[1]
    return found


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (int, float)):
        return str(value)
    return orjson.dumps(value, default=str).decode()
