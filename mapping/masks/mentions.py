"""The quick look at a text: can any masked key be in it at all? Most texts are let through here, without a search.

The answer errs on one side only: False means that no mask of `mapping.masks.redactor` would change the text for a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from string import ascii_letters, digits
from typing import Final

# One pass in C: letters to lower case, everything that is not part of a word to blanks; `-` and `_` are left out.
_WORDS: Final = bytes(ord(chr(code).lower()) if chr(code) in ascii_letters + digits else 0x20 for code in range(256))
_LEFT_OUT: Final = b"-_"
# The letter of an escaped line end or tab stands right before the word that begins the next line.
_ESCAPES: Final = ("", "n", "r", "t", "b", "f")
# What follows a key in text that masks would change: perhaps the rest of a path, a closing quote, then : or =. Or the
# quote and the line's end (the name of a form's field), or what ends the tag of an XML element.
_AFTER_KEY: Final = re.compile(
    r"[.\[\]*$]*+(?:\s*+(?:\\{0,8}+[\"'])?+\s*+(?:(?:is|was)\s*+)?+[:=]"
    r"|\\{0,8}+[\"'](?:\s*+,|[^\r\n]{0,200}(?:[\r\n]|\\[rn]))|[^<>]{0,200}+>)"
).match
# In JSON a key may also be an element ["cookie", "x"] or a value {"name": "cookie", ...}.
_AFTER_NAME: Final = re.compile(r"[.\[\]*$\s]*+(?:[\\\"']|(?:(?:is|was)\s*+)?+[:=]|[^<>]{0,200}+>)").match
# A part of a glob may be followed by other parts.
_AFTER_PART: Final = re.compile(r"\s*+[.\[\]*$\\\"':=]").match


class Mentions:
    """Looks for a set of folded keys (`mask_rules.fold`) and for keys that match a glob."""

    def __init__(self, words: Iterable[str], globs: Iterable[str]) -> None:
        self._keys, self._globs = frozenset(words), tuple(globs)
        parts = {max(map(folded, _plain_parts(glob)), default="", key=len) for glob in self._globs}
        self._parts = frozenset(filter(_is_word, parts))
        self._words = {
            (escape + word).encode(): escape + word
            for word in self._keys | self._parts
            if _is_word(word)
            for escape in _ESCAPES
        }
        self._encoded = frozenset(self._words)
        self._of_parts = frozenset(escape + part for part in self._parts for escape in _ESCAPES)
        # What cannot be told from the words around it is looked for everywhere.
        self._anywhere = tuple(word for word in self._keys | parts if not _is_word(word))

    def joined(self, other: Mentions) -> Mentions:
        """Looks for the keys of both."""
        return Mentions(self._keys | other._keys, (*self._globs, *other._globs))

    def in_text(self, text: str, *, json: bool) -> bool:
        """False only when no masked key is in the text. json: it may be JSON."""
        if json:
            if "\\u" in text or ":\\/" in text:  # an escape may spell a key or hide a URL; only decoding tells
                return True
        elif not (":" in text or "=" in text or "</" in text or "'," in text or '",' in text):
            return False
        if not text.isascii():
            text = text.lower()  # some letters become ASCII by it
        words = text.encode("utf-8", "surrogatepass").translate(_WORDS, _LEFT_OUT).split()
        if self._encoded.isdisjoint(words) and not self._anywhere:
            return False
        return self._has_key(folded(text), [self._words[word] for word in self._encoded.intersection(words)], json)

    def _has_key(self, text: str, words: list[str], json: bool) -> bool:
        """True when one of the words stands where a key may stand."""
        for word in words:
            after = _AFTER_PART if word in self._of_parts else _AFTER_NAME if json else _AFTER_KEY
            at = text.find(word)
            while at >= 0:
                if after(text, at + len(word)) is not None:
                    return True
                at = text.find(word, at + 1)
        return any(word in text for word in self._anywhere)


def folded(text: str) -> str:
    """Keys and texts as they are compared: in lower case without `-` and `_`."""
    return text.lower().replace("-", "").replace("_", "")


def _is_word(text: str) -> bool:
    return text.isascii() and text.isalnum()


def _plain_parts(glob: str) -> list[str]:
    """The dotted parts of a glob that stand for themselves."""
    return [part for part in glob.split(".") if not set("*?[]") & set(part)]
