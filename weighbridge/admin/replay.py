"""Dead letters sent again while the bridge runs: asked for on the admin port, sink by sink, a parcel at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from exporter.again import parcels_of
from exporter.deadletter import DeadLetters, Letter
from exporter.delivery import Delivery
from exporter.errors import Retryable
from exporter.forward import RawPipeline
from exporter.pipeline import Pipeline
from exporter.refused import RefusedRequests

log = logging.getLogger(__name__)

Wanted = Callable[[Mapping[str, Any]], bool]


class Replays:
    """At most one replay a sink at a time, else two would send the same letters. None waits for another sink's."""

    def __init__(
        self,
        letters: DeadLetters,
        refused: RefusedRequests,
        pipelines: Mapping[str, Delivery],
        returned: Callable[[Wanted], Awaitable[int]],
    ) -> None:
        """returned: sends requests that could not be mapped through the spool again; how many records of them."""
        self._returned = returned
        self._letters = letters
        self._refused = refused
        self._pipelines = pipelines
        self._busy: set[str] = set()

    @property
    def busy(self) -> bool:
        """Whether an earlier replay still waits for a sink: the next one passes that over."""
        return bool(self._busy)

    async def replay(self, reason: str, since_unix_ns: int) -> int:
        """Send matching dead letters to their sinks again; how many records were taken this time.

        A sink whose earlier replay still waits for it is passed over. reason: in lower case.
        """
        free = [name for name in self._pipelines if name not in self._busy]

        def wanted(entry: Mapping[str, Any]) -> bool:
            return entry["dead_lettered_unix_ns"] >= since_unix_ns and reason in str(entry["reason"]).lower()

        self._busy.update(free)
        taken = await asyncio.gather(
            *(self._of_sink(name, wanted) for name in free), self._returned(wanted), return_exceptions=True
        )
        if not self._busy and any(taken):
            try:
                await asyncio.to_thread(self._letters.compact)
            except OSError as error:  # the next replay gives the room back
                log.warning("the file of dead letters keeps its size: %s", error.strerror)
        for failure in taken:
            if isinstance(failure, BaseException) and not isinstance(failure, Retryable):
                raise failure
        return sum(count for count in taken if isinstance(count, int))

    async def _of_sink(self, name: str, wanted: Wanted) -> int:
        try:
            pipeline = self._pipelines[name]
            if isinstance(pipeline, RawPipeline):
                return await self._requests(name, pipeline, wanted)
            assert isinstance(pipeline, Pipeline)
            return await self._events(name, pipeline, wanted)
        except Retryable as error:
            log.warning("dead letters of sink %s were not sent again: %s", name, error)
            return 0
        finally:
            self._busy.discard(name)

    async def _events(self, name: str, pipeline: Pipeline, wanted: Wanted) -> int:
        def matches(letter: Letter) -> bool:
            return letter.entry["sink"] == name and wanted(letter.entry)

        found = parcels_of(self._letters.letters(), matches)
        taken = 0
        while parcel := await asyncio.to_thread(next, found, None):
            taken += await pipeline.deliver_again(parcel)
        return taken

    async def _requests(self, name: str, pipeline: RawPipeline, wanted: Wanted) -> int:
        kept = await asyncio.to_thread(lambda: list(self._refused.read()))
        return await pipeline.deliver_again([about for about in kept if about["sink"] == name and wanted(about)])
