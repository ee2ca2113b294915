"""Limits of the embedded engine. They are set when the engine opens its data; a change needs a restart."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EngineSettings(BaseModel):
    """Memory, waiting and reading limits of one engine process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_memory_bytes: int = Field(
        1_500_000_000,
        ge=1_000_000_000,
        description="Bytes the engine may use for queries and inserts; a query that would pass it fails (code 241). "
        "Resident memory can overshoot by about a third.",
    )
    mark_cache_bytes: int = Field(268_435_456, ge=1_048_576, description="Bytes of cached marks of columns.")
    index_mark_cache_bytes: int = Field(67_108_864, ge=1_048_576, description="Bytes of cached marks of skip indexes.")
    primary_index_cache_bytes: int = Field(134_217_728, ge=1_048_576, description="Bytes of cached primary keys.")
    lock_wait_s: float = Field(
        30.0, ge=0, description="Seconds to wait at start for another engine to let go of the same data."
    )
    drain_s: float = Field(60.0, gt=0, description="Seconds that running statements get to finish at stop.")
    max_request_bytes: int = Field(
        268_435_456, ge=1_048_576, description="Largest statement or insert, inflated, in bytes."
    )
    readers: int = Field(2, ge=1, le=16, description="Queries of readers that may run at the same time; more wait.")
    reader_max_execution_s: float = Field(60.0, gt=0, description="Seconds after which a reader's query is stopped.")
    reader_max_memory_bytes: int = Field(600_000_000, ge=100_000_000, description="Bytes one reader's query may use.")
    reader_max_result_bytes: int = Field(67_108_864, ge=65_536, description="Largest answer to a reader, in bytes.")
