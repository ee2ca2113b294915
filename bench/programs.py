"""The programs that `bench.end_to_end` puts side by side: the bridge in several ways, rotel, and a Collector."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench.process import Program, free_port
from bench.sinkhole import DATABASE

Start = Callable[[Path], tuple[Program, int]]  # directory -> running program, its OTLP port

COLLECTOR = "OTELCOL"  # names a Collector's program in the environment
STATEMENTS = Path(__file__).parent / "ottl.yaml"


def weighbridge(sink: Mapping[str, object], lanes: int = 0, **sections: Mapping[str, object]) -> Start:
    """sections: what to change in its settings."""

    def start(directory: Path) -> tuple[Program, int]:
        port = free_port()
        settings: dict[str, Any] = {
            "receiver": {"endpoint": f"127.0.0.1:{port}"},
            "admin": {"endpoint": f"127.0.0.1:{free_port()}"},
            "spool": {"directory": str(directory / "spool")},
            "lanes": lanes,
            "exporter": {"sinks": [{"name": "bench", **sink}]},
            "mapping": {"inherit_across_requests_s": 0} if lanes > 1 else {},
            **sections,
        }
        command = [sys.executable, "-m", "weighbridge", "serve", "--config", _written(directory, settings)]
        return _started(command, directory, port)

    return start


def rotel(*options: str) -> Start:
    def start(directory: Path) -> tuple[Program, int]:
        import rotel as package

        port = free_port()
        binary = Path(package.__path__[0]) / "rotel-agent"
        command = [str(binary), "start", "--otlp-http-endpoint", f"127.0.0.1:{port}"]
        command += ["--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}", *options]
        return _started(command, directory, port)

    return start


def collector(store: str, *, mapping: bool) -> Start:
    """mapping: with statements that do a part of what the bridge does."""

    def start(directory: Path) -> tuple[Program, int]:
        port = free_port()
        statements = yaml.safe_load(STATEMENTS.read_text())
        processors: dict[str, Any] = {"batch": {"send_batch_size": 10_000, "timeout": "1s"}}
        if mapping:
            processors["transform"] = {"error_mode": "ignore", "trace_statements": statements}
        line = {"receivers": ["otlp"], "processors": list(reversed(processors)), "exporters": ["clickhouse"]}
        settings = {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
            "processors": processors,
            "exporters": {
                "clickhouse": {"endpoint": f"{store}?database={DATABASE}", "create_schema": True, "compress": "none"}
            },
            "service": {
                "pipelines": {"traces": line, "logs": {**line, "processors": ["batch"]}},
                "telemetry": {"metrics": {"level": "none"}},
            },
        }
        return _started([os.environ[COLLECTOR], "--config", _written(directory, settings)], directory, port)

    return start


def _written(directory: Path, settings: Mapping[str, object]) -> str:
    path = directory / "settings.yaml"
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def _started(command: Sequence[str], directory: Path, port: int) -> tuple[Program, int]:
    program = Program(command, directory / "log")
    program.wait_for_port(port)
    return program, port
