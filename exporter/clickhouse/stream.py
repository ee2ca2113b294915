"""Long answers of a store, a piece at a time: of the embedded engine in frames, of a server as they come."""

from __future__ import annotations

import base64
import http.client
import io
import re
from collections.abc import Iterator
from typing import Any, Final, cast

from clickhouse_connect.driver.client import Client

from exporter.clickhouse.engine.endpoint import Endpoint
from exporter.clickhouse.engine.frames import FRAMES_HEADER, read_frames
from exporter.clickhouse.engine.lanes import EngineError, Piece

_SILENCE_S: Final = 300  # without a byte, and the store is taken for gone
_READ_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 16 << 20
_ONE_FILE: Final = frozenset({"Parquet"})  # formats that cannot be cut
# As the embedded engine has them for such answers; a million rows of Parquet at once would be gigabytes of memory.
_SERVER_SETTINGS: Final[dict[str, Any]] = {
    "date_time_output_format": "iso",
    "output_format_json_quote_64bit_integers": 0,
    "output_format_parquet_compression_method": "zstd",
    "output_format_parquet_row_group_size": 100_000,
    "max_execution_time": 0,
    "max_block_size": 65_536,
    "wait_end_of_query": 0,
}
_FAILED: Final = re.compile(rb"Code: (\d+)\. DB::Exception: (.{0,300})", re.DOTALL)
_TAIL: Final = 4096


def engine_pieces(endpoint: Endpoint, sql: str) -> Iterator[Piece]:
    """Raises EngineError for what the engine refuses, Cut, OSError and HTTPException when it goes away."""
    secret = base64.b64encode(f"{endpoint.user}:{endpoint.password}".encode()).decode()
    wire = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=_SILENCE_S)
    try:
        wire.request(
            "POST",
            f"/?database={endpoint.database}",
            sql.encode(),
            {"Authorization": f"Basic {secret}", FRAMES_HEADER: "1"},
        )
        answer = wire.getresponse()
        if answer.status != 200:
            code = int(answer.getheader("X-ClickHouse-Exception-Code") or 0)
            raise EngineError(code, answer.read(_TAIL).decode(errors="replace").strip())
        yield from read_frames(answer)
    finally:
        wire.close()


def server_pieces(client: Client, sql: str, form: str) -> Iterator[Piece]:
    """Raises the client's errors; and EngineError for the one that a server writes at the end of half an answer."""
    stream = cast("io.IOBase", client.raw_stream(sql, fmt=form, settings=dict(_SERVER_SETTINGS)))
    rest = b""
    tail = b""
    try:
        while data := stream.read(_READ_BYTES):
            tail = (tail + data)[-_TAIL:]
            rest += data
            if form in _ONE_FILE or len(rest) >= _PIECE_BYTES:
                cut = len(rest) if form in _ONE_FILE else rest.rfind(b"\n") + 1
                if cut:
                    yield Piece(rest[:cut], 0)
                    rest = rest[cut:]
    finally:
        stream.close()
    if (failed := _FAILED.search(tail)) and _ends_badly(tail, form):
        raise EngineError(int(failed[1]), failed[0].decode(errors="replace"))
    if rest:
        yield Piece(rest, 0)


def _ends_badly(tail: bytes, form: str) -> bool:
    """Whether the text of an error is the end of the answer, and not what somebody logged."""
    if form in _ONE_FILE:
        return not tail.endswith(b"PAR1")
    last = tail.rstrip(b"\n").rpartition(b"\n")[2]
    return (b"DB::Exception" in last and not last.startswith(b"{")) or b"__exception__" in tail
