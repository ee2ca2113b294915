"""What ClickHouse's refusals mean to the pipeline, by error code. The same table serves the embedded engine."""

from __future__ import annotations

import re

from clickhouse_connect.driver.exceptions import ClickHouseError, DataError, OperationalError, StreamFailureError
from urllib3.exceptions import HTTPError

from exporter.errors import Retryable, SinkError, TooLarge, Unauthorised
from exporter.http_answer import error_of

# What the client may raise when it is asked rightly.
CLIENT_ERRORS = (ClickHouseError, HTTPError, OSError)

# Same rows, later, may succeed: the server is busy, short of something, or cut off from its own parts.
_RETRY = {
    76: "cannot open file",
    81: "the database is gone: it is made again when the sink reopens",
    60: "the table is gone: it is made again when the sink reopens",
    159: "timeout",
    160: "too slow",
    164: "read-only",
    198: "name resolution",
    202: "too many simultaneous queries",
    203: "no free connection",
    209: "socket timeout",
    210: "network error",
    225: "no keeper",
    236: "aborted, or stopping",
    241: "memory limit; passes when others finish, and a batch of 10,000 rows needs little",
    242: "table is read-only",
    243: "not enough disk space",
    244: "not enough space in quota",
    252: "too many parts: merges are behind",
    254: "no active replicas",
    279: "no replica answered",
    285: "too few live replicas",
    286: "quorum not satisfied",
    298: "replicas are busy",
    319: "unknown status of insert",
    341: "mutation unfinished",
    394: "query was cancelled",
    425: "system error",
    439: "cannot schedule a task",
    499: "object storage error",
    574: "distributed send queue is full",
    722: "still starting",
    735: "query was cancelled by its client",
    999: "keeper exception",
    1000: "exception of a library underneath (disk, network)",
    1001: "standard library exception (disk full, input/output)",
    1002: "unknown exception",
}
# Nothing will be accepted until somebody changes a password or a grant: keep everything.
_UNAUTHORISED = {
    192: "unknown user",
    193: "wrong password",
    194: "password required",
    195: "address not allowed",
    201: "quota used up",
    291: "database access denied",
    497: "a right is missing",
    516: "authentication failed",
}


# The client's words for an answer without ClickHouse's own code: something in between gave it, such as a proxy.
_HTTP_STATUS = re.compile(r"received HTTP status (\d{3})\b")


def why(error: BaseException) -> str:
    """What the system said below the layers of clients, such as `Connection refused`; else the kind of error."""
    inner: object = error
    while isinstance(inner, BaseException):
        error = inner
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
    said = error.strerror if isinstance(error, OSError) else None
    return said or type(error).__name__


def sink_error(error: Exception, *, about_rows: bool) -> SinkError:
    """The pipeline's exception for one of the client's. Its text has no payload: engine texts can quote rows.

    Any other code (bad value for a type, cannot parse, too many bytes) is about the rows: TooLarge, so that the
    pipeline halves the batch until the row that is to blame stands alone. A statement that carries no rows
    (about_rows false: making the table, asking what is there) can only be tried again.
    """
    code = getattr(error, "code", None)
    if code in _UNAUTHORISED:
        return Unauthorised(f"ClickHouse code {code}: {_UNAUTHORISED[code]}")
    if code in _RETRY:
        return Retryable(f"ClickHouse code {code}: {_RETRY[code]}")
    between = _HTTP_STATUS.search(str(error)) if code is None and isinstance(error, ClickHouseError) else None
    if between is not None:
        answer = error_of(int(between[1]), {}) or Retryable(f"the destination answered {between[1]} and an error")
        if about_rows or not isinstance(answer, TooLarge):
            return answer
    if code is None and (isinstance(error, (OperationalError, StreamFailureError, HTTPError, OSError))):
        return Retryable(f"no answer from ClickHouse: {why(error)}")
    if not about_rows:
        return Retryable(f"{type(error).__name__}: {str(error)[:500]}")
    if isinstance(error, (ClickHouseError, DataError)) and code is not None:
        name = getattr(error, "name", None)
        return TooLarge(f"ClickHouse code {code}{f' {name}' if name else ''}")
    return TooLarge(f"the rows cannot be encoded ({type(error).__name__})")
