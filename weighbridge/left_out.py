"""What of a request cannot be mapped: found among its records, left out of it, and kept for a look."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Iterable
from pathlib import Path

from mapping.mapped import Mapped
from mapping.otlp.cut import cut, encoded, singles
from mapping.otlp.records import Decoded
from receiver.spool import Stored
from weighbridge.set_aside import SetAside
from weighbridge.unmappable import MAX_BYTES, RETURNED, keep

log = logging.getLogger(__name__)

MapSteps = Callable[[Decoded, int, str], Generator[None, None, Mapped]]


class LeftOutKeeper:
    """Of one lane. max_bytes: that the folder may hold; the settings may change it."""

    def __init__(
        self,
        folder: Path,
        read: Callable[[int], Awaitable[Stored | None]],
        steps: MapSteps,
        sinks: Callable[[], Iterable[str]],
    ) -> None:
        """read: a request by its position. sinks: that count what is left out as failed."""
        self.max_bytes = MAX_BYTES
        self.not_kept = 0  # requests for which there was no room, since the start
        self._folder = folder
        self._read = read
        self._steps = steps
        self._sinks = sinks

    async def without_fatal(self, aside: SetAside, stored: Stored, decoded: Decoded) -> tuple[Decoded, int]:
        """The request without the records that stop this process, which are kept; and how many they are."""
        left_out = await aside.look(stored, decoded)
        bad = cut(decoded, left_out.records, keep=True)
        if left_out.why:  # it is new, also that nothing is to be left out
            if bad.accepted:
                # One byte on, where no request is: others of this one may fail by exceptions, and are kept too.
                beside = stored._replace(position=stored.position + 1)
                await self._keep_part(beside, bad, left_out.why)
            await asyncio.to_thread(aside.remember, stored.position, left_out)
        if not bad.accepted:
            return decoded, 0
        return cut(decoded, left_out.records, keep=False), bad.accepted

    async def without_failing(
        self, position: int, decoded: Decoded, received_unix_ns: int, tenant: str, error: Exception
    ) -> tuple[Decoded | None, int]:
        """What is left of a request whose mapping raised, None for nothing; and how many records are kept instead."""
        bad = await self._failing(decoded, received_unix_ns, tenant)
        if 0 < len(bad) < decoded.accepted:
            await self._keep_failing(position, cut(decoded, bad, keep=True), error)
            return cut(decoded, bad, keep=False), len(bad)
        await self.keep_all(position, error, decoded.accepted)
        return None, decoded.accepted

    async def keep_all(self, position: int, error: Exception, records: int) -> None:
        """Keep a request that cannot be mapped as a file that `weighbridge map` reads, and say where."""
        log.error("a request could not be mapped", exc_info=error)
        stored = await self._read(position)
        if stored is not None:
            await self._keep(stored, f"{type(error).__name__}: {error}", records)

    async def _failing(self, decoded: Decoded, received_unix_ns: int, tenant: str) -> set[int]:
        """The numbers of the records that cannot be mapped, each for itself. What this counts is thrown away."""
        bad = set()
        for number, one in enumerate(singles(decoded)):
            try:
                for _ in self._steps(one, received_unix_ns, tenant):
                    await asyncio.sleep(0)
            except Exception:
                bad.add(number)
            await asyncio.sleep(0)
        return bad

    async def _keep_failing(self, position: int, part: Decoded, error: Exception) -> None:
        log.error("%d records of a request could not be mapped", part.accepted, exc_info=error)
        stored = await self._read(position)
        if stored is not None:
            await self._keep_part(stored, part, f"{type(error).__name__}: {error}")

    async def _keep_part(self, stored: Stored, part: Decoded, why: str) -> None:
        """As `keep_all`, for some of a request's records, as a request of their own."""
        log.error("%d records of a request are set aside; one %s", part.accepted, why)
        returned = RETURNED if stored.entry.content_type.endswith(RETURNED) else ""
        entry = stored.entry._replace(
            body=encoded(part), content_type=f"application/x-protobuf{returned}", content_encoding=""
        )
        await self._keep(stored._replace(entry=entry), why, part.accepted)

    async def _keep(self, stored: Stored, reason: str, records: int) -> None:
        sinks = list(self._sinks())
        path = await asyncio.to_thread(keep, self._folder, stored, reason, records, sinks, self.max_bytes)
        if path is None:
            self.not_kept += 1
            log.error("there is no room to keep it in %s: there are too many that cannot be mapped", self._folder)
            return
        log.error("it is kept for `weighbridge map %s` and `weighbridge deadletter replay`", path)
