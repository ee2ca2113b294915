"""Masks for URLs: secrets in queries, fragments and parameters of paths, also of URLs that are a parameter."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import quote, unquote_plus

from mapping.masks.mask import MASK, QUERY_MASK
from mapping.masks.shapes import may_show_a_key, tokens
from mapping.masks.text import encoded_pairs, passwords_in_urls
from mapping.masks.verdicts import Verdicts
from mapping.masks.words import names_a_secret

_URL_QUERY: Final = re.compile(r"([?#])([^\s\"'<>#?]+)")
_PATH_PARAMETER: Final = re.compile(r"([;/])([A-Za-z_][\w.\-]{0,60})=([^\s;/?#&,\"'<>]+)")
# A header that somebody took for a path, or put into one: `/Set-Cookie: sid=x`.
_HEADER_IN_PATH: Final = re.compile(r"(?<=/)([A-Za-z][\w\-]{1,60}):(%20| )(?:%20| )*([^\s%/?#][^/?#]*)")
_MAX_NESTED: Final = 4  # encodings, one in the other: three hops of a login that each pass on where they came from
_ESCAPED: Final = re.compile(r"%[0-9A-Fa-f]{2}").search
_NESTS: Final = re.compile(
    r"[?=@{\[#;]"
).search  # what has none of these holds no URL with a secret, no query and no JSON
_HASH: Final = re.compile(r"hmac-sha256:[0-9a-f]{32}|hmac-sha256%3[Aa][0-9a-f]{32}").fullmatch


def may_hold_a_url(text: str) -> bool:
    """False for texts, header values above all, without a query, a password in a URL or parameters of a path."""
    return (
        ("=" in text and ("?" in text or ";" in text or "/" in text or "#" in text))
        or ("@" in text and "//" in text)
        or ("%3" in text and "?" in text)
    )


def is_hash(value: str) -> bool:
    """True for what the action `hash` makes of a value."""
    return _HASH(value) is not None


class UrlMasks:
    """The masks of one Redactor, for what URLs hold."""

    def __init__(
        self,
        verdicts: Verdicts,
        hashed: Callable[[str], str],
        hide: Callable[[str], str] | None,
        json: Callable[[str], str],
        *,
        hashes: bool,
        shapes: bool,
    ) -> None:
        """verdicts: of queries. hide: hides values that look like personal data. json: masks JSON text. hashes: some
        parameters may be hashed. shapes: values that look like keys are hidden.
        """
        self._shapes = shapes
        self._verdicts = verdicts
        self._hashed = hashed
        self._hide = hide
        self._json = json
        self._hashes = hashes

    def sent(self, text: str) -> list[str]:
        """The queries and fragments of the URLs in a text."""
        return [found[2] for found in _URL_QUERY.finditer(text)]

    def query(self, query: str, verdicts: Verdicts | None = None, depth: int = 0) -> str:
        """A query or form with its secrets masked. verdicts: those of another place, such as a body."""
        verdicts = verdicts or self._verdicts
        if "=" not in query and "%3" not in query:
            return query
        parts: list[str] = []
        same = True
        for part in query.split("&"):
            name, equals, value = part.partition("=")
            if "%" in name or "+" in name:
                name = unquote_plus(name)
            verdict = verdicts.of(name) if value else None
            if verdict == "hash" and (value in (QUERY_MASK, MASK) or is_hash(value)):
                parts.append(part)  # done already, by the mask of another place
                continue
            if verdict is None:
                new = self._nested(value, depth) if value else value
                if new != value:
                    part, same = f"{part.partition('=')[0]}={new}", False
                if self._hide is not None and equals and value:
                    plain = unquote_plus(new)
                    if self._hide(plain) != plain:
                        part, same = f"{part.partition('=')[0]}={QUERY_MASK}", False
                if "%3" in part and (shown := encoded_pairs(part, verdicts.hides)) != part:
                    part, same = shown, False
                parts.append(part)
                continue
            same = False
            if verdict != "remove":
                shown = self._hashed(unquote_plus(value)) if verdict == "hash" else QUERY_MASK
                parts.append(f"{part.partition('=')[0]}={shown}")
        return query if same else "&".join(parts)

    def _nested(self, value: str, depth: int) -> str:
        """A parameter's value with what is masked in it: a URL, a query or JSON, however it is encoded.

        Up to _MAX_NESTED encodings are undone, one inside the other; what is encoded more often is hidden.
        """
        if "%" not in value or _ESCAPED(value) is None:
            plain = value
        elif depth >= _MAX_NESTED:
            return QUERY_MASK
        else:
            plain = unquote_plus(value)
        if self._shapes and may_show_a_key(plain) and (shown := tokens(plain)) is not plain:
            shown = shown.replace(MASK, QUERY_MASK)
            return shown if plain is value else quote(shown, safe="[]")
        if not (_NESTS(plain) or (plain is not value and "%" in plain)):
            return value
        masked = plain
        if "@" in masked and "//" in masked:
            masked = passwords_in_urls(masked)
        if masked[:1] in ("{", "[", '"'):
            masked = self._json(masked)
        elif plain is not value and ("=" in masked or "%" in masked):
            before, question, query = masked.partition("?")
            if question:
                masked = f"{before}?{self.query(query, None, depth + 1)}"
            elif "=" in before:
                masked = self.query(before, None, depth + 1)
            else:
                masked = self._nested(before, depth + 1)
            masked = self._fragment(masked, depth)
            masked = self.path(masked)
        else:
            masked = self.path(self.queries_in(masked, (), depth + 1)) if "=" in masked else masked
        if masked == plain:
            return value
        return masked if plain is value else quote(masked, safe="[]")

    def _fragment(self, text: str, depth: int) -> str:
        """The text with the pairs of its URL's fragment masked: `#access_token=x`."""
        before, mark, fragment = text.partition("#")
        if not mark or "=" not in fragment:
            return text
        return f"{before}#{self.query(fragment, None, depth + 1)}"

    def path(self, text: str) -> str:
        """The text with parameters of its path masked, `/a;token=x/b` and `/token=x/b`, headers in it, and passwords
        before a host.
        """
        if ": " in text or ":%20" in text:
            text = _HEADER_IN_PATH.sub(
                lambda found: f"{found[1]}:{found[2]}{QUERY_MASK}" if self._hides_header(found[1]) else found[0],
                text,
            )
        if "@" in text and "//" in text:
            text = passwords_in_urls(text)
        if "=" not in text:
            return text
        return _PATH_PARAMETER.sub(
            lambda found: (
                f"{found[1]}{found[2]}={QUERY_MASK}" if self._hides_parameter(found[2], found[3]) else found[0]
            ),
            text,
        )

    def _hides_header(self, name: str) -> bool:
        """True for the name of a secret; `code` and its like are secrets in a query only."""
        return names_a_secret(name) and self._verdicts.of(name) is not None

    def _hides_parameter(self, name: str, value: str) -> bool:
        return self._verdicts.of(name) is not None and value not in (QUERY_MASK, MASK)

    def queries_in(self, text: str, sent: Sequence[str] = (), depth: int = 0) -> str:
        """The text with the queries of its URLs masked.

        sent: the queries as they were before other masks saw the text, so that a value has the same hash everywhere.
        """
        if sent and self._hashes:
            masked = iter([self.query(query, None, depth) for query in sent])
            if len(_URL_QUERY.findall(text)) == len(sent):
                return _URL_QUERY.sub(lambda found: found[1] + next(masked), text)
        return _URL_QUERY.sub(lambda found: found[1] + self.query(found[2], None, depth), text)
