"""How sinks are fed: shared by all of them, and overridable per sink."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class BatchSettings(BaseModel):
    """When a batch is closed: whichever bound is met first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_events: int = Field(10_000, ge=1, le=1_000_000, description="Events in a batch.")
    max_bytes: int = Field(16 << 20, ge=1 << 16, description="Received bytes (inflated) behind a batch.")
    max_age_s: float = Field(1.0, gt=0, description="Oldest event's wait before its batch is closed, in seconds.")
    span_wait_s: float = Field(
        30.0,
        ge=0,
        description="How long a call read from a log record waits for the span of the same call, in seconds.",
    )
    remember_events: int = Field(
        250_000,
        ge=1,
        description="Event ids kept in memory to recognise duplicates (up to twice as many, about 70 bytes each); "
        "for events older than this memory the destination is asked.",
    )


class RetrySettings(BaseModel):
    """Exponential backoff. There is no attempt or age limit: events wait in the spool until the destination is back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    initial_interval_s: float = Field(0.5, gt=0, description="Wait before the first retry, in seconds.")
    max_interval_s: float = Field(5.0, gt=0, description="Longest wait between retries, in seconds.")
    multiplier: float = Field(1.5, ge=1, description="Growth of the wait from one retry to the next.")
    jitter: float = Field(0.2, ge=0, lt=1, description="Each wait is varied by up to this share, both ways.")
    unauthorised_interval_s: float = Field(
        30.0, gt=0, description="Wait after the destination refused our credentials, in seconds."
    )


class WhenSettings(BaseModel):
    """A condition on an event, as in sampling rules."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="What to look at: region, company, tenant, resource.cloud.region, ...")
    op: Literal["eq", "in", "prefix", "regex", "gte", "lte", "exists"] = Field(description="How to compare.")
    value: Any = Field(default=True, description="What to compare with; for exists, true or false.")


class SinkSettings(BaseModel):
    """What every sink has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forwards_requests: ClassVar[bool] = False  # True: the sink gets requests (`exporter.forward`), not events
    counts_calls: ClassVar[bool] = False  # True: the sink counts calls by minute, those too that sampling dropped

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$",
        description="Names the sink in metrics, logs and files; changing it sends the spool again.",
    )
    type: str = Field(description="Kind of destination.")
    backlog_bytes: int | None = Field(
        None,
        ge=1 << 16,
        description=(
            "Bytes of the spool that may wait for this sink. Beyond it the oldest are given up for this sink alone, "
            "logged and counted as `dropped`. Never when absent: then a sink that stays away fills the spool, and all "
            "senders are answered 503."
        ),
    )
    when: tuple[WhenSettings, ...] = Field(
        (),
        description="Only events for which all of these hold; the others are counted as `routed`. Empty: every event.",
    )
    group: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9_-]{0,63})?$",
        description="Sinks of one group share events: each goes to the first whose `when` holds, so to exactly one. "
        "The last of a group has no `when`.",
    )
    batch: BatchSettings | None = Field(
        None, description="Batches of this sink; those of `exporter.batch` when absent."
    )
    retry: RetrySettings | None = Field(
        None, description="Retries of this sink; those of `exporter.retry` when absent."
    )

    @property
    def engine_path(self) -> Path | None:
        """The folder of an embedded engine that the sink runs; None when it runs none."""
        return None
