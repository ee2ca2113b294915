"""Settings of the spool."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MIB = 1 << 20


class SpoolSettings(BaseModel):
    """Where requests are kept until every sink has them, and how much of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    directory: Path = Field(
        default=Path("data/spool"),
        description="Directory of the segments, created with mode 0700. One process at a time.",
    )
    max_bytes: int = Field(
        default=10 * 1024 * MIB,
        ge=1 * MIB,
        description="Bytes the spool may hold. Beyond it new requests are answered 503 until sinks have caught up.",
    )
    min_free_bytes: int = Field(
        default=8 * MIB,
        ge=0,
        description=(
            "Bytes of the file system left to others, the sinks' journals among them, which need room for the spool to "
            "empty. Below it new requests are answered 503."
        ),
    )
    segment_bytes: int = Field(
        default=32 * MIB,
        ge=4096,
        le=1024 * MIB,
        description="Bytes after which a new segment file is begun. Space is given back in whole segments.",
    )
    seal_after_s: float = Field(
        default=60.0,
        ge=0.1,
        description=(
            "Seconds after which a new segment file is begun even if this one is small, so that what every sink has "
            "does not stay on disk in clear until segment_bytes have come. At stop and at start it goes at once."
        ),
    )
    fsync: Literal["group", "none"] = Field(
        default="group",
        description=(
            "group: a request is acknowledged after fdatasync, one for all requests that wait. "
            "none: acknowledged when the kernel has it; a power cut then loses acknowledged requests."
        ),
    )
    max_wait_ms: float = Field(
        default=0.0,
        ge=0.0,
        le=1000.0,
        description="Milliseconds to wait for more requests before a group is written. 0: as soon as the last is done.",
    )
    max_queued_bytes: int = Field(
        default=64 * MIB,
        ge=1 * MIB,
        description="Bytes of request bodies that may wait for the disk. Beyond it new requests are answered 503.",
    )
    remember_s: float = Field(
        default=3600.0,
        ge=0.0,
        description="Seconds for which an identical request is recognised and not stored again, also after a restart.",
    )
    remember_max_requests: int = Field(
        default=4_000_000,
        ge=1000,
        description=(
            "Requests remembered at most, 17 bytes of memory each. Beyond it the oldest are forgotten, and counted."
        ),
    )
    quarantine_max_bytes: int = Field(
        default=64 * MIB,
        ge=0,
        description="Bytes of damaged requests kept in the directory's quarantine folder for inspection. 0: none.",
    )

    @model_validator(mode="after")
    def _room_for_segments(self) -> SpoolSettings:
        if self.segment_bytes * 4 > self.max_bytes:
            raise ValueError(
                f"segment_bytes is {self.segment_bytes}, must be at most a quarter of max_bytes ({self.max_bytes})"
            )
        return self
