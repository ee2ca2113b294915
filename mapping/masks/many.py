"""The quick look at many texts at once: of most nothing is masked, and one search tells it of several.

The answer errs on one side only: True says that `Redactor.text` gives a line back as it is, or that
`Redactor.leaves_json_as_it_is` is true of a JSON text. False says that the text has to be looked at alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from mapping.masks.redactor import Redactor
from mapping.masks.search import NOTHING, as_bytes, searcher
from mapping.masks.verdicts import SHAPES, UNSURE_IN_JSON
from mapping.rules.codings import CODED_BEGINNINGS

# Texts that are searched together. A search costs 0.35 us whatever it is asked of, and one text in which something is
# found costs all of them a search of their own. For fewer than LEAST, or longer ones, nothing is won.
_TOGETHER: Final = 8
_LONGEST: Final = 4096  # characters of all of them
LEAST: Final = 4
# Searches in vain, more than of others, after which the rest of the texts is not asked: a hostile text takes 60 ns a
# character, and where every other line has something to be looked at nothing is won.
_MOST_IN_VAIN: Final = 2
# What else than in JSON makes `ValueMasks.mask_text` look twice at a line, but for a `=`.
_OF_LINES: Final = (
    rb"[@\\\x1b]|#033|data:|(?:^|\n)(?:"
    + b"|".join(re.escape(begin.encode()) for begin in sorted(CODED_BEGINNINGS))
    + rb")"
)


class ManyTexts:
    """Tells of many log texts which of them masks leave as they are."""

    def __init__(self, redactor: Redactor) -> None:
        of_logs, of_attributes, of_queries = redactor.looked_for()
        json = (SHAPES, UNSURE_IN_JSON, of_logs, of_attributes)
        # Each is made when first asked, as that takes some ten milliseconds.
        self._of_lines = _Search((SHAPES, _OF_LINES, of_logs))
        self._of_json = _Search(json)
        self._of_json_with_queries = _Search((*json, of_queries))
        self._never = not redactor.looks_by_keys_alone

    def lines_untouched(self, texts: Sequence[str]) -> list[bool]:
        """Of lines, texts that are not read as JSON."""
        if self._never or len(texts) < LEAST:
            return [False] * len(texts)
        untouched, in_vain = [False] * len(texts), 0
        for start in range(0, len(texts), _TOGETHER):
            part = texts[start : start + _TOGETHER]
            plain = ["=" not in text for text in part]
            joined = "\n".join(part if all(plain) else [text for text in part if "=" not in text])
            if joined.isascii() and self._of_lines.finds_nothing(joined):
                untouched[start : start + _TOGETHER] = plain
                in_vain = max(in_vain - 1, 0)
            elif (in_vain := in_vain + 1) > _MOST_IN_VAIN:
                break
        return untouched

    def json_untouched(self, texts: Sequence[str]) -> list[bool]:
        """Of texts that are JSON."""
        if self._never or len(texts) < LEAST:
            return [False] * len(texts)
        untouched, in_vain = [False] * len(texts), 0
        for start in range(0, len(texts), _TOGETHER):
            part = texts[start : start + _TOGETHER]
            joined = "\n".join(part)
            search = self._of_json_with_queries if "=" in joined else self._of_json
            if search.finds_nothing(joined):
                untouched[start : start + _TOGETHER] = [True] * len(part)
                in_vain = max(in_vain - 1, 0)
            elif (in_vain := in_vain + 1) > _MOST_IN_VAIN:
                break
        return untouched


class _Search:
    """One search for some patterns of RE2."""

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self._patterns = dict.fromkeys(patterns)  # the keys of two places are mostly the same
        self._match: Any = None

    def finds_nothing(self, text: str) -> bool:
        if len(text) > _LONGEST:
            return False
        if self._match is None:
            self._match = searcher(*self._patterns)
        return bool(self._match(text.encode() if text.isascii() else as_bytes(text)) == NOTHING)
