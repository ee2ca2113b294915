"""Where earlier copies of events are looked for: where they can be, and not in all the time between."""

from __future__ import annotations

import random

import events
from exporter.clickhouse.earlier import spans_of, windows
from mapping.event import Event

MINUTE_US = 60_000_000
DAY_US = 1440 * MINUTE_US
NOW_US = 20_000 * DAY_US


def event(time_us: int) -> Event:
    return events.event(
        start_unix_ns=time_us * 1000, end_unix_ns=time_us * 1000 + 10**6, received_unix_ns=(NOW_US + DAY_US) * 1000
    )


def covered_us(rows: list[Event]) -> int:
    return sum(high - low for _, spans in windows(rows, 90) for low, high in spans)


def test_one_event_of_long_ago_does_not_widen_the_question() -> None:
    minute = [event(NOW_US + number * 10_000) for number in range(6000)]
    alone = covered_us(minute)
    assert alone <= MINUTE_US
    for days in (1, 5, 13):
        assert covered_us([event(NOW_US - days * DAY_US), *minute]) <= alone + 1


def test_every_event_is_asked_about_where_it_is_and_the_question_stays_short() -> None:
    dice = random.Random(3)
    for _ in range(20):
        rows = [event(NOW_US - dice.randrange(14 * DAY_US)) for _ in range(dice.choice([1, 30, 300]))]
        for part, spans in windows(rows, 90):
            assert len(spans) <= 32
            assert spans == sorted(spans)
            for one in part:
                assert any(low <= one.start_unix_ns // 1000 <= high for low, high in spans)


def test_of_many_gaps_the_widest_stay_out() -> None:
    reaches = [(number * 2 * 60 * MINUTE_US,) * 2 for number in range(100)]
    reaches += [(NOW_US + number * DAY_US, NOW_US + number * DAY_US) for number in range(10)]
    spans = spans_of(reaches)
    assert len(spans) == 32
    assert spans[-10:] == reaches[-10:]


def test_events_of_usual_clocks_are_asked_about_as_each_alone() -> None:
    dice = random.Random(5)
    rows = [event(NOW_US + DAY_US - dice.randrange(10 * MINUTE_US)) for _ in range(500)]
    alone = [span for row in rows for _, spans in windows([row], 90) for span in spans]
    ((part, (together,)),) = windows(rows, 90)
    assert sorted(part, key=id) == sorted(rows, key=id)
    assert together == (min(low for low, _ in alone), max(high for _, high in alone))
    # One whose clock is ours makes each of them be looked at by itself.
    ours = rows[0]._replace(start_unix_ns=rows[0].received_unix_ns, end_unix_ns=rows[0].received_unix_ns)
    (near, (again,)), (far, _) = windows([*rows[1:], ours], 90)
    assert far == [ours]
    assert sorted(near, key=id) == sorted(rows[1:], key=id)
    assert again[0] >= together[0]
    assert again[1] <= together[1]
