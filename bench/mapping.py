"""CPU per span of decoding and mapping, stages apart: `python -m bench.mapping`.

Mixes: the captures in tests/testdata/corpus, 512-span requests of 16 attributes with new ids and paths
(bench.traffic), and logs of each kind in batches of 512 (bench.log_traffic). "parse only" is protobuf's own parser with
OTLP's own classes. CPU time of this process, garbage collector set as the service sets it; the best of the rounds
counts, since noise only adds.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rich.console import Console
from rich.table import Table

from bench import log_traffic
from bench.traffic import request
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings

CORPUS = Path(__file__).parent.parent / "tests" / "testdata" / "corpus"
RECEIVED = 1_795_193_700_000_000_000  # shortly after the captures were made

Request = tuple[str, bytes]  # signal, inflated protobuf


def captures(signal: str) -> list[Request]:
    """The protobuf captures of one signal, inflated."""
    found = []
    for path in sorted(CORPUS.glob(f"*-{signal}.bin")):
        headers = {
            name.lower(): value
            for name, value in orjson.loads(path.with_suffix(".headers.json").read_bytes())["headers"]
        }
        if headers["content-type"] != "application/x-protobuf":
            continue
        inflate: Any = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(
            headers.get("content-encoding", ""), bytes
        )
        found.append((signal, inflate(path.read_bytes())))
    return found


def traffic(requests: int, first: int) -> list[Request]:
    return [("traces", request(first + number, now_unix_ns=RECEIVED)) for number in range(requests)]


def logs_of(kind: str, number: int, requests: int = 4) -> list[Request]:
    return [("logs", log_traffic.request(kind, 1000 * number + more, RECEIVED)) for more in range(requests)]


def parse(data: Request) -> None:
    (ExportTraceServiceRequest if data[0] == "traces" else ExportLogsServiceRequest).FromString(data[1])


class Bench:
    """One decoder and mapper, warmed up by whatever it has seen before, as in a running service."""

    def __init__(self, config: SamplingSettings) -> None:
        self.decoder = Decoder()
        self.mapper = Mapper(MappingSettings(), Sampler(config), count_dropped=config.count == "all")

    def decode(self, data: Request) -> Decoded:
        return self.decoder.traces(data[1]) if data[0] == "traces" else self.decoder.logs(data[1])

    def round(self, requests: list[Request]) -> tuple[float, float, float, int]:
        """(seconds of parsing only, of decoding, of mapping, records)."""
        clock = time.process_time
        parsing = decoding = mapping = 0.0
        records = 0
        for data in requests:
            start = clock()
            parse(data)
            parsed = clock()
            decoded = self.decode(data)
            done = clock()
            self.mapper.map(decoded, received_unix_ns=RECEIVED)
            mapping += clock() - done
            decoding += done - parsed
            parsing += parsed - start
            records += decoded.accepted
        return parsing, decoding, mapping, records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    gc.set_threshold(50_000, 20, 50)
    table = Table("mix", "records", "parse only µs", "decode µs", "map µs", "decode + map µs")
    mixes: list[tuple[str, Callable[[int], list[Request]]]] = [
        ("captured spans", lambda _: captures("traces") * 8),
        ("captured logs", lambda _: captures("logs") * 24),
        ("16 attributes, batches of 512", lambda number: traffic(12, 1000 * number)),
        *((kind, partial(logs_of, kind)) for kind in log_traffic.KINDS),
    ]
    for name, requests in mixes:
        bench = Bench(SamplingSettings())
        bench.round(requests(0))
        gc.freeze()
        rows = []
        for number in range(options.rounds):
            parsing, decoding, mapping, records = bench.round(requests(number + 1))
            rows.append([seconds / records * 1e6 for seconds in (parsing, decoding, mapping, decoding + mapping)])
        best = min(rows, key=lambda row: row[3])
        table.add_row(name, str(records), *(f"{figure:.2f}" for figure in best))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
