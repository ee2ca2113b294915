"""The quick look at a text: can any masked key be in it at all? Most texts are let through here, without a search.

The answer errs on one side only: False means that no mask of `mapping.redaction` would change the text for a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from string import ascii_lowercase, digits

_ALNUM = ascii_lowercase + digits
_LONGEST_WORD = 64
# What follows a key in text that masks would change: perhaps the rest of a path, a closing quote, then : or =.
_AFTER_KEY = re.compile(r"[.\[\]*$]*(?:\\{0,8}[\"'])?\s*[:=]").match
# In JSON a key may also be an element ["cookie", "x"] or a value {"name": "cookie", ...}.
_AFTER_NAME = re.compile(r"[.\[\]*$]*(?:[\\\"']|\s*[:=])").match
_GLOB_PARTS = re.compile(r"[*?.]|\[.*", re.DOTALL).split


class Mentions:
    """Looks for a set of folded keys (`mask_rules.fold`) and for keys that match a glob."""

    def __init__(self, words: set[str], globs: Iterable[str]) -> None:
        self._words = words
        literals = {
            max(map(_folded, _GLOB_PARTS(glob)), key=len)
            for glob in globs
            if not glob.isascii() or set("*?[") & set(glob)
        }
        # Every word holds one of these roots: looking for them alone is enough.
        by_length = sorted(words, key=len)
        self._roots = tuple(
            word for place, word in enumerate(by_length) if not any(short in word for short in by_length[:place])
        )
        self._literals = tuple(literals)
        # Words of other characters cannot be told from what surrounds them.
        self._exact = all(word.isascii() and word.isalnum() and len(word) <= _LONGEST_WORD for word in words)

    def in_text(self, text: str, *, json: bool) -> bool:
        """False only when no masked key is in the text. json: it may be JSON."""
        if json:
            if "\\u" in text:  # an escape may spell a key; only decoding tells
                return True
        elif ":" not in text and "=" not in text:
            return False
        folded = text.lower().replace("-", "").replace("_", "")
        for literal in self._literals:
            if literal in folded:
                return True
        for root in self._roots:  # noqa: SIM110 - any() costs three times as much here
            if root in folded and (not self._exact or self._is_key(root, folded, json)):
                return True
        return False

    def _is_key(self, root: str, folded: str, json: bool) -> bool:
        """True when one of the places where a root stands may be a masked key of its own."""
        after = _AFTER_NAME if json else _AFTER_KEY
        at = folded.find(root)
        while at >= 0:
            before = folded[max(at - _LONGEST_WORD, 0) : at]
            start = at - len(before) + len(before.rstrip(_ALNUM))
            rest = folded[at : at + 2 * _LONGEST_WORD]
            end = at + len(rest) - len(rest.lstrip(_ALNUM))
            if after(folded, end) is not None:
                word = folded[start:end]
                # The n of an escaped line end stands right before a key that begins a line.
                if word in self._words or (folded[start - 1 : start] == "\\" and word[1:] in self._words):
                    return True
            at = folded.find(root, at + 1)
        return False


def _folded(part: str) -> str:
    return part.lower().replace("-", "").replace("_", "")
