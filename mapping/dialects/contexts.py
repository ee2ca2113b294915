"""What loggers write of a line's context before its message: Rust's tracing its spans, Log4j and Logback their MDC,
Elixir its metadata.

`INFO request{user_id="ann"}: shop: done`, `[trace_id=66ab…, user_id=ann]`, `09:00:00.000 user_id=ann [info] done`. What
a message itself prints is none: an object in braces counts only where it names a trace or a span.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from mapping.dialects import logfmt

_WITHIN: Final = 2048  # characters of a line in which its context is looked for
_MOST: Final = 8  # spans, one in the other
_spans: Final = re.compile(
    r"\b(?:TRACE|DEBUG|INFO|WARN|ERROR) ((?:[a-z_][\w:.\-]{0,63}+\{[^{}]{1,1024}+\}:)++)", re.ASCII
).search
_span: Final = re.compile(r"\{([^{}]{1,1024}+)\}:").findall
_mdc: Final = re.compile(
    r"(?<=\s)[{\[]((?:[A-Za-z_][\w.\-]{0,63}+=[^,\]}\s]{0,256}+(?:, )?+){2,32}+)[}\]](?=\s)", re.ASCII
).search
_names_ids: Final = re.compile(r"(?:trace|span)[._-]?id=", re.IGNORECASE).search
_pair: Final = re.compile(r"([A-Za-z_][\w.\-]{0,63}+)=([^,\]}\s]{1,256}+)", re.ASCII).findall
_metadata: Final = re.compile(
    r"(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\.\d{3} ((?:[a-z_]\w{0,63}+=[^\s]{1,256}+ ){1,16}+)\[[a-z]{2,9}\] ", re.ASCII
).match


def read(text: str) -> Mapping[str, object] | None:
    """The fields of a line's context, below `span` or `mdc`; None for a line without one."""
    head = text[:_WITHIN]
    found: dict[str, object] = {}
    if "}:" in head and (spans := _spans(head)) is not None:
        for inside in _span(spans[1])[:_MOST]:
            pairs = logfmt.read(inside) or dict(_pair(inside))
            found |= {f"span.{key}": _unquoted(value) for key, value in pairs.items()}
    elif (mdc := _mdc(head)) is not None and _names_ids(mdc[1]) is not None:
        found = {f"mdc.{key}": value for key, value in _pair(mdc[1])}
    elif "0" <= text[:1] <= "9" and (metadata := _metadata(head)) is not None:
        found = {f"mdc.{key}": value for key, value in _pair(metadata[1])}
    return found or None


def _unquoted(value: object) -> object:
    return value[1:-1] if isinstance(value, str) and value[:1] == '"' == value[-1:] else value
