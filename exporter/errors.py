"""What a sink may raise from `write`, and what the pipeline does with each.

    SinkError
      Retryable      the same batch may succeed later: wait, try again, for ever by default
      TooLarge       the batch as such is too big or cannot be parsed: split it in two and try both
      Rejected       a row the destination refuses whenever it is sent: bisect to it, dead-letter it alone
        Expired      every row of the batch is too old for the destination: dead-letter them all
      Unauthorised   401, 402, 403: keep everything, alarm, try again slowly; never dead-letter a backlog

Only sinks raise these (with `raise ... from`); only `exporter.pipeline` catches them.
"""

from __future__ import annotations


class SinkError(Exception):
    """Any refusal by a destination. The text is for operators: no payload, no secret."""


class Retryable(SinkError):
    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooLarge(SinkError):
    pass


class Rejected(SinkError):
    pass


class Expired(Rejected):
    pass


class Unauthorised(SinkError):
    pass
