"""Where a pipeline takes its records from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mapping.event import Event


class Unit(NamedTuple):
    """One spool record, mapped."""

    position: int
    next_position: int
    received_unix_ns: int
    events: Sequence[Event]
    size: int  # bytes received, inflated
    tenant: str = ""
    skipped: int = 0  # records that became no event: plumbing spans
    sampled_out: int = 0
    failed: int = 0  # records that could not be masked, so they went nowhere


class Source(Protocol):
    """Mapped requests in spool order, from memory when they are there, else from the spool."""

    async def next(self, position: int, timeout_s: float) -> Unit | None:
        """The first record at or after `position`; None when there is none within the time."""
        ...

    def caught_up(self, position: int) -> bool:
        """True when no record at or after `position` is committed yet."""
        ...

    def release(self, sink: str, position: int) -> None:
        """This sink needs nothing before `position` any more."""
        ...
