"""Requests of real systems (tests/testdata/captures, README.md there) as events, and the truth of what was called."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from mapping.event import Event
from mapping.mapper import Mapper
from mapping.otlp.decode import Decoder
from mapping.otlp.records import Decoded
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.settings import MappingSettings
from project_files import TESTDATA
from receiver.decode.request import DecodeLimits, decode_request

CAPTURES = TESTDATA / "captures"
LIMITS = DecodeLimits(max_body_bytes=1 << 26, max_records=100_000, max_elements=10_000_000)


def requests_of(system: str) -> list[Path]:
    """The bodies that a system sent, in the order in which it did."""
    return sorted((CAPTURES / system).glob("*.bin"))


def decode(body: Path) -> Decoded:
    """A request as the receiver decodes it."""
    headers = {name.lower(): value for name, value in _stated(body)["headers"]}
    return decode_request(
        Decoder(),
        "logs" if body.stem.endswith("logs") else "traces",
        headers["content-type"],
        headers.get("content-encoding", ""),
        body.read_bytes(),
        LIMITS,
    )


def map_requests(bodies: list[Path], settings: MappingSettings | None = None, tenant: str = "") -> list[list[Event]]:
    """The events of each request, mapped by one bridge in this order."""
    mapper = Mapper(settings or MappingSettings(), Sampler(SamplingSettings()))
    decoded = [(decode(body), received_ns(body)) for body in bodies]
    return [mapper.map(one, received_unix_ns=received, tenant=tenant).events for one, received in decoded]


def received_ns(body: Path) -> int:
    """When a request came."""
    at = datetime.fromisoformat(_stated(body)["received_at"])
    return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000


def _stated(body: Path) -> dict[str, Any]:
    stated: dict[str, Any] = orjson.loads(body.with_name(body.name.replace(".bin", ".headers.json")).read_bytes())
    return stated


def truth_of(system: str) -> list[dict[str, Any]]:
    """What was really called, one item a call."""
    known = orjson.loads((CAPTURES / system / "truth.json").read_bytes())
    calls: list[dict[str, Any]] = known["calls"] if isinstance(known, dict) else known
    return calls
