"""What the admin port reads of the running bridge: no more than this, and nothing of it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from exporter.deadletter import DeadLetters
from exporter.delivery import Delivery
from receiver.counts import ReceiverCounts
from receiver.spool.watching import Readable
from weighbridge.deliveries import Deliveries
from weighbridge.feed import Feed
from weighbridge.partitions import Partitions
from weighbridge.sampling.books import SamplingBooks
from weighbridge.settings import Settings
from weighbridge.tasks import Tasks

if TYPE_CHECKING:
    from weighbridge.admin.report import Report


class LaneParts(Protocol):
    """What a lane tells of itself: `weighbridge.admin.report`."""

    directory: Path
    spool: Readable
    feed: Feed
    deliveries: Deliveries
    books: SamplingBooks
    dead_letters: DeadLetters
    tasks: Tasks

    @property
    def pipelines(self) -> Mapping[str, Delivery]: ...

    @property
    def should_skip_errors(self) -> int: ...


class Counted(Protocol):
    """What the ledger adds up."""

    counts: ReceiverCounts
    # Records since the start, by tenant: answered 200; of these those that were there already; put back into the spool.
    acknowledged: Counter[str]
    resent: Counter[str]
    returned: Counter[str]

    @property
    def stored(self) -> Counter[str]:
        """Records committed since the start, by tenant."""
        ...

    def report(self) -> Report:
        """What the lanes say, put together."""
        ...


class Full(Protocol):
    """What tells why there is no room."""

    settings: Settings  # in force
    directory: Path  # of the spool
    spool: Partitions

    def report(self) -> Report: ...


class Parts(Counted, Full, Protocol):
    """What metrics, health and routes read."""

    accepting: bool
    tasks: Tasks

    @property
    def keys_complaint(self) -> str: ...

    def lane_facts(self) -> list[dict[str, Any]]:
        """Of each lane that has a process of its own."""
        ...

    async def refresh(self) -> None:
        """Let `report` be of now, as far as lanes answer at once."""
        ...

    async def minutes(self, since_s: int) -> list[list[dict[str, Any]]]:
        """Of each lane, what sampling decided since a minute of the Unix time."""
        ...

    async def replay(self, reason: str, since_unix_ns: int) -> int:
        """Send matching dead letters again; how many records were taken."""
        ...

    @property
    def replaying(self) -> bool:
        """Whether an earlier replay still waits for a sink."""
        ...
