"""Coverage-guided fuzzing of decoding: `python -m bench.fuzz_receiver [-max_total_time=N ...]` (libFuzzer options).

Needs atheris (`pip install atheris`), which is no dependency of the project. A crash is any exception but BadRequest,
or a refusal that is no 4xx; libFuzzer writes the input that made it to a file, and `python -m bench.fuzz_receiver FILE`
runs it again. The first byte of an input chooses signal, encoding and coding, the rest is the body.
"""

from __future__ import annotations

import gzip
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import traffic

atheris: Any = importlib.import_module("atheris")

with atheris.instrument_imports(include=["receiver", "mapping"]):
    from mapping.otlp import Decoder
    from receiver.decode import BadRequest, DecodeLimits, decode_request

PROTOBUF, JSON = "application/x-protobuf", "application/json"
CODINGS = ("", "gzip", "zstd", "deflate", "snappy", "lz4", "gzip, gzip", "")
LIMITS = DecodeLimits(1 << 20, 1000, 20_000)


def run_one(data: bytes) -> None:
    if not data:
        return
    choice = data[0]
    signal = "logs" if choice & 1 else "traces"
    media = JSON if choice & 2 else PROTOBUF
    try:
        decode_request(Decoder(), signal, media, CODINGS[choice >> 2 & 7], data[1:], LIMITS)
    except BadRequest as error:
        if not 400 <= error.status < 500 or not error.message:
            raise RuntimeError(f"refused with {error.status} {error.message!r}") from error


def seeds(directory: Path) -> None:
    """One good input for each choice that is worth starting from."""
    spans = traffic.request(1, 3)
    span = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "kind": 2, "name": "x"}
    span["attributes"] = [{"key": "k", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"doubleValue": 0.5}]}}}]
    as_json = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    for choice, body in ((0, spans), (1, b""), (2, as_json), (3, b"{}"), (4, gzip.compress(spans))):
        (directory / f"seed-{choice}").write_bytes(bytes([choice]) + body)


def main() -> None:
    with tempfile.TemporaryDirectory() as corpus:
        seeds(Path(corpus))
        files = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
        atheris.Setup([*sys.argv, *([] if files else [corpus])], run_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
