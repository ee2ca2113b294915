"""Words that senders write for nothing (mapping.md §5); absent wherever identity or a route is read."""

from __future__ import annotations

NULL_WORDS = frozenset(
    ("", "null", "none", "undefined", "nil", "-", "unknown", "[redacted]", "redacted", "***", "*****")
)

_LONGEST = max(map(len, NULL_WORDS))


def is_absent(text: str) -> bool:
    """True for a null word in any case, blanks around it ignored."""
    # Real values are mostly longer than every null word; only short ones pay for the folding.
    return (len(text) <= _LONGEST and text.strip().lower() in NULL_WORDS) or text.isspace()
