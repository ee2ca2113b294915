"""Where in the store earlier copies of events can be: the times that a question about them names.

The store looks an id up by reading those of a time. One event of thirteen days ago among a minute's must not make it
read thirteen days.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter, itemgetter

from exporter.clickhouse.rows import CLAMPED_REACH_US, event_time_us, have_sure_times, is_clamped
from exporter.duplicates import is_untimed
from mapping.event import Event

_ASK_AT_ONCE = 5000  # ids in one question
# Times that one question about earlier copies names: 32 conditions on the time cost the store nothing.
_MOST_SPANS = 32
_HOUR_US = 3_600_000_000

_clocks = attrgetter("start_unix_ns", "end_unix_ns", "received_unix_ns")


def windows(
    events: Sequence[Event], retention_days: int
) -> Iterator[tuple[Sequence[Event], Sequence[tuple[int, int]]]]:
    """The events, and between which event times copies of them can be; so many as one question can name.

    Equal events have equal times, except where the time comes from our clock: such copies came days earlier at
    most, or later by a clock that was set back since. Few events are of that kind, and the others are looked for
    where they are.
    """
    near, far = _timed(events, retention_days)
    near.sort(key=itemgetter(0))  # so that one of long ago does not widen the question for all
    for timed, reach_us in ((near, 0), (far, CLAMPED_REACH_US)):
        for first in range(0, len(timed), _ASK_AT_ONCE):
            part = timed[first : first + _ASK_AT_ONCE]
            if not reach_us:  # they are sorted, and each is where it starts
                reaches = [(time_us, time_us) for time_us, _ in part]
            else:
                reaches = sorted(
                    (time_us - reach_us, max(time_us + reach_us, event.start_unix_ns // 1000))
                    for time_us, event in part
                )
            yield [event for _, event in part], spans_of(reaches)


def _timed(events: Sequence[Event], retention_days: int) -> tuple[list[tuple[int, Event]], list[tuple[int, Event]]]:
    """The events with their times: those whose copies have the same, and those whose copies may have another."""
    starts, ends, received = zip(*map(_clocks, events), strict=True) if events else ((), (), ())
    clocks = set(received)
    if events and have_sure_times(starts, received) and clocks.isdisjoint(starts) and clocks.isdisjoint(ends):
        return [(start // 1000, event) for start, event in zip(starts, events, strict=True)], []
    near: list[tuple[int, Event]] = []
    far: list[tuple[int, Event]] = []
    for event in events:
        time_us = event_time_us(event, retention_days)
        (far if is_clamped(event, time_us) or is_untimed(event) else near).append((time_us, event))
    return near, far


def spans_of(reaches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What the reaches, sorted by their beginnings, cover, in up to _MOST_SPANS spans: the widest gaps stay out.

    The store reads hours: what is nearer together than one is one span.
    """
    if reaches[-1][0] - reaches[0][0] <= _HOUR_US:
        return [(reaches[0][0], max(map(itemgetter(1), reaches)))]
    gaps: list[tuple[int, int]] = []  # length, and the place of the reach behind it
    end = reaches[0][1]
    for place, (low, high) in enumerate(reaches[1:], 1):
        if low - end > _HOUR_US:
            gaps.append((low - end, place))
        end = max(end, high)
    begin = {place for _, place in sorted(gaps)[-(_MOST_SPANS - 1) :]}
    spans = [reaches[0]]
    for place, (low, high) in enumerate(reaches[1:], 1):
        if place in begin:
            spans.append((low, high))
        else:
            spans[-1] = spans[-1][0], max(spans[-1][1], high)
    return spans
