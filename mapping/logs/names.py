"""How keys of log records are compared: without case, dashes and underscores, below the objects that loggers fill."""

from __future__ import annotations

# Objects below which loggers, shippers and frameworks keep what they know of the line itself. What lies below other
# objects is about something else (an upstream, a job, a payload).
CONTEXTS = frozenset(
    """
    mdc contextmap context ctx fields @fields field labels label trace tracing span otel opentelemetry dd datadog extra
    extras attributes attrs attr tags tag properties props meta metadata jsonpayload log record scope scopes correlation
    telemetry logger w3c custom kv threadcontext diagnosticcontext values state baggage propagation diagnostics source
    """.split()  # noqa: SIM905 - a list literal of forty words takes forty lines
)
LONGEST_KEY = 128  # characters; longer keys are no name that a logger gives


_DROPPED = str.maketrans("", "", "_- ")


def folded(name: str) -> str:
    """A key without case, dashes, underscores and blanks: `Trace-ID` and `trace_id` are one."""
    return name.lower() if name.isalnum() else name.lower().translate(_DROPPED)


def parted(name: str) -> tuple[list[str], str]:
    """(the objects above a dotted key, its last part), folded."""
    *above, last = map(folded, name.split("."))
    return above, last
