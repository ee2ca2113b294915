"""Where the store is and how it keeps: the settings of a sink of type clickhouse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import Field, model_validator

from exporter.clickhouse.engine.endpoint import DEFAULT_DATABASE, Endpoint
from exporter.clickhouse.engine.settings import EngineSettings
from exporter.http_address import refuse_odd_address
from exporter.settings import SinkSettings

RetentionClass = Literal["bodies", "headers", "log_bodies", "addresses"]


class Settings(SinkSettings):
    """The analytics store: ClickHouse, embedded or a server."""

    counts_calls: ClassVar[bool] = True

    type: Literal["clickhouse"] = "clickhouse"
    dsn: str = Field(
        description="chdb:///folder (embedded; ?database=name), or http(s)://user:password@host:port/database.",
        repr=False,  # may hold a password
    )
    retention_days: int = Field(90, ge=1, le=36_500, description="Days after which the store deletes events.")
    retention_bytes: int = Field(
        0,
        ge=0,
        description="Bytes that stored events may take on disk: beyond it the oldest days go, never the newest. 0: any "
        "number. For the embedded store and single servers.",
    )
    class_days: dict[RetentionClass, Annotated[int, Field(ge=1, le=36_500)]] = Field(
        default_factory=dict,
        description="Days after which a part of events is emptied while they stay: of bodies and headers (of calls), "
        "log_bodies, addresses. For example {bodies: 14, headers: 30}.",
    )
    minutes_retention_days: int = Field(
        400,
        ge=1,
        le=36_500,
        description="Days after which the store deletes counts: the table api_minutes, which tells of calls by minute, "
        "and after a week by hour.",
    )
    cluster: str = Field(
        "", description="Name of the ClickHouse cluster to spread the table over; empty for one server."
    )
    shared: bool | Literal["auto"] = Field(
        "auto",
        description=(
            "true: other bridges may write to the same table, so before each batch the store is asked which of its "
            "events it has. false: only this bridge does, and it asks about old events alone. auto: true for a server."
        ),
    )
    compression: Literal["lz4", "zstd", "none"] = Field(
        "lz4", description="Compression of inserts on their way to a server; the embedded engine gets them plain."
    )
    connect_timeout_s: int = Field(10, ge=1, description="Seconds to wait for a connection.")
    timeout_s: int = Field(300, ge=1, description="Seconds to wait for the answer to an insert.")
    insert_settings: dict[str, str | int] = Field(
        default_factory=dict, description="ClickHouse settings sent with every insert, beside the bridge's own."
    )
    engine: EngineSettings = Field(default=EngineSettings(), description="Limits of the embedded engine.")

    @model_validator(mode="after")
    def _known_scheme(self) -> Self:
        try:
            parts = urlsplit(self.dsn)
        except ValueError:
            raise ValueError("dsn is no address") from None
        if parts.scheme not in ("chdb", "http", "https"):
            raise ValueError("dsn must begin with chdb://, http:// or https://")
        known = {"database"} if parts.scheme == "chdb" else set()
        for name, _ in parse_qsl(parts.query, keep_blank_values=True):
            if name not in known:  # a password there would be read by nobody
                raise ValueError(
                    f"dsn: ?{name}= is not read; write chdb:///folder or http://user:password@host/database"
                )
        if parts.scheme == "chdb" and not (parts.netloc or parts.path.strip("/")):
            raise ValueError("dsn names no folder: chdb:///var/lib/weighbridge/store")
        if parts.scheme != "chdb":
            refuse_odd_address(self.dsn)
        if parts.scheme == "chdb" and self.cluster:
            raise ValueError("cluster needs a server: the embedded engine has none")
        if self.cluster and self.retention_bytes:
            raise ValueError("retention_bytes is for one store: on a cluster each shard has a size of its own")
        return self

    @property
    def engine_path(self) -> Path | None:
        """The embedded engine's folder; None when the store is a server."""
        parts = urlsplit(self.dsn)
        return Path(unquote(parts.netloc + parts.path)) if parts.scheme == "chdb" else None

    @property
    def database(self) -> str:
        parts = urlsplit(self.dsn)
        named = dict(parse_qsl(parts.query)).get("database", "") if parts.scheme == "chdb" else parts.path.strip("/")
        return unquote(named) or DEFAULT_DATABASE

    @property
    def server(self) -> Endpoint | None:
        """The server's address; None for the embedded engine, whose supervisor knows it."""
        parts = urlsplit(self.dsn)
        if parts.scheme == "chdb":
            return None
        secure = parts.scheme == "https"
        return Endpoint(
            parts.hostname or "",
            parts.port or (8443 if secure else 8123),
            unquote(parts.username or "default"),
            unquote(parts.password or ""),
            self.database,
            secure,
        )
