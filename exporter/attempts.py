"""Trying until it works: what every delivery does about a destination that refuses, and about a disk that does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from exporter.errors import Fault, Refused, Retryable, SinkError, TooLarge, Unauthorised, fault_of
from exporter.journal import JournalError
from exporter.settings import RetrySettings
from exporter.sink_log import SinkLog

T = TypeVar("T")

# A journal or dead letter that cannot be written is tried again after this.
DISK_PAUSE_S = 1.0
# So often in a row may a call meet a fault of ours before its rows are held to be the cause.
MOST_FAULTS = 3


def wait_s(settings: RetrySettings, attempt: int, error: SinkError, uniform: float | None = None) -> float:
    """Seconds to wait before the next attempt.

    attempt: 1 after the first failure. uniform: a number in [0, 1) in place of chance.
    A destination's Retry-After is honoured up to 120 intervals (10 minutes by default): beyond that it is more likely a
    mistake than a wish.
    """
    spread = (random.random() if uniform is None else uniform) * 2 - 1
    if isinstance(error, Unauthorised):
        return settings.unauthorised_interval_s * (1 + settings.jitter * spread)
    backoff = min(settings.max_interval_s, settings.initial_interval_s * settings.multiplier ** min(attempt - 1, 64))
    backoff *= 1 + settings.jitter * spread
    if isinstance(error, Retryable) and error.retry_after_s is not None:
        return max(backoff, min(error.retry_after_s, settings.max_interval_s * 120))
    return backoff


@dataclass
class DeliveryCounts:
    """Of this process, over all pipelines that a sink had; the totals of the journal have what ended where."""

    batches: int = 0
    retries: int = 0
    faults: int = 0  # of these, exceptions that no sink should raise
    last_error: str = ""
    last_delivery_unix_ns: int = 0
    unauthorised: bool = False


class Attempts:
    """Waits between the attempts of one sink, counted, and logged with restraint.

    However many calls run at once, a destination in trouble is tried by one at a time: the others wait for it.
    """

    def __init__(self, sink: str, retry: RetrySettings, before: Attempts | None = None) -> None:
        """before: of the pipeline that this sink had before; counters go on, and its state is known."""
        self.counts: DeliveryCounts = before.counts if before else DeliveryCounts()
        self.told: SinkLog = before.told if before else SinkLog(sink)
        self._retry = retry
        self._trying_again = asyncio.Lock()

    async def until_done(self, attempt: Callable[[], Awaitable[T]], *, faults: int = MOST_FAULTS) -> T:
        """What `attempt` returns, as soon as it does not fail. Raises TooLarge and Refused at once.

        faults: after so many faults of ours in a row it is TooLarge that is raised: perhaps fewer rows bring none
        about; 0: they are tried again without end, as a destination that is away is.
        """
        async with self._trying_again:
            pass
        try:
            return self._note_success(await attempt())
        except Exception as error:
            failed = self._note_failure(error)
        failures, in_a_row = 1, 0
        queued = self._trying_again.locked()
        async with self._trying_again:
            while True:
                in_a_row = in_a_row + 1 if isinstance(failed, Fault) else 0
                if faults and in_a_row >= faults:
                    raise TooLarge(str(failed)) from failed.__cause__
                if not queued:  # else somebody has waited for us, and succeeded
                    await asyncio.sleep(wait_s(self._retry, failures, failed))
                queued = False
                try:
                    return self._note_success(await attempt())
                except Exception as error:
                    failures += 1
                    failed = self._note_failure(error)

    def _note_success(self, result: T) -> T:
        self.counts.last_error = ""
        self.counts.unauthorised = False
        self.told.well()
        return result

    def _note_failure(self, raised: Exception) -> SinkError:
        """What it means, counted and told. Raises what shall not be tried again."""
        if isinstance(raised, (TooLarge, Refused)):
            raise raised
        error = fault_of(raised)
        if error is not raised:
            error.__cause__ = raised
        self.counts.retries += 1
        self.counts.faults += isinstance(error, Fault)
        self.counts.last_error = str(error)
        self.counts.unauthorised = isinstance(error, Unauthorised)
        self.told.failed(error)
        return error

    async def on_disk(self, write: Callable[[], None], otherwise: Callable[[], None] | None = None) -> None:
        """Run `write` in a thread until it succeeds: a full disk holds up this sink, and is not the end of it.

        otherwise: in its place after some tries, when it needs less room.
        """
        failures = 0
        while True:
            running = asyncio.ensure_future(asyncio.to_thread(write))
            try:
                await asyncio.shield(running)
            except asyncio.CancelledError:
                await asyncio.wait([running])  # the next pipeline opens the same file
                raise
            except (OSError, JournalError) as error:
                failures += 1
                self.counts.last_error = str(error)
                self.told.disk_failed(error)
                if otherwise is not None and failures >= MOST_FAULTS:
                    write = otherwise
                await asyncio.sleep(DISK_PAUSE_S)
            else:
                if failures:
                    self._note_success(None)
                return


def give_up(done: asyncio.Future[int]) -> None:
    """Tell who waits for dead letters to be sent again that this pipeline will not do it any more."""
    if not done.done():
        done.set_exception(Retryable("the sink was stopped; try again"))
