"""Settings of the receiver: the `receiver` block of the YAML. Defaults live here and nowhere else."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from receiver.decode.request import DecodeLimits
from receiver.endpoint import parse_endpoint as parse_endpoint
from receiver.spool.settings import MIB


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TlsSettings(_Block):
    certificate_file: Path = Field(description="PEM file with the certificate and its chain.")
    private_key_file: Path = Field(description="PEM file with the private key.")
    client_ca_file: Path | None = Field(
        None,
        description="PEM file of authorities. When set, clients must present a certificate they signed (mutual TLS).",
    )
    reload_interval_s: float = Field(
        30.0, gt=0, description="How often the files are looked at; changed ones serve new connections."
    )


class AuthSettings(_Block):
    required: bool | None = Field(
        None,
        description="Whether a request without a key is refused with 401. Default: yes when any key is configured. "
        "When no, a request without a key belongs to the tenant of no name; a wrong key is refused all the same.",
    )
    keys_file: Path | None = Field(
        None,
        description="File of further keys, one `tenant:key` a line (# starts a comment; `sha256:<hex>` keeps the key "
        "itself out of the file). Read again when it changed and was left alone for one interval. A file that is bad "
        "or without a key leaves the keys as they were, which /readyz shows.",
    )
    keys_reload_interval_s: float = Field(5.0, gt=0, description="How often keys_file is looked at.")


class TenantSettings(_Block):
    keys: tuple[SecretStr, ...] = Field(
        (),
        description="Keys that name this tenant, sent as X-Moesif-Application-Id, as a bearer token, or as the "
        "password of basic authentication.",
    )
    max_records_per_s: float | None = Field(
        None, gt=0, description="Spans and log records a second; more is answered 429. Unlimited when absent."
    )
    burst_s: float = Field(10.0, gt=0, description="How many seconds' worth of records may come at once.")
    max_in_flight_bytes: int | None = Field(
        None,
        gt=0,
        description="Bytes of requests being received or stored; more is answered 429. Unlimited when absent.",
    )


class CorsSettings(_Block):
    allowed_origins: tuple[str, ...] = Field(
        (),
        description="Origins whose pages may send, such as https://*.example.com; * stands for any run of characters.",
    )
    allowed_headers: tuple[str, ...] = Field(
        (), description="Request headers allowed beside content-type and content-encoding."
    )
    max_age_s: int = Field(7200, ge=0, description="How long a browser may remember the answer to a preflight.")


class ReceiverSettings(_Block):
    endpoint: str = Field(
        "127.0.0.1:4318", description="host:port that OTLP/HTTP is served on; port 0 picks a free one."
    )
    traces_path: str = Field("/v1/traces", description="Path for spans; any path in front of it is accepted too.")
    logs_path: str = Field("/v1/logs", description="Path for log records; any path in front of it is accepted too.")
    max_body_bytes: int = Field(
        64 * MIB, ge=1024, description="Longest body, as sent and again after decompression; more is answered 413."
    )
    max_records: int = Field(
        50_000,
        ge=1,
        description="Most spans or log records in one request, and most resources and scopes together, else 413.",
    )
    max_elements: int = Field(
        1_000_000, ge=1, description="Most attributes, events, links and nested values in one request, else 413."
    )
    max_in_flight_bytes: int = Field(
        128 * MIB,
        ge=1024,
        description="Bytes of all requests being received or stored; more is answered 503 until some are done. "
        "A decoded request takes about 4.5 times its inflated bytes in memory and counts as five times. "
        "A request that comes alone is always taken; one tenant gets at most half while others send.",
    )
    max_arriving_bytes_per_peer: int = Field(
        32 * MIB,
        ge=1024,
        description="Bytes of bodies that one address (IPv6: one /64 network) has begun to send and not finished; more "
        "is answered 503, one body excepted. Behind a proxy all senders are one address: raise it there.",
    )
    max_connections: int = Field(4096, ge=1, description="Open connections; further ones are answered 503 and closed.")
    max_connections_per_peer: int = Field(
        1024,
        ge=1,
        description="Open connections of one address (IPv6: one /64 network). For a further one an idle one of the "
        "same address is closed; when none is idle it is answered 503. Behind a proxy all senders are one address: "
        "raise it to max_connections there.",
    )
    header_timeout_s: float = Field(
        10.0, gt=0, description="Longest time from the first byte of a request to its last header."
    )
    body_timeout_s: float = Field(
        15.0,
        gt=0,
        description="Time for a body, plus a second for every min_body_bytes_per_s that arrived, at most a minute; "
        "then 408.",
    )
    min_body_bytes_per_s: int = Field(1024, ge=1, description="Slowest sender tolerated beyond body_timeout_s.")
    keepalive_timeout_s: float = Field(
        90.0, gt=0, description="How long an idle connection is kept for the next request."
    )
    tls: TlsSettings | None = Field(None, description="Serve HTTPS. Plain HTTP when absent.")
    auth: AuthSettings = Field(default_factory=AuthSettings, description="Who may send.")
    tenants: dict[str, TenantSettings] = Field(
        default_factory=dict, description="Tenants by name: their keys and quotas."
    )
    cors: CorsSettings = Field(default_factory=CorsSettings, description="Browsers that may send. None by default.")

    def decode_limits(self) -> DecodeLimits:
        """What one request may cost."""
        return DecodeLimits(self.max_body_bytes, self.max_records, self.max_elements)

    @field_validator("endpoint")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        parse_endpoint(value)
        return value

    @field_validator("traces_path", "logs_path")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value.startswith("/") or len(value) < 2:
            raise ValueError("a path starts with / and names something")
        return value

    @model_validator(mode="after")
    def _distinct(self) -> ReceiverSettings:
        if self.traces_path == self.logs_path:
            raise ValueError("traces_path and logs_path must differ")
        keys = [key.get_secret_value() for tenant in self.tenants.values() for key in tenant.keys]
        if len(set(keys)) < len(keys):
            raise ValueError("tenants: the same key is given twice")
        if "" in keys:
            raise ValueError("tenants: a key is empty")
        return self
