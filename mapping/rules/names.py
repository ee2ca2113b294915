"""How names are compared that everybody spells differently: folded, below what loggers fill, by their words."""

from __future__ import annotations

import re
from typing import Final

# Objects below which loggers, shippers and frameworks keep what they know of the line itself. What lies below other
# objects is about something else (an upstream, a job, a payload).
CONTEXTS = frozenset(
    """
    mdc contextmap context ctx fields @fields field labels label trace tracing span otel opentelemetry dd datadog extra
    extras attributes attrs attr tags tag properties props meta metadata jsonpayload log record scope scopes correlation
    message msg event structured contexts otlp $metadata
    telemetry logger w3c custom kv threadcontext diagnosticcontext values state baggage propagation diagnostics source
    spancontext tracecontext contexts namedtags logback log4j contextdata mapmessage requestcontext
    message msg
    """.split()  # noqa: SIM905 - a list literal of forty words takes forty lines
)
LONGEST_KEY = 128  # characters; longer keys are no name that a logger gives
_MAX_NAME_CHARS: Final = 256  # of a name only so much is looked at, from its end: no known name is longer

_ODD: Final = re.compile(r"[^\w\- ]|  ").finditer
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+").findall


_DROPPED = str.maketrans("", "", "_- ")


def fold(name: str) -> str:
    """A key without case, dashes, underscores and blanks: `Trace-ID` and `trace_id` are one."""
    return name.lower() if name.isalnum() else name.lower().translate(_DROPPED)


def split_name(name: str) -> tuple[list[str], str]:
    """(the objects above a dotted key, its last part), folded."""
    *above, last = map(fold, name.split("."))
    return above, last


def words_of(name: str) -> list[str]:
    """The words at the end of a name, in lower case. What is no letter, digit, `-`, `_` or single blank cuts it off.

    W3C's extended logs put the name of a header into brackets: `cs(Cookie)`.
    """
    name = name[-_MAX_NAME_CHARS:].strip()
    if name[-1:] == ")" and (at := name.rfind("(")) > 0:
        name = name[at + 1 : -1]
    cut = max((odd.end() for odd in _ODD(name)), default=0)
    return [word.lower() for word in _WORDS(name[cut:])]
