"""Which keys are masked where: the defaults of mapping.md §7 and configured rules, as one verdict per key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from typing import Literal

from mapping.masks.mentions import Mentions, folded
from mapping.masks.settings import Action, MaskRule, MaskSettings, Place

HEADERS = (
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "api-key",
    "apikey",
    "x-auth-token",
    "x-access-token",
    "x-csrf-token",
    "x-amz-security-token",
    "x-goog-api-key",
)
QUERY = (
    "access_token",
    "api_key",
    "apikey",
    "api-key",
    "auth_token",
    "awsaccesskeyid",
    "client_secret",
    "id_token",
    "passwd",
    "password",
    "pwd",
    "refresh_token",
    "secret",
    "sig",
    "signature",
    "token",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-goog-signature",
)
KEYS = (
    "password",
    "passwd",
    "pwd",
    "secret",
    "client_secret",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "api_key",
    "apikey",
    "private_key",
    "authorization",
    "credit_card",
    "card_number",
    "cvc",
    "cvv",
    "ssn",
)
PLACES: tuple[Place, ...] = (
    "request_headers",
    "response_headers",
    "query",
    "request_body",
    "response_body",
    "log_body",
    "attributes",
)

Verdict = Action | Literal["drop", "ip", "url", "text"] | None

_MAX_REMEMBERED = 10_000  # keys per place; senders choose keys, so the memory must not grow with them
_MAX_REMEMBERED_CHARS = 128
_LAST_PART = re.compile(r"[^.\[\]]+(?=[.\[\]]*$)").search
_PATH_PARTS = re.compile(r"[^.\[\]*$]+").findall


def fold(key: str) -> str:
    """A key as it is compared: its last path part in lower case without `-`, `_` and outer blanks: accessToken."""
    if "." in key or "[" in key:
        last = _LAST_PART(key)
        key = last[0] if last is not None else key
    return folded(key.strip())


class PathNode:
    """A place in the tree of configured key paths. Lists are transparent: `a[*].b` and `a.b` are the same path."""

    __slots__ = ("_remembered", "action", "children")

    def __init__(self) -> None:
        self.action: Action | None = None
        self.children: dict[str, PathNode] = {}
        self._remembered: dict[str, PathNode | None] = {}

    def add(self, path: str, action: Action) -> None:
        node = self
        for part in _PATH_PARTS(path):
            node = node.children.setdefault(fold(part), PathNode())
        node.action = action

    def below(self, key: str) -> PathNode | None:
        """The node of a key, which may be a dotted path itself."""
        try:
            return self._remembered[key]
        except KeyError:
            pass
        node: PathNode | None = self
        for part in key.split("."):
            node = node.children.get(fold(part)) if node is not None else None
        if len(key) <= _MAX_REMEMBERED_CHARS:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = node
        return node

    def leaves(self) -> Iterable[str]:
        """Last parts of all paths, folded."""
        for part, node in self.children.items():
            if node.action is not None:
                yield part
            yield from node.leaves()


class Verdicts:
    """What happens to each key in one place. Verdicts are remembered, since the same keys come again and again."""

    def __init__(self, names: dict[str, Verdict], paths: PathNode | None = None, drop: Iterable[str] = ()):
        """drop: globs of keys that go altogether."""
        self._names = names
        globs = tuple(drop)
        self._drop = re.compile("|".join(map(translate, globs))) if globs else None
        self._remembered: dict[str, Verdict] = {}
        self.paths = paths
        self.mentions = Mentions({*names, *(paths.leaves() if paths is not None else ())}, globs)
        self.mentioned_in = self.mentions.in_text

    def of(self, key: str) -> Verdict:
        try:
            return self._remembered[key]
        except KeyError:
            pass
        verdict: Verdict = "drop" if self._drop is not None and self._drop.fullmatch(key) else None
        verdict = verdict or self._names.get(fold(key))
        if len(key) <= _MAX_REMEMBERED_CHARS:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = verdict
        return verdict

    def hides(self, key: str) -> bool:
        """True when a value under this key must not be seen as it is."""
        return self.of(key) is not None


def verdicts_for(
    settings: MaskSettings, place: Place, more: dict[str, Verdict] | None = None, drop: Iterable[str] = ()
) -> Verdicts:
    """The verdicts of one place: `more` first, then defaults, then the settings' lists, then its rules in order.

    drop: globs of dotted keys that go altogether, whether they come dotted or nested.
    """
    globs = tuple(drop)
    names: dict[str, Verdict] = {fold(key): verdict for key, verdict in (more or {}).items()}
    listed = _defaults(place) if settings.defaults else ()
    names.update((fold(key), "mask") for key in (*listed, *_listed(settings, place)))
    root = PathNode()
    for key in globs:
        if not set("*?[") & set(key):
            root.add(key, "remove")
    for rule in settings.rules:
        if not rule.places or place in rule.places:
            _add(rule, place, names, root)
    return Verdicts(names, root if root.children else None, globs)


def _defaults(place: Place) -> Iterable[str]:
    if place in ("request_headers", "response_headers"):
        return HEADERS
    if place == "query":
        return QUERY
    # Log bodies and attributes hold copies of headers.
    return KEYS if place in ("request_body", "response_body") else (*KEYS, *HEADERS)


def _listed(settings: MaskSettings, place: Place) -> Iterable[str]:
    if place in ("request_headers", "response_headers"):
        return settings.headers
    if place == "query":
        return settings.query
    return settings.keys if place in ("request_body", "response_body") else (*settings.keys, *settings.headers)


def _add(rule: MaskRule, place: Place, names: dict[str, Verdict], root: PathNode) -> None:
    for key in rule.keys:
        is_path = len(_PATH_PARTS(key)) > 1
        if is_path and place not in ("request_headers", "response_headers", "query"):
            root.add(key, rule.action)
        elif not is_path or place in ("request_headers", "response_headers"):
            names[fold(key)] = rule.action
