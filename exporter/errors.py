"""What a sink may raise from `write`, and what the pipeline does with each.

    SinkError
      Retryable      the same batch may succeed later: wait, try again, for ever by default
      TooLarge       the batch as such is too big or cannot be parsed: split it in two and try both
      Refused       a row the destination refuses whenever it is sent: bisect to it, dead-letter it alone
        Expired      every row of the batch is too old for the destination: dead-letter them all
        Unwritable   the sink itself found rows that it cannot encode: dead-letter these, go on with the others
      Unauthorised   401, 402, 403: keep everything, alarm, try again slowly; never dead-letter a backlog

Only sinks raise these (with `raise ... from`); only `exporter.attempts`, `exporter.writer` and the pipelines catch
them. Anything else that a sink raises is a fault of ours: `exporter.attempts` says what becomes of it.
"""

from __future__ import annotations

from collections.abc import Mapping


class SinkError(Exception):
    """Any refusal by a destination. The text is for operators: no payload, no secret."""


class Retryable(SinkError):
    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooLarge(SinkError):
    pass


class Refused(SinkError):
    pass


class Expired(Refused):
    pass


class Unwritable(Refused):
    """rows: place in the batch -> why that row cannot be written. Nothing of the batch was sent."""

    def __init__(self, rows: Mapping[int, str]) -> None:
        super().__init__(next(iter(rows.values()), "no row"))
        self.rows = rows


class Unauthorised(SinkError):
    pass


class Fault(SinkError):
    """A sink raised what it may not. Made by `exporter.attempts`; the cause is the exception itself."""


def fault_of(error: Exception) -> SinkError:
    """What an exception means that no sink should raise.

    A system that is short of something may have it later; anything else is as wrong the next time, and it may be the
    rows that bring it about. The text names the kind only: an exception's own text may quote a row.
    """
    if isinstance(error, SinkError):
        return error
    if isinstance(error, OSError):
        return Retryable(f"{type(error).__name__}: {error.strerror or 'the system did not say why'}")
    if isinstance(error, MemoryError):
        return Retryable("there is not enough memory")
    return Fault(f"a fault of the bridge ({type(error).__name__})")
