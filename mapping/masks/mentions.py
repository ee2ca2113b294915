"""The quick look at a text: can any masked key be in it at all? Most texts are let through here, without a search.

The answer errs on one side only: False means that no mask of `mapping.masks.redactor` would change the text for a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from string import ascii_letters, digits
from typing import Any, Final

import re2  # type: ignore[import-untyped]

# One pass in C: letters to lower case, everything that is not part of a word to blanks; `-` and `_` are left out.
_WORDS: Final = bytes(ord(chr(code).lower()) if chr(code) in ascii_letters + digits else 0x20 for code in range(256))
_LEFT_OUT: Final = b"-_"
# The letter of an escaped line end or tab stands right before the word that begins the next line.
_ESCAPE: Final = "[nrtbf]?"
_MAX_FOUND: Final = 32  # different words in one text that may be keys; with more of them it is searched properly
# What follows a key in text that masks would change: perhaps the rest of a path, a closing quote, then : or =. Or the
# quote and the line's end (the name of a form's field), or what ends the tag of an XML element.
_AFTER_KEY: Final = re.compile(
    r"[.\[\]*$]*+(?:\s*+(?:\\{0,8}+[\"'])?+\s*+(?:(?:is|was|provided|given|supplied|used|sent|received)\s*+)?+[:=]"
    r"|\\{0,8}+[\"'](?:\s*+,|[^\r\n]{0,200}(?:[\r\n]|\\[rn]))|[^<>]{0,200}+>)"
).match
# In JSON a key may also be an element ["cookie", "x"] or a value {"name": "cookie", ...}.
_AFTER_NAME: Final = re.compile(
    r"[.\[\]*$\s]*+(?:[\\\"']|(?:(?:is|was|provided|given|supplied|used|sent|received)\s*+)?+[:=]|[^<>]{0,200}+>)"
).match
# A part of a glob may be followed by other parts.
_AFTER_PART: Final = re.compile(r"\s*+[.\[\]*$\\\"':=]").match
# The parameter of a query; its `=` may be encoded.
_AFTER_PARAMETER: Final = re.compile(r"[.\[\]*$\w]{0,64}(?:=|%(?:25)*+(?:3[ad]|5[bd]))").match


class Mentions:
    """Looks for a set of folded keys (`verdicts.fold`), for keys that match a glob, and for words with some endings."""

    def __init__(self, words: Iterable[str], globs: Iterable[str], endings: Iterable[str] = ()) -> None:
        """endings: patterns of RE2 for the ends of words."""
        self._keys, self._globs, self._endings = frozenset(words), tuple(globs), frozenset(endings)
        parts = {max(map(folded, _plain_parts(glob)), default="", key=len) for glob in self._globs}
        plain = set(filter(_is_word, parts))
        self._of_parts = re.compile(_ESCAPE + _one_of(plain)).fullmatch if plain else None
        ends = [ending for ending in self._endings if ending.isascii()]
        exact = set(filter(_is_word, self._keys)) | plain
        self._find = _searched(exact, ends)
        # What cannot be told from the words around it is looked for everywhere.
        self._anywhere = tuple(word for word in self._keys | parts if not _is_word(word))

    def in_text(self, text: str, *, json: bool) -> bool:
        """False only when no masked key is in the text. json: it may be JSON."""
        if json:
            if "\\u" in text or ":\\/" in text:  # an escape may spell a key or hide a URL; only decoding tells
                return True
        elif not (":" in text or "=" in text or "</" in text or "'," in text or '",' in text):
            return False
        return self._has_key(text, (_AFTER_NAME if json else _AFTER_KEY,))

    def in_query(self, text: str) -> bool:
        """False only when no masked parameter of a query is in the text."""
        return "=" in text and self._has_key(text, (_AFTER_PARAMETER,))

    def _has_key(self, text: str, afters: tuple[Any, ...]) -> bool:
        """True when a word stands where a key may stand."""
        if not text.isascii():
            text = text.lower()  # some letters become ASCII by it
        words = text.encode("utf-8", "surrogatepass").translate(_WORDS, _LEFT_OUT)
        if (self._find is None or self._find.search(words) is None) and not self._anywhere:
            return False
        text = folded(text)
        found = {match[0].decode() for match in self._matches(words)}
        if len(found) > _MAX_FOUND:
            return True
        for word in found:
            of_part = self._of_parts is not None and self._of_parts(word) is not None
            checks = (*afters, _AFTER_PART) if of_part else afters
            at = text.find(word)
            while at >= 0:
                if any(after(text, at + len(word)) is not None for after in checks):
                    return True
                at = text.find(word, at + 1)
        return any(word in text for word in self._anywhere)

    def _matches(self, words: bytes) -> Iterator[Any]:
        if self._find is not None:
            yield from self._find.finditer(words)


def _searched(exact: set[str], ends: list[str]) -> Any:
    """A search in words of lower case: for whole words, and for words with an end. None for nothing to search."""
    parts = [rf"\b{_ESCAPE}{_one_of(exact)}\b"] if exact else []
    if ends:
        parts.append(rf"{_one_of(ends)}\b")
    if not parts:
        return None
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.longest_match = True
    return re2.compile("|".join(parts).encode(), options=options)


def _one_of(words: Iterable[str]) -> str:
    return "(?:" + "|".join(sorted(words)) + ")"


def folded(text: str) -> str:
    """Keys and texts as they are compared: in lower case without `-` and `_`."""
    return text.lower().replace("-", "").replace("_", "")


def _is_word(text: str) -> bool:
    return text.isascii() and text.isalnum()


def _plain_parts(glob: str) -> list[str]:
    """The dotted parts of a glob that stand for themselves."""
    return [part for part in glob.split(".") if not set("*?[]") & set(part)]
