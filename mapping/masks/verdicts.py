"""Which keys are masked where: the defaults of spec/mapping.md §7 and configured rules, as one verdict per key.

A key has the verdict of the rule that names it, else that of the header that it is a copy of, else it is judged by its
words (`mapping.masks.words`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from typing import Any, Final, Literal

from mapping.masks.mentions import Mentions, fold_text
from mapping.masks.search import NOTHING, as_bytes, searcher
from mapping.masks.settings import Action, MaskRule, MaskSettings, Place
from mapping.masks.shapes import BEGINNINGS
from mapping.masks.text import BEYOND_KEYS
from mapping.masks.words import (
    ENDINGS,
    QUERY_ENDINGS,
    header_names_in,
    names_a_secret,
    names_a_secret_in_a_query,
    tells_a_fact,
)

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

Verdict = Action | Literal["drop", "ip", "text"] | None

_MAX_REMEMBERED = 10_000  # keys per place; senders choose keys, so the memory must not grow with them
_MAX_REMEMBERED_CHARS = 128
# What `seen_in` finds: what `beyond_keys` finds or `tokens` hides, keys, and parameters of queries.
SHAPED: Final = 1
KEYED: Final = 2
ASKED: Final = 3
UNSURE: Final = 4
SHAPES: Final = BEYOND_KEYS + b"|" + BEGINNINGS
_shaped: Final = searcher(SHAPES)
# All that `Redactor.leaves_json_as_it_is` asks of a text beside these: mail addresses and passwords in URLs, encoded
# parameters, options in lists, escapes, syslog's too, what may be base64 of something, and U+FFFD.
UNSURE_IN_JSON: Final = (
    rb"""@|\?[^ \t\n\r\f\v"'<>#?]*[%+]|"-|\\u|:\\/|"H4sI|"ey|"eJ|"KLUv|"iVBOR|"/9j/|"JVBERi|"UEsDB|"data:"""
    rb"""|ody"|\xef\xbf\xbd|#033"""
)
# Characters of a text that is searched for keys and shapes together. The automaton of both is large: a long text made
# of halves of keys would fill it again and again, at 60 ns a character.
MAX_IN_ONE_PASS: Final = 16_384
_LAST_PART = re.compile(r"[^.\[\]]+(?=[.\[\]]*$)").search
# Headers of one word that a rule may name: their copies are `http_host`, `HTTP_REFERER`.
_ONE_WORD_HEADERS = frozenset(
    ("host", "authorization", "cookie", "referer", "origin", "forwarded", "from", "via", "accept", "expect", "range")
)
_HIDING: frozenset[Verdict] = frozenset(("mask", "hash", "remove", "drop"))
_ALL_BELOW = frozenset(("cookies", "credentials", "secrets"))  # maps of secrets: what is below them is one
_PATH_PARTS = re.compile(r"[^.\[\]*$]+").findall


def fold(key: str) -> str:
    """A key as it is compared: its last path part in lower case without `-`, `_` and outer blanks: accessToken."""
    return fold_text(_last_part(key).strip())


def _last_part(key: str) -> str:
    if "." in key or "[" in key:
        last = _LAST_PART(key)
        return last[0] if last is not None else key
    return key


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
            if node is not None and node.action is not None:
                break  # what is below a hidden place is hidden
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

    def __init__(
        self,
        names: dict[str, Verdict],
        paths: PathNode | None = None,
        drop: Iterable[str] = (),
        judge: Callable[[str], bool] | None = None,
        headers: dict[str, Verdict] | None = None,
        own: Iterable[str] = (),
    ):
        """drop: globs of keys that go altogether. judge: tells of any other name whether it names a secret; None for
        nobody. headers: verdicts of headers, by folded name, whose copies under other names are meant too. own: names
        that the settings list themselves.
        """
        self._names = names
        self._own = frozenset(own)
        globs = tuple(drop)
        self._drop = re.compile("|".join(map(translate, globs))) if globs else None
        self._judge = judge
        self._headers = headers or {}
        self._remembered: dict[str, Verdict] = {}
        self.paths = paths
        endings = () if judge is None else (QUERY_ENDINGS if judge is names_a_secret_in_a_query else ENDINGS,)
        words = {*names, *(paths.leaves() if paths is not None else ())}
        self.mentions = Mentions(words, globs, (*endings, *self._headers))
        self.mentioned_in = self.mentions.in_text
        self.seek: Any = (
            None  # of `seen_in`, for short texts; made when first asked for: a tenth of a second for all places
        )
        self._seek_in_json: Any = None

    def seen_in(self, text: str) -> list[int] | None:
        """What may be in a text: NOTHING, or with SHAPED what shows by its shape, KEYED a masked key. None: all."""
        if len(text) > MAX_IN_ONE_PASS:
            return self._seen_in_long(text)
        if self.seek is None:
            self.seek = searcher(SHAPES, self.mentions.in_bytes())
        found: list[int] = self.seek(text.encode() if text.isascii() else as_bytes(text))
        return found or None

    def seen_in_json(self, text: str, of_queries: Mentions) -> list[int] | None:
        """The same of JSON; with ASKED a masked parameter of a query, UNSURE what only a look at its values tells."""
        if len(text) > MAX_IN_ONE_PASS:
            return [*self._seen_in_long(text), *([ASKED] if of_queries.may_be_in(text) else []), UNSURE]
        if self._seek_in_json is None:
            self._seek_in_json = searcher(SHAPES, self.mentions.in_bytes(), of_queries.in_bytes(), UNSURE_IN_JSON)
        found: list[int] = self._seek_in_json(text.encode() if text.isascii() else as_bytes(text))
        return found or None

    def _seen_in_long(self, text: str) -> list[int]:
        found = [*NOTHING]
        if _shaped(as_bytes(text)) != NOTHING:
            found.append(SHAPED)
        if self.mentions.may_be_in(text):
            found.append(KEYED)
        return found

    def of(self, key: str) -> Verdict:
        try:
            return self._remembered[key]
        except KeyError:
            pass
        verdict: Verdict = "drop" if self._drop is not None and self._drop.fullmatch(key) else None
        verdict = verdict or self._named(key)
        if len(key) <= _MAX_REMEMBERED_CHARS:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = verdict
        return verdict

    def _named(self, key: str) -> Verdict:
        found = self._names.get(fold(key))
        if found is not None:
            return found
        name = _last_part(key)
        if self._headers:
            for header in header_names_in(name):
                if header in self._headers:
                    return self._headers[header]
        if "." in key and (above := self._above(key)) is not None:
            return above
        return "mask" if self._judge is not None and self._judge(name) else None

    def _above(self, key: str) -> Verdict:
        """What a part before the last says of a dotted key: `authorization.value` is as hidden as what nests it."""
        *parts, last = key.split(".")
        told = tells_a_fact(last)
        for part in parts:
            found = self._names.get(fold(part))
            secret = self._judge is not None and self._judge(part)
            # Names of one's own hide all below them; those that are known for secrets in any case let facts be told.
            if found in _HIDING and (not told or (fold(part) in self._own and not secret)):
                return found
            if self._judge is not None and (part.lower() in _ALL_BELOW or (not told and secret)):
                return "mask"
        return None

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
    judge = None
    if settings.defaults:
        judge = names_a_secret_in_a_query if place == "query" else names_a_secret
    own = (
        *_listed(settings, place),
        *(key for rule in settings.rules if not rule.places or place in rule.places for key in rule.keys),
    )
    copied = _copied(settings, place, names)
    return Verdicts(names, root if root.children else None, globs, judge, copied, map(fold, own))


def _copied(settings: MaskSettings, place: Place, names: dict[str, Verdict]) -> dict[str, Verdict]:
    """Verdicts of the headers whose copies a place may hold, by folded name: the masked ones, and those of rules."""
    if place == "query":
        return {}
    of_rules = (
        (key, rule.action)
        for rule in settings.rules
        if not rule.places or place in rule.places
        for key in rule.keys
        if "-" in key or key.lower() in _ONE_WORD_HEADERS
    )
    listed = (*(HEADERS if settings.defaults else ()), *settings.headers)
    masked: dict[str, Verdict] = {fold(key): names.get(fold(key)) or "mask" for key in listed}
    return masked | {fold(key): action for key, action in of_rules}


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
