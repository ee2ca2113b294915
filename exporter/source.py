"""Where a pipeline takes its records from: mapped, or as they were received."""

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
    size: int  # bytes received, inflated; more where its events hold far more than was received (weighbridge.feed)
    tenant: str = ""
    skipped: int = 0  # records that became no event: plumbing spans
    sampled_out: int = 0
    failed: int = 0  # records that could not be masked, so they went nowhere
    # Of sampled_out the API calls, without their content, to be counted by minute; None: they are not told apart.
    dropped: Sequence[Event] | None = None
    routed: int = 0  # events that are not for this sink


class RawRequest(NamedTuple):
    """One spool record as it was received: nothing mapped, nothing masked, nothing sampled."""

    position: int
    next_position: int
    signal: str  # "traces" | "logs" | "returned": it was there before, only its mapping had failed
    tenant: str
    content_type: str  # as in the header
    content_encoding: str  # as in the header, "" for none
    body: bytes  # as sent, so compressed when content_encoding says so
    records: int  # spans or log records that were accepted from it
    received_unix_ns: int = 0


class RawSource(Protocol):
    """Requests in spool order, always from the spool."""

    async def next_request(self, position: int, timeout_s: float) -> RawRequest | None:
        """The first request at or after `position`; None when there is none within the time."""
        ...

    def caught_up(self, position: int) -> bool:
        """True when no request at or after `position` is committed yet."""
        ...

    def release(self, sink: str, position: int) -> None:
        """This sink needs nothing before `position` any more."""
        ...


class Source(Protocol):
    """Mapped requests in spool order, from memory when they are there, else from the spool."""

    async def next(self, position: int, timeout_s: float) -> Unit | None:
        """The first record at or after `position`; None when there is none within the time."""
        ...

    def caught_up(self, position: int) -> bool:
        """True when no record at or after `position` is committed yet."""
        ...

    def has_read(self, sink: str, position: int) -> None:
        """This sink has taken what is before `position`: memory need not keep it. It may still ask for it again."""
        ...

    def release(self, sink: str, position: int) -> None:
        """This sink needs nothing before `position` any more."""
        ...


class HoldingSource(Source, Protocol):
    """A source that holds records until they are decided."""

    def drain(self) -> None:
        """Nothing more will come: decide at once what is there."""
        ...

    def leave(self) -> None:
        """The pipeline ends: do not make it wait."""
        ...
