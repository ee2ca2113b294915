"""What a sink was about to be given, on disk before it is given: a restart repeats the same batch, not a similar one.

One append-only text file per sink. A line is a CRC-32, a space and a JSON object:

    {"journal": id, "version": 1, "cursor": p, "next": n, "waiting": [[p, i], ...], "totals": {...}, "came": [...]}
                                              a checkpoint, first line of every file
    {"plan": n, "begin": p, "end": q, "drop": [...], "defer": [...], "add": [...], "gone": [...], "counts": {...},
     "rows": r, "came": [...], "statuses": [[p, i, s], ...]}
                                              fsynced before the sink is called
    {"done": n, "counts": {...}}              when the sink has it all
    {"adjust": {...}, "again": token}         outcomes that changed later: dead letters that were sent again

Positions are the spool's. `[p, i]` names the event with id `i` (`event_key`) of the record at position p: by id and not
by place, because a budget or new rules may let other events of that record through when it is mapped again. The rows
of a plan are the events of the records in [begin, end) without `drop` (duplicates) and `defer` (calls read from logs
that still wait for their span), plus `add` (waited long enough). `gone` are waiting calls whose span came. `counts` are
the outcomes (exporter.totals) that a plan and its delivery add; both count only when the plan is done, so that a plan
made again after a restart is not counted twice. `came` is what exporter.duplicates.Horizon knows of the events;
`statuses` are those that the access log knew better (exporter.same_call).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from exporter.duplicates import Horizon
from exporter.durable import sync_folder
from exporter.totals import Counts, Totals

log = logging.getLogger(__name__)

Ref = tuple[int, int]  # (spool position, key of the event's transaction id)

VERSION = 1
# A checkpoint replaces the history when the file has grown to this many bytes.
COMPACT_AT_BYTES = 4 << 20
# More than a file of that size can hold.
LOST_PLANS = 1 << 20


def event_key(transaction_id: str) -> int:
    """56 bits of a digest: names an event within its spool record, where a chance clash is one in 10^12."""
    return int.from_bytes(hashlib.blake2b(transaction_id.encode(), digest_size=7).digest(), "big")


class JournalError(Exception):
    """The journal cannot be read or written; the text names the file."""


class Plan(NamedTuple):
    sequence: int
    begin: int
    end: int
    drop: tuple[Ref, ...] = ()  # one entry for each copy
    defer: tuple[Ref, ...] = ()
    add: tuple[Ref, ...] = ()
    gone: frozenset[Ref] = frozenset()
    counts: Counts = {}  # noqa: RUF012 - never changed; a NamedTuple has no default factory

    rows: int = -1  # how many records the sink is to be given; -1: the plan is of a version that did not say

    came: Sequence[Any] = ()  # exporter.duplicates.Horizon.plain() of the events that were taken

    statuses: tuple[tuple[int, int, int], ...] = ()  # place and id of a row, and the status that it is given

    def balance(self, found: int) -> Totals:
        """What keeps the books right when a plan cannot be made again as it was; found: its rows as they are now.

        Its records are damaged, the sink was out of the settings while the spool let go of them, or the settings of
        mapping and sampling have changed.
        """
        balance = Totals()
        if self.rows >= 0 and found != self.rows:
            log.error("a planned batch of %d records is now one of %d", self.rows, found)
            tenant = min(self.counts, default="")
            balance.add(tenant, "failed", max(0, self.rows - found))
            balance.add(tenant, "received", max(0, found - self.rows))
        return balance


class Books(NamedTuple):
    """What the ledger needs of a journal, all of one moment."""

    totals: Totals
    waiting: int  # calls that wait for their span, of the plans that are done
    at_mark: Totals | None

    @property
    def residue(self) -> int:
        """Records that the finished plans do not explain: always 0 (spec/design.md §3 P4)."""
        return self.totals.get("received") - self.totals.ended() - self.waiting

    def received_since_mark(self, tenant: str) -> int:
        """Records from `mark` on that are delivered, or otherwise done with, or wait for their span."""
        if self.at_mark is None:
            return 0
        return self.totals.get("received", tenant) - self.at_mark.get("received", tenant)


class Journal:
    """The delivery state of one sink. Not thread safe; methods that write block for one fdatasync.

    mark: a spool position at which the ledger wants to know the totals; no plan may begin before it and end after it.
    """

    def __init__(self, path: Path, mark: int = 0) -> None:
        self.path = path
        self.mark = mark
        self.at_mark: Totals | None = None  # totals before the first record from `mark` on; None: not so far yet
        self.journal_id = ""
        self.cursor = 0  # every event before this position is delivered, dropped or waiting
        self.next_sequence = 0
        self.waiting: dict[Ref, None] = {}  # in order of arrival
        self.lowered = Totals()  # by so much were outcomes lowered by `adjust`: a counter that only grows adds it
        self.again = ""  # of the dead letters sent again that were counted last
        self.open_plans: list[Plan] = []  # planned, not known to be delivered: oldest first
        self.came = Horizon()  # of all events that were ever planned
        self.totals = Totals()  # of everything done, since the journal was new; replaced, never changed
        self._state = threading.Lock()  # held while these change: the ledger is read on another thread
        self._fd = -1
        self._size = 0
        self._durable = 0
        self._doubtful = False  # whether the file may hold less on the disk than it was given

    def open(self, start: int) -> None:
        """Read what a previous process left; a new journal begins at spool position `start`.

        Raises JournalError when the file exists and holds no checkpoint: then nobody knows what was delivered.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._load()
        else:
            self.journal_id = secrets.token_hex(8)
            self.cursor = start
        self.at_mark = None  # what was replayed is the past
        try:
            self._checkpoint()
        except JournalError as error:
            if not self.path.exists() or self._fd >= 0:
                raise
            log.warning("%s; going on in the old file", error)
            self._go_on_in_the_old()

    def plan(self, plan: Plan) -> None:
        """Durable when this returns: from here on these rows are this batch."""
        self._append(_plan_entry(plan), sync=True)
        self._durable = self.low_water()
        self._apply_plan(plan)

    def done(self, sequence: int, counts: Counts, *, sync: bool) -> None:
        """The sink has the whole of this plan; counts: how its rows ended.

        Need not be synced while more plans come: losing this line in a power cut makes the next process ask the sink,
        which finds the batch there.
        """
        self._append({"done": sequence, "counts": counts}, sync=sync)
        self._apply_done(sequence, counts)
        if sync:
            self._durable = self.low_water()
        if self._size > COMPACT_AT_BYTES and not self.open_plans:
            try:
                self._checkpoint()
            except JournalError as error:  # a full disk: this file serves as well, and is tried again with the next
                log.warning("%s", error)

    def adjust(self, counts: Counts, again: str) -> None:
        """Change the totals of records that had ended otherwise before. again: a name for this change."""
        self._append({"adjust": counts, "again": again}, sync=True)
        with self._state:
            self.again = again
            self.totals, self.lowered = self.totals.plus(counts), self.lowered.plus(_lower(counts))
            if self.at_mark is not None:  # what is received by this came from no spool
                received = {tenant: {"received": outcomes.get("received", 0)} for tenant, outcomes in counts.items()}
                self.at_mark = self.at_mark.plus(received)

    def books(self) -> Books:
        """The state of the ledger at one moment."""
        with self._state:
            unfinished = sum(len(plan.defer) - len(plan.add) - len(plan.gone) for plan in self.open_plans)
            return Books(self.totals, len(self.waiting) - unfinished, self.at_mark)

    def released(self) -> int:
        """The spool may forget everything before this position: a power cut does not bring back plans before it."""
        return self._durable

    def low_water(self) -> int:
        """Everything before this position is done with."""
        oldest_waiting = min((position for position, _ in self.waiting), default=self.cursor)
        oldest_plan = self.open_plans[0] if self.open_plans else None
        added = min((position for plan in self.open_plans for position, _ in plan.add), default=self.cursor)
        return min(oldest_waiting, added, oldest_plan.begin if oldest_plan else self.cursor)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # -- state ---------------------------------------------------------------------------------------------

    def _apply_plan(self, plan: Plan) -> None:
        with self._state:
            self.open_plans.append(plan)
            self.next_sequence = plan.sequence + 1
            self.came.merge(Horizon.of(plan.came))
            for ref in (*plan.add, *plan.gone):
                self.waiting.pop(ref, None)
            self.waiting.update(dict.fromkeys(plan.defer))

    def _apply_done(self, sequence: int, counts: Counts) -> None:
        for index, plan in enumerate(self.open_plans):
            if plan.sequence == sequence:
                with self._state:
                    self.cursor = max(self.cursor, plan.end)
                    if self.at_mark is None and plan.begin >= self.mark:
                        self.at_mark = self.totals
                    self.totals = self.totals.plus(plan.counts).plus(counts)
                    del self.open_plans[index]
                return

    # -- file ----------------------------------------------------------------------------------------------

    def _load(self) -> None:
        seen_checkpoint = damaged = False
        for number, line in enumerate(self.path.read_bytes().split(b"\n"), 1):
            entry = _parse(line)
            if entry is None:
                if line:  # the torn last line of a killed process, or damage: later lines are still true
                    damaged = True
                    log.warning("line %d of %s is unreadable, passed over", number, self.path)
            elif "journal" in entry:
                if entry.get("version") != VERSION:
                    raise JournalError(
                        f"{self.path} is of format {entry.get('version')}, this weighbridge reads {VERSION}: "
                        "it was written by a newer one; start that one, or move the file away to send the spool again"
                    )
                seen_checkpoint = True
                self.journal_id = entry["journal"]
                self.cursor = entry["cursor"]
                self.next_sequence = entry["next"]
                self.waiting = dict.fromkeys(_refs(entry["waiting"]))
                self.open_plans = []
                self.again = entry.get("again", "")
                self.came = Horizon.of(entry.get("came", ()))
                self.totals = Totals(entry["totals"])
                self.lowered = Totals(entry.get("lowered", {}))
            elif "plan" in entry:
                self._apply_plan(
                    Plan(
                        entry["plan"],
                        entry["begin"],
                        entry["end"],
                        _refs(entry["drop"]),
                        _refs(entry["defer"]),
                        _refs(entry["add"]),
                        frozenset(_refs(entry["gone"])),
                        entry["counts"],
                        entry.get("rows", -1),
                        tuple(entry.get("came", ())),
                        tuple((place, key, status) for place, key, status in entry.get("statuses", ())),
                    )
                )
            elif "adjust" in entry:
                self.totals = self.totals.plus(entry["adjust"])
                self.lowered = self.lowered.plus(_lower(entry["adjust"]))
                self.again = entry.get("again", "")
            elif "done" in entry:
                self._apply_done(entry["done"], entry["counts"])
        if damaged:  # a plan may be lost: its number, and so its batch id, must not name other rows
            self.next_sequence += LOST_PLANS
        if not seen_checkpoint:
            raise JournalError(
                f"{self.path} holds no readable checkpoint, so what this sink already has is unknown. "
                "Move the file away to send the whole spool again (events that the store has are recognised)."
            )

    def _checkpoint(self) -> None:
        """Replace the file by one checkpoint and the open plans, atomically: until the end the old one is in force."""
        # `waiting` already includes the open plans' effect on it; replaying a plan changes nothing more.
        checkpoint = {
            "journal": self.journal_id,
            "version": VERSION,
            "cursor": self.cursor,
            "next": self.next_sequence,
            "waiting": list(self.waiting),
            "totals": self.totals.plain(),
            "again": self.again,
            "lowered": self.lowered.plain(),
            "came": self.came.plain(),
        }
        lines = b"".join(map(_line, (checkpoint, *map(_plan_entry, self.open_plans))))
        fresh = self.path.with_suffix(".new")
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            try:
                _write(fd, lines)
                os.fdatasync(fd)
                os.rename(fresh, self.path)
            except OSError:
                os.close(fd)
                raise
            self.close()
            self._fd, self._size = fd, len(lines)
            self._doubtful = True  # until its name is durable
            sync_folder(self.path.parent)
        except OSError as error:
            raise JournalError(f"{self.path} cannot be written anew: {error.strerror}") from error
        self._doubtful = False
        self._durable = self.low_water()

    def _go_on_in_the_old(self) -> None:
        """A full disk has no room for a new file, but a started one must deliver for there to be room again."""
        content = self.path.read_bytes()
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        self._size = content.rfind(b"\n") + 1
        os.ftruncate(self._fd, self._size)  # a torn last line must not spoil the next one

    def _append(self, entry: dict[str, Any], *, sync: bool) -> None:
        if self._doubtful:
            self._checkpoint()
        line = _line(entry)
        try:
            _write(self._fd, line)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)  # a half line must not spoil the next one
            raise JournalError(f"{self.path} cannot be written: {error.strerror}") from error
        if sync:
            try:
                os.fdatasync(self._fd)
            except OSError as error:
                # Another sync of this file may succeed without writing anything: all of it goes into a new one.
                self._doubtful = True
                raise JournalError(f"{self.path} cannot be synced: {error.strerror}") from error
        self._size += len(line)


def _lower(counts: Counts) -> Counts:
    """What of a change lowers, as positive numbers."""
    return {
        tenant: {outcome: -count for outcome, count in outcomes.items() if count < 0}
        for tenant, outcomes in counts.items()
    }


def _line(entry: dict[str, Any]) -> bytes:
    text = orjson.dumps(entry)
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _write(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _plan_entry(plan: Plan) -> dict[str, Any]:
    return {
        "plan": plan.sequence,
        "begin": plan.begin,
        "end": plan.end,
        "drop": plan.drop,
        "defer": plan.defer,
        "add": plan.add,
        "gone": sorted(plan.gone),
        "counts": plan.counts,
        "rows": plan.rows,
        "came": plan.came,
        "statuses": plan.statuses,
    }


def _refs(pairs: list[list[int]]) -> tuple[Ref, ...]:
    return tuple((position, index) for position, index in pairs)


def _parse(line: bytes) -> dict[str, Any] | None:
    crc, _, text = line.partition(b" ")
    try:
        if int(crc, 16) != zlib.crc32(text):
            return None
        entry = orjson.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
