"""A sink that takes everything and keeps nothing: for measuring the bridge without a destination.

Delivery: none. Named as in other collectors, so that nobody mistakes it for a store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from exporter.settings import SinkSettings
from exporter.sink import Batch, Sink
from mapping.event import Event


class Settings(SinkSettings):
    """A destination that throws events away. For measurements only."""

    type: Literal["blackhole"]


class BlackholeSink(Sink):
    """Accepts every batch at once."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def open(self) -> None:
        pass

    async def write(self, batch: Batch, *, in_doubt: bool) -> Sequence[Event]:
        return ()

    async def close(self) -> None:
        pass


def create(settings: Settings) -> BlackholeSink:
    return BlackholeSink(settings.name)
