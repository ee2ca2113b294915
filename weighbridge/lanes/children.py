"""The lanes that have processes of their own, together: begun, asked and ended as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from mapping.sampling.settings import BudgetSettings
from receiver.spool import Spool
from receiver.spool.watching import Watcher
from weighbridge.admin.report import Report, of_tasks
from weighbridge.deliveries import CLOSE_S, DRAIN_S
from weighbridge.lanes.child import END_S, Child
from weighbridge.lanes.engines import Engines
from weighbridge.lanes.lead import BudgetLead
from weighbridge.lanes.messages import Gone, packed
from weighbridge.settings import Settings
from weighbridge.tasks import Tasks

ANSWER_S = 0.5  # until then a lane tells of itself; one that is busy is told of as it last said


class Children:
    """By number of their partitions. engines: whether it runs those of embedded stores, which no lane does then."""

    def __init__(self, children: Mapping[int, Child], *, engines: bool) -> None:
        self.by_number = dict(children)
        self._engines = Engines() if engines else None
        self._tasks = Tasks()
        self._running: list[asyncio.Task[None]] = []
        self._budget: BudgetSettings | None = None
        self._leading: asyncio.Task[None] | None = None

    def watcher(self, number: int) -> Watcher | None:
        """Who must be told of what becomes of a partition's segments."""
        return self.by_number.get(number)

    def is_ready(self, number: int) -> bool:
        """Whether a lane maps now; one without a process does as long as the bridge runs."""
        return number not in self.by_number or self.by_number[number].is_ready

    async def start(self, spools: Mapping[int, Spool], settings: Callable[[], Settings]) -> None:
        """Returns before they are ready: what is committed meanwhile waits. spools: open. settings: those in force."""
        if self._engines is not None:
            await self._engines.change(settings().exporter.sinks)
        self._lead(settings().sampling.budget)
        for number, child in self.by_number.items():
            self._running.append(self._tasks.keep(f"lane {number}", _life(child, spools[number], settings)))

    async def begun(self) -> None:
        """Returns when all are ready for the first time. Raises OSError with the words of one that cannot be."""
        await asyncio.gather(*(child.started() for child in self.by_number.values()))

    async def check(self, settings: Settings) -> None:
        """Raises ValueError when a lane could not go on with these settings; nothing is changed in either case."""
        await self._of_all(lambda child: child.ask("check", settings=packed(settings)))

    async def reload(self, settings: Settings) -> list[str]:
        """Go on with other settings, which are in force for lanes that begin again; what has changed.

        A lane that cannot, though it said it could, begins again with them, as others have let go of the old ones.
        """
        if self._engines is not None:
            await self._engines.change(settings.exporter.sinks)
        self._lead(settings.sampling.budget)
        answers = await asyncio.gather(*(child.reload(settings) for child in self.by_number.values()))
        return list(dict.fromkeys(change for changes in answers for change in changes))

    async def stop(self) -> tuple[list[str], list[str]]:
        """Deliver what is committed and end them all; what hangs in a call, and what is left, in words."""
        longest = DRAIN_S + CLOSE_S + END_S
        said = await asyncio.gather(*(child.stop(longest) for child in self.by_number.values()))
        self._lead(None)
        if self._running:
            await asyncio.wait(self._running, timeout=END_S)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._engines is not None:
            await self._engines.stop()
        return [name for one in said for name in one["hanging"]], [one["left"] for one in said]

    def _lead(self, budget: BudgetSettings | None) -> None:
        """Let all lanes keep to one budget, where there are several and a budget."""
        if budget == self._budget:
            return
        self._budget = budget
        if self._leading is not None:
            self._leading.cancel()
        lead = BudgetLead(budget, self._tell_rates) if budget and len(self.by_number) > 1 else None
        self._leading = self._tasks.keep("budget of the lanes", lead.run) if lead else None
        for child in self.by_number.values():
            child.lead = lead

    def _tell_rates(self, table: dict[str, Any]) -> None:
        for child in self.by_number.values():
            child.tell_rates(table)

    # -- for the admin port --------------------------------------------------------------------------------

    def reports(self) -> Iterator[Report]:
        """What each said last."""
        for child in self.by_number.values():
            if child.last is not None:
                yield child.last
        if self.by_number:
            own = of_tasks(self._tasks)
            if self._engines is not None:
                own.metrics["weighbridge_sink_engine_restarts_total"] = [
                    ({"sink": sink}, count) for sink, count in self._engines.restarts.items()
                ]
            own.metrics["weighbridge_lane_up"] = self._samples(lambda child: float(child.is_ready))
            own.metrics["weighbridge_lane_restarts_total"] = self._samples(lambda child: child.restarts)
            own.down.update({f"lane {number}": child.down for number, child in self.by_number.items() if child.down})
            yield own

    def facts(self) -> list[dict[str, Any]]:
        """Of each process, for /readyz."""
        return [
            {"lane": number, "process": child.pid or None, "ready": child.is_ready, "restarts": child.restarts}
            for number, child in self.by_number.items()
        ]

    async def refresh(self) -> None:
        """Let `reports` be of now, as far as lanes answer at once."""
        waiting = [asyncio.create_task(_quietly(child.refresh())) for child in self.by_number.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=ANSWER_S)
            for task in waiting:
                task.cancel()

    async def minutes(self, since_s: int) -> list[list[dict[str, Any]]]:
        """Of each lane, what sampling decided since a minute of the Unix time."""
        return [answer["rows"] for answer in await self._of_all(lambda child: child.ask("minutes", since_s=since_s))]

    async def replay(self, reason: str, since_unix_ns: int) -> int:
        """Send matching dead letters again; how many records were taken."""
        answers = await self._of_all(lambda child: child.ask("replay", reason=reason, since_unix_ns=since_unix_ns))
        return sum(answer["replayed"] for answer in answers)

    def _samples(self, value: Callable[[Child], float]) -> list[tuple[dict[str, str], float]]:
        return [({"lane": str(number)}, value(child)) for number, child in self.by_number.items()]

    async def _of_all(self, ask: Callable[[Child], Awaitable[dict[str, Any]]]) -> list[dict[str, Any]]:
        """The answers of those that run. Raises ValueError with the words of one that could not."""
        answers = await asyncio.gather(*(ask(child) for child in self.by_number.values()), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, Gone):
                raise answer
        return [answer for answer in answers if isinstance(answer, dict)]


def _life(child: Child, spool: Spool, settings: Callable[[], Settings]) -> Callable[[], Awaitable[None]]:
    return lambda: child.run(spool, settings)


async def _quietly(asking: Awaitable[None]) -> None:
    try:
        await asking
    except (Gone, ValueError):
        return
