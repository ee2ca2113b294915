"""What would go wrong with several lanes: things that must see all requests of a trace, which go to different lanes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weighbridge.lanes.settings import cores

if TYPE_CHECKING:
    from weighbridge.settings import Settings

# Sinks that can be asked what they have, so that an event that comes in two requests is found; and those to which
# nothing happens by it: one throws all away, one gets requests as they came.
_JUDGES = ("clickhouse", "blackhole", "otlphttp")


def why_one(settings: Settings) -> str:
    """Which setting allows one lane only, and why; "" when several give the same as one."""
    sampling, mapping = settings.sampling, settings.mapping
    if sampling.tail:
        return "sampling.tail decides whole traces, whose requests go to different lanes"
    if sampling.window_s:
        return "sampling.budget.window_s decides all events of a window together, and each lane has some of them"
    if mapping.inherit_across_requests_s:
        return "mapping.inherit_across_requests_s carries users from one request of a trace to the next; set it to 0"
    # Else all is kept, whatever a record's randomness is.
    is_sampling = sampling.rate != "100" or sampling.rules or sampling.moesif_remote or sampling.budget
    if is_sampling and sampling.trust_upstream:
        return "sampling.trust_upstream lets a span's randomness serve the logs of its trace; set it to false"
    if is_sampling and sampling.randomness == "auto":
        return "sampling.randomness is auto, which each lane would learn for itself; set it to trace_id or hash"
    for index, sink in enumerate(settings.exporter.sinks):
        where = f"exporter.sinks.{index}"
        if sink.type not in _JUDGES:
            return f"{where}: a sink of type {sink.type} cannot be asked whether it has an event from another lane"
        if getattr(sink, "shared", None) is False:
            return f"{where}.shared: false means that nobody else writes there, but lanes are others to each other"
    return ""


def refuse_crossing(settings: Settings) -> None:
    """Raises ValueError when more lanes are asked for than give right results."""
    count = settings.lanes.count
    if isinstance(count, int) and count > 1 and (why := why_one(settings)):
        raise ValueError(f"lanes.count is {count}, and {why}{', or' if '; set' in why else '; set'} lanes.count to 1")


def lanes_of(settings: Settings) -> tuple[int, str]:
    """How many lanes there are to be, and why not more where `auto` would have more."""
    count = settings.lanes.count
    if isinstance(count, int):
        return count, ""
    wanted = max(1, cores() - 1)
    why = why_one(settings) if wanted > 1 else ""
    return (1, why) if why else (wanted, "")
