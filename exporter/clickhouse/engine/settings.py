"""Limits of the embedded engine. They are set when the engine opens its data; a change needs a restart."""

from __future__ import annotations

import re
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from exporter.clickhouse.engine.endpoint import READER, WRITER

_NAME = re.compile(r"[A-Za-z_][\w.@-]{0,63}")
USERS_VARIABLE = "WEIGHBRIDGE_ENGINE_USERS"  # of the engine's environment: `users`, as JSON
_SHORTEST_PASSWORD = 8  # characters


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
    endpoint: str = Field(
        "",
        pattern=r"^(|[^\s:]+:\d{1,5}|\[[0-9A-Fa-f:]+\]:\d{1,5})$",
        description="host:port on which tools may ask the embedded store in ClickHouse's HTTP protocol, as one of "
        "`users`. Without TLS: a loopback address, unless something in front has it. Empty: none.",
    )
    users: dict[str, SecretStr] = Field(
        default_factory=dict,
        max_length=64,
        description="Names and passwords of those who may ask there, read-only; for example "
        "{grafana: '${env:GRAFANA_PASSWORD}'}.",
    )

    @model_validator(mode="after")
    def _who_may_ask(self) -> Self:
        for name, secret in self.users.items():
            if not _NAME.fullmatch(name) or name in (READER, WRITER):
                raise ValueError(f"users: {name[:64]!r} is no name for a user of the store")
            if len(secret.get_secret_value()) < _SHORTEST_PASSWORD:
                raise ValueError(f"users: the password of {name} is shorter than {_SHORTEST_PASSWORD} characters")
        if bool(self.endpoint) != bool(self.users):
            raise ValueError("endpoint and users go together: nobody could ask, or nowhere")
        return self

    @property
    def address(self) -> tuple[str, int] | None:
        """Of `endpoint`."""
        host, _, port = self.endpoint.rpartition(":")
        return (host.strip("[]"), int(port)) if self.endpoint else None
