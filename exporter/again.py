"""Dead letters sent again: each counts once, whatever kills the process and whatever is asked for meanwhile.

    parcel of letters -> its file, fsynced -> sink, as a batch in doubt -> journal (counts and token) -> letters marked
                                                                                            -> the file deleted

A parcel is finished before another one is begun, by the next process if need be, with the same rows and the same batch
ids. The journal knows the token of the parcel that it counted last, so that a parcel is never counted twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

from exporter.attempts import Attempts
from exporter.deadletter import DeadLetters, Letter, event_of
from exporter.durable import replace_file, sync_folder
from exporter.errors import Retryable
from exporter.journal import Journal
from exporter.sink import Batch
from exporter.totals import Counts, Totals
from exporter.writer import Writer
from mapping.event import Event

log = logging.getLogger(__name__)

# Of a parcel: in memory and in its file at a time.
MOST_LETTERS = 2_000
MOST_BYTES = 16 << 20

Existing = Callable[[list[Event], Collection[int]], Awaitable[set[str]]]


class Parcel(NamedTuple):
    token: str
    letters: list[Letter]


class Again:
    """Of one sink. path: the file of the parcel under way."""

    def __init__(
        self,
        path: Path,
        journal: Journal,
        letters: DeadLetters,
        writer: Writer,
        attempts: Attempts,
        existing: Existing,
        day_of: Callable[[Event], int],
    ) -> None:
        self._path = path
        self._journal = journal
        self._letters = letters
        self._writer = writer
        self._attempts = attempts
        self._existing = existing
        self._day_of = day_of

    async def finish(self) -> None:
        """Go on with the parcel that an earlier process had begun."""
        parcel = await asyncio.to_thread(self._load)
        if parcel is not None:
            await self._send(parcel)

    async def send(self, letters: Sequence[Letter]) -> int:
        """Send these once more; how many the destination took this time. Those it refuses are dead letters again.

        Raises Retryable when the disk has no room for the parcel: then nothing has begun, and the sink goes on.
        """
        # Some may have been sent between the reading of the file and now, in a parcel that an earlier process began.
        left = await asyncio.to_thread(self._letters.still_dead, letters)
        if not left:
            return 0
        parcel = Parcel(secrets.token_hex(8), left)
        try:
            await asyncio.to_thread(self._keep, parcel)
        except OSError as error:
            raise Retryable(f"the disk does not take what is to be sent again: {error.strerror}") from error
        return await self._send(parcel)

    async def _send(self, parcel: Parcel) -> int:
        taken = 0
        events, copies = await asyncio.to_thread(_events_of, parcel.letters)
        if self._journal.again != parcel.token:
            ended = await self._deliver(parcel.token, list(events.values()))
            for transaction_id, count in copies.items():  # it was refused more than once: these end with it
                ended.add(events[transaction_id].tenant, "deduplicated", count - 1)
            taken = ended.get("delivered")
            moved = moved_from_dead(self._journal.totals, ended)
            await self._attempts.on_disk(lambda: self._journal.adjust(moved, parcel.token))
        sent = [letter for letter in parcel.letters if letter.entry["transaction_id"] in events]
        await self._attempts.on_disk(lambda: self._letters.delivered(sent))
        await self._attempts.on_disk(self._forget)
        return taken

    async def _deliver(self, token: str, events: list[Event]) -> Totals:
        """Deliver the events of a parcel; where they ended this time."""
        ended = Totals()
        days: dict[int, list[Event]] = {}
        for event in events:
            days.setdefault(self._day_of(event), []).append(event)
        batches = [Batch(_batch_id(token, day), rows) for day, rows in sorted(days.items())]
        stored = await self._existing(events, [batch.batch_id for batch in batches])
        for batch in batches:
            missing = [event for event in batch.events if event.transaction_id not in stored]
            ended.add_events("deduplicated", (event for event in batch.events if event.transaction_id in stored))
            if missing:
                await self._writer.write(batch._replace(events=missing), ended, (0, 0), in_doubt=True)
        return ended

    def _keep(self, parcel: Parcel) -> None:
        replace_file(self._path, orjson.dumps({"token": parcel.token, "letters": list(map(list, parcel.letters))}))

    def _load(self) -> Parcel | None:
        try:
            kept = orjson.loads(self._path.read_bytes())
            return Parcel(kept["token"], [Letter(*letter) for letter in kept["letters"]])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            log.error("%s is unreadable, passed over: dead letters that were being sent again may be twice", self._path)
            self._path.unlink()
            return None

    def _forget(self) -> None:
        self._path.unlink(missing_ok=True)
        sync_folder(self._path.parent)


def moved_from_dead(totals: Totals, ended: Totals) -> Counts:
    """What a replay changes in the books; ended: how its records did. Those that are dead letters again stay so.

    A letter may be older than the books, whose file was moved away: then it is received by them now. So no count of
    dead letters is ever below zero.
    """
    changed: Counts = {}
    for tenant, outcomes in ended.plain().items():
        taken = {outcome: count for outcome, count in outcomes.items() if outcome != "dead_lettered" and count}
        left = sum(taken.values())
        moved = min(left, max(0, totals.get("dead_lettered", tenant)))
        changed[tenant] = {**taken, "dead_lettered": -moved, "replayed": moved}
        if left > moved:
            changed[tenant]["received"] = left - moved
    return changed


def parcels_of(letters: Iterable[Letter], wanted: Callable[[Letter], bool]) -> Iterator[list[Letter]]:
    """The wanted letters, as many at a time as may be sent together."""
    parcel: list[Letter] = []
    size, last = 0, 0
    for letter in letters:
        length, last = letter.offset - last, letter.offset  # of the line before, and that is near enough
        if wanted(letter):
            size += length
            parcel.append(letter)
            if len(parcel) >= MOST_LETTERS or size >= MOST_BYTES:
                yield parcel
                parcel, size = [], 0
    if parcel:
        yield parcel


def _events_of(letters: Sequence[Letter]) -> tuple[dict[str, Event], Counter[str]]:
    """Events by id, and how many of each became dead letters: one that a restart added again is the same one."""
    events: dict[str, Event] = {}
    seen: dict[str, set[tuple[int, ...]]] = {}
    for _, entry in letters:
        try:
            event = event_of(entry)
        except ValueError:  # it stays where it is
            continue
        events[event.transaction_id] = event
        seen.setdefault(event.transaction_id, set()).add(tuple(entry.get("spool", ())))
    return events, Counter({transaction_id: len(places) for transaction_id, places in seen.items()})


def _batch_id(token: str, day: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{token}/{day}".encode(), digest_size=8).digest(), "big")
