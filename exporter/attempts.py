"""Trying until it works: what every delivery does about a destination that refuses, and about a disk that does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from exporter.errors import Rejected, Retryable, SinkError, TooLarge, Unauthorised
from exporter.journal import JournalError
from exporter.retry import wait_s
from exporter.settings import RetrySettings

log = logging.getLogger(__name__)
T = TypeVar("T")

# Repeats of one failure are logged at most this often per sink; the counters have the rest.
LOG_INTERVAL_S = 10.0
# A journal or dead letter that cannot be written is tried again after this.
DISK_PAUSE_S = 1.0


@dataclass
class DeliveryCounts:
    """Of this process; the totals of the journal have what ended where."""

    batches: int = 0
    retries: int = 0
    last_error: str = ""
    last_delivery_unix_ns: int = 0
    unauthorised: bool = False


class Attempts:
    """Waits between the attempts of one sink, counted, and logged with restraint.

    However many calls run at once, a destination in trouble is tried by one at a time: the others wait for it.
    """

    def __init__(self, sink: str, retry: RetrySettings) -> None:
        self.counts = DeliveryCounts()
        self._sink = sink
        self._retry = retry
        self._logged: dict[str, float] = {}
        self._trying_again = asyncio.Lock()

    async def until_done(self, what: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` returns, as soon as it does not fail. Raises TooLarge and Rejected at once."""
        async with self._trying_again:
            pass
        try:
            return self._well(await attempt())
        except (TooLarge, Rejected):
            raise
        except SinkError as first:
            failed = first
        failures, wait = 1, self._failed(what, failed, 1)
        queued = self._trying_again.locked()
        async with self._trying_again:
            if queued:  # somebody has waited for us, and succeeded
                wait = 0.0
            while True:
                await asyncio.sleep(wait)
                try:
                    return self._well(await attempt())
                except (TooLarge, Rejected):
                    raise
                except SinkError as error:
                    failures += 1
                    wait = self._failed(what, error, failures)

    def _well(self, result: T) -> T:
        self.counts.last_error = ""
        self.counts.unauthorised = False
        return result

    def _failed(self, what: str, error: SinkError, failures: int) -> float:
        """Count it; the seconds to wait."""
        self.counts.retries += 1
        self.counts.last_error = str(error)
        self.counts.unauthorised = isinstance(error, Unauthorised)
        wait = wait_s(self._retry, failures, error)
        self._warn(what, error, wait)
        return wait

    async def on_disk(self, write: Callable[[], None]) -> None:
        """Run `write` in a thread until it succeeds: a full disk holds up this sink, and is not the end of it."""
        while True:
            running = asyncio.ensure_future(asyncio.to_thread(write))
            try:
                await asyncio.shield(running)
            except asyncio.CancelledError:
                await asyncio.wait([running])  # the next pipeline opens the same file
                raise
            except (OSError, JournalError) as error:
                self.counts.last_error = str(error)
                self._warn("disk", error, DISK_PAUSE_S)
                await asyncio.sleep(DISK_PAUSE_S)
            else:
                return

    def _warn(self, what: str, error: Exception, wait: float) -> None:
        now = time.monotonic()
        if now - self._logged.get(what, -LOG_INTERVAL_S) >= LOG_INTERVAL_S:
            self._logged[what] = now
            # Refused credentials are mended by nobody but the operator.
            level = logging.ERROR if isinstance(error, Unauthorised) else logging.WARNING
            log.log(
                level,
                "sink %s: %s failed, again in %.1f s: %s",
                self._sink,
                what,
                wait,
                error,
                extra={"sink": self._sink, "action": what},
            )


def give_up(done: asyncio.Future[int]) -> None:
    """Tell who waits for dead letters to be sent again that this pipeline will not do it any more."""
    if not done.done():
        done.set_exception(Retryable("the sink was stopped; try again"))
