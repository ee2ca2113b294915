"""Coverage-guided fuzzing of decoding: `python -m bench.fuzz_receiver [-max_total_time=N ...]` (libFuzzer options).

Needs atheris (`pip install atheris`), which is no dependency of the project. A crash is any exception but BadRequest,
or a refusal that is no 4xx; libFuzzer writes the input that made it to a file, and `python -m bench.fuzz_receiver FILE`
runs it again. The first byte of an input chooses signal, encoding, coding and whether JSON is parsed
in small pieces, the rest is the body.
"""

from __future__ import annotations

import gzip
import importlib
import json
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

from bench import traffic

atheris: Any = importlib.import_module("atheris")

with atheris.instrument_imports(include=["receiver", "mapping"]):
    from mapping.otlp.decode import Decoder
    from receiver.decode import json_pieces, otlp_json
    from receiver.decode.prescan import Limits
    from receiver.decode.request import BadRequest, DecodeLimits, decode_request

PROTOBUF, JSON = "application/x-protobuf", "application/json"
CODINGS = ("", "gzip", "zstd", "deflate", "snappy", "lz4", "gzip, gzip", "")
LIMITS = DecodeLimits(1 << 20, 1000, 20_000)


def run_one(data: bytes) -> None:
    if not data:
        return
    choice = data[0]
    signal = "logs" if choice & 1 else "traces"
    media = JSON if choice & 2 else PROTOBUF
    json_pieces._WHOLE, json_pieces._PIECE = (1 << 20, 256 << 10) if choice & 32 else (0, 16)
    try:
        decode_request(Decoder(), signal, media, CODINGS[choice >> 2 & 7], data[1:], LIMITS)
    except BadRequest as error:
        if not 400 <= error.status < 500 or not error.message:
            raise RuntimeError(f"refused with {error.status} {error.message!r}") from error


def seeds(directory: Path) -> None:
    """One good input for each signal, encoding and coding."""
    span = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "kind": 2, "name": "x"}
    span["attributes"] = [{"key": "k", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"doubleValue": 0.5}]}}}]
    log = {"body": {"kvlistValue": {"values": [{"key": "u", "value": {"stringValue": "/"}}]}}, "severityNumber": 9}
    events = {"events": [{"name": "e"}], "links": [{}], "traceId": span["traceId"], "spanId": span["spanId"]}
    json_spans = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span, events]}]}]}).encode()
    json_logs = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [log, {}]}]}]}).encode()
    bounds = Limits(LIMITS.max_records, LIMITS.max_elements)
    logs = otlp_json.transcode(json_logs, "logs", bounds, otlp_json.Refused())
    bodies = (traffic.request(1, 3), logs, json_spans, json_logs)
    for form, body in enumerate(bodies):
        for number, coding in enumerate(CODINGS[:7]):
            coded = body
            for name in filter(None, coding.split(", ")):
                coded = compress(name, coded)
            (directory / f"seed-{form}-{number}").write_bytes(bytes([number << 2 | form]) + coded)


def compress(coding: str, body: bytes) -> bytes:
    if coding in ("gzip", "deflate"):
        return gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    modules = {"zstd": "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd", "lz4": "lz4.frame"}
    library: Any = importlib.import_module(modules.get(coding, "cramjam"))
    return bytes(library.snappy.compress_raw(body) if coding == "snappy" else library.compress(body))


def main() -> None:
    with tempfile.TemporaryDirectory() as corpus:
        seeds(Path(corpus))
        files = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
        atheris.Setup([*sys.argv, *([] if files else [corpus])], run_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
