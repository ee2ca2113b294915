"""What credentials in a header say about the caller (mapping.md §5.2).

Signatures are not checked: this labels traffic, it lets nobody in. What cannot be decoded says nothing and is
never an error. Decoded headers are memoised in a bounded cache: a client sends the same token with every call.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import orjson

_MAX_CHARS = 64 * 1024  # no server takes longer headers
_MAX_CACHED_CHARS = 4096  # times the cache's size: at most 4 MiB of tokens are held
_URL_SAFE = str.maketrans("-_", "+/")


class Token(NamedTuple):
    """A credential's content. `claims` may be shared between calls: read it, never change it."""

    username: str  # of Basic, "" otherwise
    claims: Mapping[str, object]  # of a JWT or of base64 JSON, {} otherwise
    bearer: str  # the bearer token itself, "" for other schemes: only ever hashed


NOTHING = Token("", {}, "")


def read(header: str) -> Token:
    """What an Authorization header holds, or a header used like one."""
    if len(header) <= _MAX_CACHED_CHARS:
        return _read(header)
    return _read.__wrapped__(header) if len(header) <= _MAX_CHARS else NOTHING


def claims(header: str) -> Mapping[str, object]:
    """The claims of the token in a header, {} when it holds none."""
    return read(header).claims


def lookup(found: Mapping[str, object], name: str) -> object:
    """A claim, None when absent: by its literal name, then that in any case, then as a dotted path through objects."""
    if name in found:
        return found[name]
    folded = name.lower()
    for key, value in found.items():
        if key.lower() == folded:
            return value
    if "." not in name:
        return None
    node: object = found
    for part in name.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return None
        node = node[part]
    return node


@lru_cache(maxsize=1024)
def _read(header: str) -> Token:
    scheme, _, credentials = header.strip().partition(" ")
    credentials = credentials.strip()
    match scheme.lower():
        case "bearer":
            return Token("", _jwt_claims(credentials), credentials)
        case "basic":
            return Token(_basic_username(credentials), {}, "")
    text = credentials or scheme
    return Token("", _jwt_claims(text) or _json_object(text), "")


def _jwt_claims(token: str) -> Mapping[str, object]:
    parts = token.split(".", 2)
    return _json_object(parts[1]) if len(parts) > 1 else {}


def _json_object(encoded: str) -> Mapping[str, object]:
    raw = _decoded(encoded)
    if not raw:
        return {}
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _basic_username(encoded: str) -> str:
    """The text before the first colon (RFC 7617: a password may hold colons, a user name may not)."""
    raw = _decoded(encoded)
    name, colon, _ = raw.partition(b":")
    if not colon:
        return ""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _decoded(encoded: str) -> bytes:
    """The bytes of base64 or base64url text with or without padding, b"" when it is neither."""
    text = encoded.rstrip("=").translate(_URL_SAFE)
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
