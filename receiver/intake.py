"""The seam behind the receiver: who takes a checked request and makes it durable."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from mapping.otlp.records import Decoded
from receiver.errors import Overloaded as Overloaded


class Received(NamedTuple):
    """A request that passed every check, with its body as sent, so that what is stored can be decoded again.

    Only the time in a gzip header is zeroed, so that a request sent again is the same bytes.
    """

    signal: str  # "traces" | "logs"
    tenant: str  # as authenticated; "" for none
    content_type: str  # as in the header; one of more than 200 bytes, or not of ASCII, in its plain form
    content_encoding: str  # as before, "" for none
    received_unix_ns: int  # our clock, when the body was complete
    body: bytes
    decoded: Decoded


class Intake(Protocol):
    async def accept(self, received: Received) -> None:
        """Return once every record is durable: the receiver answers 200 next. Raises Overloaded; anything else it
        raises is answered 503 as well."""
        ...
