"""Which sink's code runs in a lane, in memory that the bridge reads: what stops the lane there is the sink's doing.

Behind the numbers of `weighbridge.progress`: the sink that the event loop is in (its place here plus one, 0: none), and
for each its name, the batch that it was given last (0: something else), a thread that works for it (0: none), and how
often work began or ended in one.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple

from exporter.sink import Batch, Calls
from exporter.threads import watched
from weighbridge.progress import SIZE, Progress

_RUNNING = struct.Struct("<Q")
_RUNNING_AT = 32
_SINK = struct.Struct("<64s3Q")
_FIRST_AT = 64
MOST = (SIZE - _FIRST_AT) // _SINK.size  # sinks that are watched; more than anybody has
_CALLS = ("open", "write", "count", "existing", "send", "close")


class Working(NamedTuple):
    """A sink with work in a thread."""

    sink: str
    batch: int
    thread: int
    number: int  # of this piece of work: the next one has another


class Marks:
    """The same pages in both processes; the lane writes them."""

    def __init__(self, progress: Progress) -> None:
        self._memory = progress.memory
        self._sinks: dict[str, _Mark] = {}

    def watch(self, sink: Any) -> Any:
        """The sink, every call of which is marked from now on."""
        mark = self._sinks.get(sink.name)
        if mark is None and len(self._sinks) < MOST:
            mark = self._sinks[sink.name] = _Mark(self._memory, len(self._sinks), sink.name)
        if mark is not None:
            for name in _CALLS:
                if hasattr(sink, name):
                    setattr(sink, name, mark.around(getattr(sink, name)))
        return sink

    # -- for the bridge ------------------------------------------------------------------------------------

    def running(self) -> tuple[str, int] | None:
        """The sink that the event loop is in, and its batch."""
        (place,) = _RUNNING.unpack_from(self._memory, _RUNNING_AT)
        return self._read(place - 1)[:2] if 0 < place <= MOST else None

    def working(self) -> list[Working]:
        """Those that have work in threads."""
        found = itertools.takewhile(lambda one: one.sink, map(self._read, range(MOST)))
        return [one for one in found if one.thread]

    def _read(self, place: int) -> Working:
        name, *numbers = _SINK.unpack_from(self._memory, _FIRST_AT + place * _SINK.size)
        return Working(name.rstrip(b"\0").decode(), *numbers)


class _Mark:
    """Of one sink, by name: also of those that have it one after the other."""

    def __init__(self, memory: Any, place: int, name: str) -> None:
        self._memory = memory
        self._place = place
        self._name = name.encode()
        self._batch = self._number = 0
        self._threads: dict[int, None] = {}  # that work, the oldest first
        self._write()

    def around(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The same call, marked."""

        async def marked(*given: Any, **named: Any) -> Any:
            first = given[0] if given else None
            self._batch = first.batch_id if isinstance(first, Batch | Calls) else 0
            self._write()
            before = watched.set(self._tell)
            try:
                return await _Steps(self, call(*given, **named))
            finally:
                watched.reset(before)

        return marked

    def enter(self) -> int:
        """The event loop comes to this sink; which was there before."""
        (before,) = _RUNNING.unpack_from(self._memory, _RUNNING_AT)
        _RUNNING.pack_into(self._memory, _RUNNING_AT, self._place + 1)
        return int(before)

    def leave(self, before: int) -> None:
        _RUNNING.pack_into(self._memory, _RUNNING_AT, before)

    def _tell(self, thread: int, begins: bool) -> None:
        if begins:
            self._threads[thread] = None
        else:
            self._threads.pop(thread, None)
        self._number += 1
        self._write()

    def _write(self) -> None:
        thread = next(iter(self._threads), 0)
        at = _FIRST_AT + self._place * _SINK.size
        _SINK.pack_into(self._memory, at, self._name, self._batch, thread, self._number)


class _Steps:
    """Something to wait for, whose every step on the event loop is marked."""

    def __init__(self, mark: _Mark, work: Awaitable[Any]) -> None:
        self._mark = mark
        self._work = work

    def __await__(self) -> Generator[Any, Any, Any]:
        steps: Any = self._work.__await__()
        given: Any = None
        raised: BaseException | None = None
        while True:
            before = self._mark.enter()
            try:
                waits = steps.send(given) if raised is None else steps.throw(raised)
            except StopIteration as end:
                self._mark.leave(before)
                return end.value
            except (SystemExit, KeyboardInterrupt):  # is the end of the process: whose doing it was stays to be seen
                raise
            except BaseException:
                self._mark.leave(before)
                raise
            self._mark.leave(before)
            try:
                given, raised = (yield waits), None
            except BaseException as error:  # for the sink to see, a cancellation above all
                given, raised = None, error
