"""Settings of what the bridge tells about itself: the `telemetry` block of the YAML."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from exporter.http_address import refuse_no_otlp_base


class TelemetrySettings(BaseModel):
    """What the bridge tells about itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="debug, info, warning or error, to standard error. debug also says why a call has no user and why "
        "a span is skipped: each reason once a minute, without values.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="text, or json: an object a line, for a collector of logs."
    )
    otlp_endpoint: str = Field(
        "",
        description="Address without /v1/metrics, http(s)://host:4318, that gets the metrics of /metrics and what is "
        "logged at warning and above. Empty: nothing is sent.",
        repr=False,
    )
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="Headers of these requests, such as Authorization."
    )
    interval_s: float = Field(60.0, ge=1, description="How often metrics are sent, in seconds.")

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value:
            refuse_no_otlp_base(value)
        return value
