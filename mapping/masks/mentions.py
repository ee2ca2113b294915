"""The quick look at a text: can any masked key be in it at all? Most texts are let through here, without a search.

The answer errs on one side only: False means that no mask of `mapping.masks.redactor` would change the text for a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from string import ascii_letters, digits
from typing import Any, Final

import re2  # type: ignore[import-untyped]

from mapping.masks.search import NOTHING, as_bytes, searcher

# One pass in C: letters to lower case, everything that is not part of a word to blanks; `-` and `_` are left out.
_WORDS: Final = bytes(ord(chr(code).lower()) if chr(code) in ascii_letters + digits else 0x20 for code in range(256))
_LEFT_OUT: Final = b"-_"
# The letter of an escaped line end or tab stands right before the word that begins the next line.
_ESCAPE: Final = "[nrtbf]"
# Of patterns for texts as they are.
_NO_WORD: Final = r"[^a-z0-9_\-]"
_DASHES: Final = r"[_\-]*"
_CHARACTER: Final = re.compile(r"\[[^\[\]]*\]|[a-z0-9 ]")
_NEVER: Final = r"[^\x00-\xff]"
_MAX_FOUND: Final = 32  # different words in one text that may be keys; with more of them it is searched properly
# What follows a key in text that masks would change: perhaps the rest of a path, a closing quote, then : or =. Or the
# quote and the line's end (the name of a form's field), or what ends the tag of an XML element.
_AFTER_KEY: Final = re.compile(
    r"[\s\[\]*$]{0,64}+\.(?:[^\\\"']{0,200}+[\\\"']|[\w.]{0,200}+\s?[:=])|"
    r"\)?+[.\s\[\]*$]*+(?:\s*+(?:\\{0,8}+[\"'])?+\s*+(?:(?:is|was|provided|given|supplied|used|sent|received)\s*+)?+[:=\u2192]"
    r"|\s*+\\{0,8}+[\"'](?:\s*+,|[^\r\n]{0,200}(?:[\r\n]|\\[rn]))|[^<>]{0,200}+>)"
).match
# In JSON a key may also be an element ["cookie", "x"] or a value {"name": "cookie", ...}, and what follows in its path
# may be anything up to the quote: a key has 1,024 characters at most.
_AFTER_NAME: Final = re.compile(
    r"[\s\[\]*$]{0,64}+\.(?:[^\\\"']{0,1024}+[\\\"']|[\w.]{0,200}+\s?[:=])|"
    r"\)?+[.\[\]*$\s]*+(?:[\\\"']|(?:(?:is|was|provided|given|supplied|used|sent|received)\s*+)?+[:=]|[^<>]{0,200}+>)"
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
        parts = {max(map(fold_text, _plain_parts(glob)), default="", key=len) for glob in self._globs}
        plain = set(filter(_is_word, parts))
        self._of_parts = re.compile(f"{_ESCAPE}?{_one_of(plain)}").fullmatch if plain else None
        ends = [ending for ending in self._endings if ending.isascii()]
        exact = set(filter(_is_word, self._keys)) | plain
        pattern = _pattern_of(exact, ends)
        self._seek = searcher(pattern)
        self._find = _finder(pattern)
        self._exact, self._ends = tuple(sorted(exact)), tuple(sorted(ends))
        # What cannot be told from the words around it is looked for everywhere.
        self._anywhere = tuple(word for word in self._keys | parts if not _is_word(word))

    def in_bytes(self) -> bytes:
        """A pattern of RE2 that is in the bytes of every text with a key (`search.as_bytes`), in few others."""
        return b"" if self._anywhere else _spread(self._exact, self._ends)

    def may_be_in(self, text: str) -> bool:
        """What `in_bytes` tells, in two passes that take 4 ns a character whatever the text."""
        return bool(self._anywhere) or self._seek(_words_of(text)) != NOTHING

    def in_text(self, text: str, *, json: bool) -> bool:
        """False only when no masked key is in the text. json: it may be JSON."""
        if json:
            if "\\u" in text or ":\\/" in text:  # an escape may spell a key or hide a URL; only decoding tells
                return True
        elif not (
            ":" in text
            or "=" in text
            or "->" in text
            or "\u2192" in text
            or "</" in text
            or "'," in text
            or '",' in text
        ):
            return False
        return self._has_key(text, _words_of(text), (_AFTER_NAME if json else _AFTER_KEY,))

    def in_query(self, text: str) -> bool:
        """False only when no masked parameter of a query is in the text."""
        return "=" in text and self._has_key(text, _words_of(text), (_AFTER_PARAMETER,))

    def _has_key(self, text: str, words: bytes, afters: tuple[Any, ...]) -> bool:
        """True when a word stands where a key may stand."""
        found = {match[0].decode() for match in self._find.finditer(words)}
        if not found and not self._anywhere:
            return False
        text = fold_text(text if text.isascii() else text.lower())
        if len(found) > _MAX_FOUND:
            return True
        found |= {word.partition(" ")[0] for word in found if " " in word}  # `authorization.value`
        for word in found:
            of_part = self._of_parts is not None and self._of_parts(word) is not None
            checks = (*afters, _AFTER_PART) if of_part else afters
            at = text.find(word)
            while at >= 0:
                if any(after(text, at + len(word)) is not None for after in checks):
                    return True
                at = text.find(word, at + 1)
        return any(word in text for word in self._anywhere)


def _pattern_of(exact: set[str], ends: list[str]) -> bytes:
    """What is searched for in words of lower case: whole words, and words with an end."""
    parts = [rf"\b{_ESCAPE}?{_one_of(exact)}\b"] if exact else []
    if ends:
        parts.append(rf"{_one_of(ends)}\b")
    return "|".join(parts or [_NEVER]).encode()


@lru_cache(maxsize=64)
def _spread(exact: tuple[str, ...], ends: tuple[str, ...]) -> bytes:
    """The same for texts as they are: letters of any case, with `-` and `_` between them."""
    end = f"(?:{_NO_WORD}|$)"
    parts = [rf"(?:^|{_NO_WORD}){_DASHES}{_spaced(_ESCAPE)}?{_spaced(_one_of(exact))}{end}"] if exact else []
    if ends:
        parts.append(_spaced(_one_of(ends)) + end)
    return f"(?i:{'|'.join(parts or [_NEVER])})".encode()


def _spaced(pattern: str) -> str:
    """A pattern of words with dashes allowed behind each of its characters; its blanks are what is in no word."""
    return _CHARACTER.sub(lambda found: f"(?:{_NO_WORD if found[0] == ' ' else found[0]}{_DASHES})", pattern)


def _finder(pattern: bytes) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.longest_match = True
    return re2.compile(pattern, options=options)


def _words_of(text: str) -> bytes:
    """The words of a text as they are searched: in lower case, without `-` and `_`, with blanks between them."""
    return as_bytes(text if text.isascii() else text.lower()).translate(_WORDS, _LEFT_OUT)  # some letters become ASCII


def _one_of(words: Iterable[str]) -> str:
    return "(?:" + "|".join(sorted(words)) + ")"


def fold_text(text: str) -> str:
    """Keys and texts as they are compared: in lower case without `-` and `_`."""
    return text.lower().replace("-", "").replace("_", "")


def _is_word(text: str) -> bool:
    return text.isascii() and text.isalnum()


def _plain_parts(glob: str) -> list[str]:
    """The dotted parts of a glob that stand for themselves."""
    return [part for part in glob.split(".") if not set("*?[]") & set(part)]
