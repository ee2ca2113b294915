"""An answer in the format that a driver asked for, with what drivers expect around it.

A driver that names a revision of the native protocol reads a head in front of each block. Its first question is which
revision the server has; that answer is read by the driver's own revision, everything after it by the one it was told.
We tell the last one whose blocks are what the engine writes, but for the head.
"""

from __future__ import annotations

import re
from typing import Final

from exporter.clickhouse.engine.guard import Allowed
from exporter.clickhouse.engine.lanes import Answer, Connection, EngineError
from exporter.clickhouse.engine.statements import REVISION, Request

# is_overflows and bucket_num, as ClickHouse's BlockInfo has them for a block of a result.
_HEAD: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_HELLO: Final = re.compile(
    r"\s*SELECT\s+displayName\(\)\s*,\s*version\(\)\s*,\s*revision\(\)\s*,\s*timezone\(\)\s*", re.IGNORECASE
)
_UNSUPPORTED: Final = 344
TOO_LARGE: Final = 396  # TOO_MANY_ROWS_OR_BYTES


def answer_tool(connection: Connection, allowed: Allowed, request: Request, most_bytes: int) -> Answer:
    """Raises EngineError."""
    if request.compressed:  # the driver would take what comes for damaged
        raise EngineError(_UNSUPPORTED, f"Code: {_UNSUPPORTED}. No LZ4 here: set compress=false in the driver")
    form = allowed.form or request.form or "TabSeparated"
    if form != "Native" or not request.heads:
        return connection.execute(allowed.sql, request.parameters, form)._replace(form=form)
    if _HELLO.fullmatch(allowed.sql):
        return Answer(_hello(connection), 1, 0, 0.0, form)
    blocks: list[bytes] = []
    size = rows = 0
    for piece in connection.pieces(allowed.sql, request.parameters, form):  # each is one block
        size += len(piece.data)
        rows += piece.rows
        if size > most_bytes:
            raise EngineError(TOO_LARGE, f"Code: {TOO_LARGE}. The answer has more than {most_bytes} bytes")
        blocks += (_HEAD, piece.data)
    return Answer(b"".join(blocks), rows, 0, 0.0, form)


def _hello(connection: Connection) -> bytes:
    """One row: name, version, revision and time zone; a byte says of each column that it is written plainly."""
    version = connection.execute("SELECT version()").body.strip()
    number = REVISION.to_bytes(4, "little")
    columns = (
        (b"displayName()", b"String", _text(b"weighbridge")),
        (b"version()", b"String", _text(version)),
        (b"revision()", b"UInt32", number),
        (b"timezone()", b"String", _text(b"UTC")),
    )
    return _HEAD + b"\x04\x01" + b"".join(_text(name) + _text(kind) + b"\x00" + value for name, kind, value in columns)


def _text(value: bytes) -> bytes:
    return bytes((len(value),)) + value  # shorter than 128 bytes, all of them
