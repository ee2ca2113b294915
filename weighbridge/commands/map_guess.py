"""What a file with a request body is: signal, content type and content encoding, for `weighbridge map`.

The bytes decide where they can; a `NAME.headers.json` beside `NAME.bin` (path and headers, as capture tools store them)
is asked only about what the bytes leave open.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from exporter.request_file import beside

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


class Hints(NamedTuple):
    """What the file beside the body says; "" and 0 for what it does not say."""

    signal: str = ""
    content_type: str = ""
    content_encoding: str = ""
    received_unix_ns: int = 0


def read_hints(file: Path) -> Hints:
    """The hints beside `file`, empty ones where there is no such file or it says something else."""
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        hints: dict[str, Any] = json.loads(beside(file).read_text(encoding="utf-8"))
        headers = {name.lower(): value for name, value in hints.get("headers", [])}
        received_unix_ns = 0
        with contextlib.suppress(ValueError, KeyError):
            received_unix_ns = int(datetime.fromisoformat(hints["received_at"]).timestamp() * 1e6) * 1000
        return Hints(
            signal=_signal_of_path(str(hints.get("path", ""))),
            content_type=str(headers.get("content-type", "")),
            content_encoding=str(headers.get("content-encoding", "")),
            received_unix_ns=received_unix_ns,
        )
    return Hints()


def guess_encoding(body: bytes, hint: str) -> str:
    """The content encoding by the first bytes; the hint counts only for encodings that have no such mark."""
    if body.startswith(GZIP_MAGIC):
        return "gzip"
    if body.startswith(ZSTD_MAGIC):
        return "zstd"
    # RFC 1950: method 8 in the low four bits, and the two header bytes are a multiple of 31
    if len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0:
        return "deflate"
    return "" if hint in {"gzip", "x-gzip", "zstd"} else hint


def guess_type(start: bytes, hint: str) -> str:
    """JSON when the first byte that is not white space opens an object; start: the first inflated bytes."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if text.startswith(b"{"):
        return JSON
    return hint if hint and JSON not in hint else PROTOBUF


def guess_signal(body: bytes, content_type: str, accepted: Callable[[str], int], hint: str) -> str:
    """Traces or logs.

    body: inflated. accepted: how many records a signal's decoder takes from this file, -1 when it refuses the whole.
    The messages are alike on the wire but for the records: log records have no span id where spans have one.
    """
    if content_type.partition(";")[0].strip().lower() == JSON:
        for signal, key in (("traces", b'"resourceSpans"'), ("logs", b'"resourceLogs"')):
            if key in body:
                return signal
    if hint:
        return hint
    spans = accepted("traces")
    return "logs" if spans <= 0 and accepted("logs") > 0 else "traces"


def _signal_of_path(path: str) -> str:
    for signal in ("traces", "logs"):
        if path.split("?")[0].rstrip("/").endswith(f"/v1/{signal}"):
            return signal
    return ""
