"""What the admin port reads of the running bridge: no more than this, and nothing of it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from exporter.deadletter import DeadLetters
from exporter.delivery import Delivery
from receiver.counts import ReceiverCounts
from receiver.spool import Spool
from weighbridge.deliveries import Deliveries
from weighbridge.feed import Feed
from weighbridge.sampling.books import SamplingBooks
from weighbridge.settings import Settings
from weighbridge.tasks import Tasks


class Counted(Protocol):
    """What the ledger adds up."""

    counts: ReceiverCounts
    # Records since the start, by tenant: answered 200; of these those that were there already; put back into the spool.
    acknowledged: Counter[str]
    resent: Counter[str]
    returned: Counter[str]
    feed: Feed
    deliveries: Deliveries

    @property
    def pipelines(self) -> Mapping[str, Delivery]: ...


class Full(Protocol):
    """What tells why there is no room."""

    settings: Settings  # in force
    directory: Path  # of the spool
    spool: Spool
    feed: Feed

    @property
    def pipelines(self) -> Mapping[str, Delivery]: ...


class Parts(Counted, Full, Protocol):
    """What metrics, health and routes read."""

    accepting: bool
    books: SamplingBooks
    dead_letters: DeadLetters
    tasks: Tasks

    @property
    def keys_complaint(self) -> str: ...

    @property
    def should_skip_errors(self) -> int: ...
