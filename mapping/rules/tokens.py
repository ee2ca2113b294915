"""What credentials in a header say about the caller (spec/mapping.md §5.2).

Signatures are not checked: this labels traffic, it lets nobody in. What cannot be decoded says nothing and is
never an error. Decoded headers are memoised in a bounded cache: a client sends the same token with every call.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import orjson

_MAX_CHARS = 64 * 1024  # no server takes longer headers
_MAX_CACHED_CHARS = 4096  # times the cache's size: at most 4 MiB of tokens are held
# What clients send as the password of Basic when the user name is an API key: nothing, or a word that says so.
_STAND_INS = frozenset(
    (
        *(
            "",
            "x",
            "xx",
            "xxx",
            "-",
            "_",
            "*",
            ".",
            ":",
            "0",
            "1",
            "api",
            "key",
            "apikey",
            "api_key",
            "api-key",
            "token",
        ),
        *("api_token", "api-token", "apitoken", "auth_token", "access_token", "unused", "ignored", "ignore", "none"),
        *("null", "nil", "undefined", "empty", "blank", "dummy", "fake", "any", "anything", "nopass", "nopassword"),
        *("no-password", "x-oauth-basic", "x-oauth-token", "oauth", "oauth2", "bearer", "basic", "secret", "n/a", "na"),
        *("foo", "placeholder", "password", "pass", "pw", "test"),
    )
)
# With such a password only this is a person: a name of letters and perhaps a few digits behind, or a mail address.
_PERSON = re.compile(
    r"(?!(?:sk|pk|rk|key|api|token|secret|live|test)(?![a-z]))[^\W\d_]{1,16}(?:[.\-_' ][^\W\d_]{1,12}){0,3}\d{0,4}"
    r"|[^@\s:]{1,64}@(?:[\w\-]{1,63}\.){1,8}[A-Za-z]{2,24}",
    re.IGNORECASE,
).fullmatch
_MAX_PERSON_CHARS = 24  # of a name; keys are longer, mail addresses are known by their @
# How keys begin that say what they are, whatever password stands beside them.
_KEY = re.compile(
    r"(?:(?:sk|rk|pk|whsec|xkeysib|shp(?:at|ca|pa|ss)|gh[pousr]|github_pat|glpat|xox[abprs]|hf|npm|pypi|dckr_pat|dop_v1)[_\-]"
    r"|key-|SG\.|AIza|eyJ|AKIA|ASIA|Bearer ).{12}"
).match
_URL_SAFE = str.maketrans("-_", "+/")


class Token(NamedTuple):
    """A credential's content. `claims` may be shared between calls: read it, never change it."""

    username: str  # of Basic, "" otherwise and where it is a key: without a password, or with a stand-in for one
    claims: Mapping[str, object]  # of a JWT or of base64 JSON, {} otherwise
    bearer: str  # the bearer token itself or the key in Basic, "" for others: only ever hashed


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
            name, password = _basic(credentials)
            return Token("", {}, name) if is_key(name, password) else Token(name, {}, "")
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


def _basic(encoded: str) -> tuple[str, str]:
    """The text before the first colon, and behind it (RFC 7617: a password may hold colons, a user name may not)."""
    raw = _decoded(encoded)
    if b":" not in raw:
        return "", ""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    name, _, password = text.partition(":")
    return name, password


def is_key(name: str, password: str) -> bool:
    """True when the user name of Basic is a key: it says so, or no password stands beside it and it names no person."""
    if _KEY(name) is not None:
        return True
    if password.strip().lower() not in _STAND_INS and password != name:
        return False
    return _PERSON(name) is None or (len(name) > _MAX_PERSON_CHARS and "@" not in name)


def _decoded(encoded: str) -> bytes:
    """The bytes of base64 or base64url text with or without padding, b"" when it is neither."""
    text = encoded.rstrip("=").translate(_URL_SAFE)
    try:
        return b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""
