"""The console's way to the store: a few connections, each question with a limit of time that is told when it is hit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from exporter.clickhouse.queries import Statement
from exporter.clickhouse.reader import Result, StoreError, StoreReader
from exporter.clickhouse.settings import Settings as StoreSettings

_OF_A_SERVER: Final = 4  # questions at a time; the embedded engine has its own number, for all readers
# What a question of a page may take, and one in SQL: a person waits this long and no longer; a page is shown meanwhile.
QUESTION_S: Final = 20.0
SQL_S: Final = 30.0
_MOST_WAITING: Final = 64  # questions in the queue; more are refused, so that pages left open cannot pile up
_MEMORY_LIMIT, _TIMEOUT = "code: 241", "code: 159"  # as the engine words them


Asked = TypeVar("Asked")


class Unanswered(Exception):
    """The store gave no answer. The text is a sentence for people; `limit` when a limit was hit."""

    def __init__(self, said: str, *, limit: bool = False, wrong: bool = False) -> None:
        """wrong: the question itself cannot be asked so."""
        super().__init__(said)
        self.limit = limit
        self.wrong = wrong


class Lanes:
    """Room for questions that run at a time. Long ones leave a lane to others, where there is more than one."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.free = asyncio.Semaphore(count)
        self.long = asyncio.Semaphore(max(1, count - 1))


class Store:
    """Asks from its own threads, so that the bridge goes on meanwhile."""

    def __init__(self, settings: Callable[[], StoreSettings | None]) -> None:
        """settings: of the sink that can be asked, as they are now; None when there is none."""
        self._settings = settings
        self._lanes = Lanes(0)
        self._idle: list[tuple[StoreSettings, float, StoreReader]] = []
        self._waiting = 0
        logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # it logs what it raises

    @property
    def there(self) -> bool:
        return self._settings() is not None

    async def ask(self, statement: Statement, limit_s: float = QUESTION_S, *, long: bool = False) -> Result:
        """The answer to one statement. long: one that may take seconds, so that others go before. Raises Unanswered."""
        return await self.ask_all(lambda reader: reader.run(statement), limit_s, long=long)

    async def ask_all(self, question: Callable[[StoreReader], Asked], limit_s: float, *, long: bool = False) -> Asked:
        """What a question finds that asks with a reader, once or several times. Raises Unanswered."""
        settings = self._settings()
        if settings is None:
            raise Unanswered(
                "no sink of type clickhouse is configured, so there is nothing to ask; add one to exporter.sinks"
            )
        if self._waiting >= _MOST_WAITING:
            raise Unanswered("too many questions wait for the store: try again in a moment", limit=True)
        lanes, held = self._lanes_of(settings), list[asyncio.Semaphore]()
        self._waiting += 1
        try:
            for lane in (lanes.long, lanes.free) if long else (lanes.free,):
                await lane.acquire()
                held.append(lane)
        except asyncio.CancelledError:
            for lane in held:
                lane.release()
            raise
        finally:
            self._waiting -= 1
        return await self._in_thread(settings, question, limit_s, held)

    def _lanes_of(self, settings: StoreSettings) -> Lanes:
        """As many as the store answers at a time; what was asked before they changed ends beside them."""
        count = settings.engine.readers if settings.server is None else _OF_A_SERVER
        if self._lanes.count != count:
            self._lanes = Lanes(count)
        return self._lanes

    def _in_thread(
        self,
        settings: StoreSettings,
        question: Callable[[StoreReader], Asked],
        limit_s: float,
        held: Sequence[asyncio.Semaphore],
    ) -> asyncio.Future[Asked]:
        """A thread for the question, which the process does not wait for at its end. held: lanes, until it ends."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Asked] = loop.create_future()

        def done(tell: Callable[[], None]) -> None:
            for lane in held:
                lane.release()
            if not answer.cancelled():
                tell()

        def ask() -> None:
            try:
                tell = partial(answer.set_result, self._ask(settings, question, limit_s))
            except Exception as error:
                tell = partial(answer.set_exception, error)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(done, tell)

        threading.Thread(target=ask, name="console question", daemon=True).start()
        return answer

    def _ask(self, settings: StoreSettings, question: Callable[[StoreReader], Asked], limit_s: float) -> Asked:
        for again in (True, False):
            began = time.monotonic()
            reader, fresh = self._reader(settings, limit_s)
            try:
                if fresh:
                    reader.open()
                result = question(reader)
            except StoreError as error:
                reader.close()
                said, took_s = str(error), time.monotonic() - began
                if took_s >= limit_s or _TIMEOUT in said.lower():
                    raise Unanswered(
                        f"this took longer than {limit_s:.0f} seconds and was stopped: ask about a shorter time",
                        limit=True,
                    ) from error
                if _MEMORY_LIMIT in said.lower():
                    raise Unanswered(
                        "this needs more memory than a question may use: ask about a shorter time or for less",
                        limit=True,
                    ) from error
                if "does not answer" in said and not fresh and again:
                    continue  # its engine was started anew since
                raise Unanswered(said, wrong="code: " in said.lower()) from error
            self._idle.append((settings, limit_s, reader))
            return result
        raise AssertionError("one of the two tries returns or raises")

    def _reader(self, settings: StoreSettings, limit_s: float) -> tuple[StoreReader, bool]:
        """A connection that nobody uses, and whether it is still to be opened."""
        kept, found = [], None
        while self._idle:
            one = self._idle.pop()
            if one[0] != settings:
                one[2].close()
            elif found is None and one[1] == limit_s:
                found = one[2]
            else:
                kept.append(one)
        self._idle += kept
        return (found, False) if found else (StoreReader(settings, limit_s, own_engine=False), True)
