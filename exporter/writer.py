"""A batch on its way to a sink, whatever it takes: whole, else in pieces; rows that cannot go become dead letters."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from exporter.attempts import MOST_FAULTS, Attempts
from exporter.deadletter import DeadLetters
from exporter.erasures import Erasures
from exporter.errors import Expired, Refused, TooLarge, Unwritable
from exporter.sink import Batch, Calls, Sink
from exporter.totals import Totals
from mapping.event import Event

log = logging.getLogger(__name__)

# Calls of the sink to tell the rows of one refused batch apart. One bad row of 10,000 takes 28, 300 take 4,000. After
# that each piece that is left has one more chance and is a dead letter as a whole, good rows and all: `replay` sends
# them again.
MOST_CALLS = 5_000
# After a batch that ended in the dead letters to its last row, by faults of ours, the next one waits for one longest
# retry interval, then twice as long, up to so many: the sink may be at fault, and not the rows, and then a backlog must
# not be emptied into the dead letters.
MOST_INTERVALS = 60
NOT_TOLD_APART = "; refused together with other rows, too many to tell apart"


class Ended(NamedTuple):
    """How a call of the sink for one piece ended."""

    left_out: Sequence[Event] = ()
    refused: TooLarge | Refused | None = None


class Writer:
    """The last step of one sink's pipeline."""

    def __init__(
        self,
        sink: Sink,
        attempts: Attempts,
        dead_letters: DeadLetters,
        longest_interval_s: float,
        now_unix_ns: Callable[[], int] = time.time_ns,
        erasures: Erasures | None = None,
    ) -> None:
        self._sink = sink
        self._erasures = erasures
        self._attempts = attempts
        self._dead_letters = dead_letters
        self._now_unix_ns = now_unix_ns
        self._interval_s = longest_interval_s
        self._pause_s = 0.0
        self._at_once = sink.at_once

    async def write(self, batch: Batch, ended: Totals, spool: tuple[int, int], *, in_doubt: bool) -> None:
        """Return when every row is delivered or a dead letter, with the reason; ended: has their outcomes then.

        spool: the positions between which the rows were.
        """
        await asyncio.sleep(self._pause_s)
        letters: dict[str, list[Event]] = {}
        pieces = deque([batch])
        calls = 0
        before = self._attempts.counts.batches, self._attempts.counts.faults
        while pieces:
            taken = [pieces.popleft() for _ in range(min(self._at_once, len(pieces)))]
            faults = 1 if calls else MOST_FAULTS  # a piece is tried once: the whole was tried often enough
            endings = await asyncio.gather(*(self._call(piece, in_doubt, faults) for piece in taken))
            calls += len(taken)
            smaller: list[Batch] = []
            for piece, (left_out, refused) in zip(taken, endings, strict=True):
                if refused is None:
                    ended.add_written(piece.events, left_out)
                else:
                    smaller += self._smaller(piece, refused, letters, apart=calls < MOST_CALLS)
            pieces.extendleft(reversed(smaller))
        after = self._attempts.counts.batches, self._attempts.counts.faults
        if before[0] == after[0] and before[1] != after[1]:  # not a row got through, and a fault was met
            self._pause_s = min(max(self._interval_s, 2 * self._pause_s), MOST_INTERVALS * self._interval_s)
        else:
            self._pause_s = 0.0
        for reason, events in letters.items():
            await self._bury(reason, events, ended, spool)

    async def count(self, calls: Calls, *, in_doubt: bool) -> None:
        """Return when the destination has counted the calls of a batch that was written.

        A refusal for good, or a fault of ours that comes again and again, for neither of which there is a reason, costs
        the counts of the batch and a line in the log: events do not wait for it.
        """
        try:
            await self._attempts.until_done(lambda: self._count(calls, in_doubt))
        except (TooLarge, Refused) as error:
            lost = len(calls.events) + len(calls.dropped)
            log.error("the counts of %d records are refused, and in api_events alone: %s", lost, error)

    async def _call(self, piece: Batch, in_doubt: bool, faults: int) -> Ended:
        try:
            left_out = await self._attempts.until_done(lambda: self._attempt(piece, in_doubt), faults=faults)
        except (TooLarge, Refused) as error:
            return Ended(refused=error)
        self._attempts.counts.batches += 1
        self._attempts.counts.last_delivery_unix_ns = self._now_unix_ns()
        return Ended(left_out)

    async def _attempt(self, piece: Batch, in_doubt: bool) -> Sequence[Event]:
        """One call of the sink, without what has been erased by then."""
        if self._erasures is None:
            return await self._sink.write(piece, in_doubt=in_doubt)
        return await self._erasures.write(piece, lambda kept: self._sink.write(kept, in_doubt=in_doubt))

    async def _count(self, calls: Calls, in_doubt: bool) -> None:
        """Counts name companies, and no users."""
        if self._erasures is not None:
            both = [*calls.events, *calls.dropped]
            if gone := set(map(id, self._erasures.among(both, companies_only=True))):
                calls = calls._replace(
                    events=[event for event in calls.events if id(event) not in gone],
                    dropped=[event for event in calls.dropped if id(event) not in gone],
                )
        await self._sink.count(calls, in_doubt=in_doubt)

    def close(self) -> None:
        if self._erasures is not None:
            self._erasures.close()

    def _smaller(
        self, piece: Batch, refused: TooLarge | Refused, letters: dict[str, list[Event]], *, apart: bool
    ) -> list[Batch]:
        """What of a refused piece is to be tried again; the rest goes to `letters`, by reason."""
        events = piece.events
        if isinstance(refused, Unwritable) and refused.rows:
            for place, reason in refused.rows.items():
                letters.setdefault(reason, []).append(events[place])
            others = [event for place, event in enumerate(events) if place not in refused.rows]
            return [Batch(piece.batch_id, others, piece.part + "w")] if others else []
        if len(events) == 1 or isinstance(refused, Expired) or not apart:
            reason = str(refused)
            if len(events) > 1 and not isinstance(refused, Expired):
                reason += NOT_TOLD_APART
            letters.setdefault(reason, []).extend(events)
            return []
        half = len(events) // 2
        return [
            Batch(piece.batch_id, events[:half], piece.part + "0"),
            Batch(piece.batch_id, events[half:], piece.part + "1"),
        ]

    async def _bury(self, reason: str, events: list[Event], ended: Totals, spool: tuple[int, int]) -> None:
        """Make these dead letters, for one reason."""
        if self._erasures is not None and (erased := self._erasures.among(events)):
            ended.add_events("skipped", erased)
            gone = set(map(id, erased))
            events = [event for event in events if id(event) not in gone]
        letters, sink = self._dead_letters, self._sink.name
        await self._attempts.on_disk(
            lambda: letters.add(sink, reason, events, spool),
            lambda: letters.add(sink, reason, events, spool, content=False),
        )
        self._attempts.told.refused(reason, len(events))
        ended.add_events("dead_lettered", events)
