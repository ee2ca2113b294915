"""One budget for several lanes: they tell what arrives, and get the same rates from the same moment on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from mapping.sampling.epochs import Arrivals, Budget
from mapping.sampling.settings import BudgetSettings

TICK_S = 0.25  # lanes tell so often what has arrived, and so often it is looked whether other rates are due
# New rates hold for records of so much later: every lane has them by then, or reads records that are older.
AHEAD_S = 0.5


class BudgetLead:
    """Of one budget. tell: sends a table to every lane that runs."""

    def __init__(self, settings: BudgetSettings, tell: Callable[[dict[str, Any]], None]) -> None:
        self.newest: dict[str, Any] | None = None  # for lanes that begin; older ones they have on disk
        self._budget = Budget(settings)
        self._tell = tell

    def arrived(self, arrivals: Arrivals) -> None:
        """In one of the lanes, since it told last."""
        self._budget.told(arrivals)

    def tick(self, now_unix_ns: int) -> None:
        """Tell new rates, where they are due."""
        if self._budget.tick(now_unix_ns + int(AHEAD_S * 1e9)):
            self.newest = self._budget.tables[0].plain()
            self._tell(self.newest)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.tick(time.time_ns())
