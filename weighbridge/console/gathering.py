"""What a page asks, side by side: its answer whole for programs, and for people as far as it is known by now.

A page is shown at once, whatever its questions take: parts that are not known yet, or met a limit, say so in their
place, and the page is asked for them again under the token of what is still being asked.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Hashable, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

from weighbridge.console.store import Unanswered

FIRST_PAINT_S: Final = 0.4  # that a page waits for its parts before it is shown without them
NEXT_S: Final = 5.0  # that it waits for more of them, when it is asked again
_NEIGHBOURS_S: Final = 0.1  # after the first of these, for others that are about to come
_KEPT_S: Final = 30.0  # that parts are kept for somebody who may come back
_MOST_KEPT: Final = 64  # pages at a time whose parts are kept; of more the oldest are given up
COMING: Final = "Still counting …"

T = TypeVar("T")


class SoFar(NamedTuple, Generic[T]):
    """An answer, with what stands in place of those of its parts that are missing; comes: whether any still comes."""

    answer: T
    missing: Mapping[str, str]
    comes: bool


class Gathering(Generic[T]):
    """The parts of one answer, each a question of its own. To be asked for whole, or waited for and looked at."""

    def __init__(self, make: Callable[[Mapping[str, Any]], T], parts: Mapping[str, Coroutine[Any, Any, Any]]) -> None:
        """make: the answer from the parts that are known, by name."""
        self._make = make
        self._tasks = {name: asyncio.ensure_future(part) for name, part in parts.items()}
        for task in self._tasks.values():
            task.add_done_callback(seen)

    async def whole(self) -> T:
        """The answer with all of its parts. Raises Unanswered."""
        try:
            await asyncio.gather(*self._tasks.values())
        except BaseException:
            self.give_up()
            raise
        return self._make({name: task.result() for name, task in self._tasks.items()})

    async def wait(self, most_s: float) -> None:
        """Until all parts are known, or for so long."""
        await asyncio.wait(self._tasks.values(), timeout=most_s)

    async def wait_for_more(self, most_s: float = NEXT_S) -> None:
        """Until more is known than now, all is known, or for so long."""
        coming = [task for task in self._tasks.values() if not task.done()]
        if coming:
            await asyncio.wait(coming, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
            await self.wait(_NEIGHBOURS_S)

    def so_far(self) -> SoFar[T]:
        """What is known. Raises Unanswered when that is nothing, or when a part has failed by more than a limit."""
        found, missing = {}, {}
        told: Unanswered | None = None
        for name, task in self._tasks.items():
            if not task.done():
                missing[name] = COMING
            elif (error := task.exception()) is None:
                found[name] = task.result()
            elif isinstance(error, Unanswered) and error.limit:
                missing[name], told = f"{str(error)[:1].upper()}{str(error)[1:]}.", error
            else:
                self.give_up()
                raise error
        comes = not all(task.done() for task in self._tasks.values())
        if told is not None and not found and not comes:
            raise told
        return SoFar(self._make(found), missing, comes)

    def give_up(self) -> None:
        """Ask no more: what waits for its turn is not asked, what runs ends by its own limit."""
        for task in self._tasks.values():
            task.cancel()


class Waiting:
    """Gatherings whose page was shown before they ended, for those who come back for the rest."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Hashable, float, Gathering[Any]]] = {}

    def keep(self, asker: Hashable, gathering: Gathering[Any]) -> str:
        """The token by which the same asker gets it back, once."""
        ends = time.monotonic() - _KEPT_S
        for token, (_, since, _) in list(self._kept.items()):
            if since < ends or len(self._kept) >= _MOST_KEPT:
                self._kept.pop(token)[2].give_up()
        token = secrets.token_urlsafe(12)
        self._kept[token] = (asker, time.monotonic(), gathering)
        return token

    def take(self, asker: Hashable, token: str) -> Gathering[Any] | None:
        """None for a token that is not known any more, or is somebody else's."""
        if token in self._kept and self._kept[token][0] == asker:
            return self._kept.pop(token)[2]
        return None

    def close(self) -> None:
        for _, _, gathering in self._kept.values():
            gathering.give_up()
        self._kept.clear()


def seen(task: asyncio.Task[Any]) -> None:
    """What nobody comes back for is no fault that the loop should tell of."""
    if not task.cancelled():
        task.exception()
