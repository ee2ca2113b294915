"""The `admin` block of the settings: where the operator's port is, and who may ask there."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from receiver.endpoint import parse_endpoint
from weighbridge.admin.tokens import TokenSettings


class AdminSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str = Field(
        "127.0.0.1:13133",
        description="host:port of the console, and of /healthz, /readyz and /metrics. Not for the open network.",
    )

    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names by which clients may call this port, beside IP addresses, localhost and the host of "
        "endpoint: a page on the web can make a browser call it by any other. Such as the name of a container.",
    )

    tokens: tuple[TokenSettings, ...] = Field(
        (),
        description="Who may use the console and its API beside the one with the bridge's own token, which is in "
        "console.token of the spool's directory.",
    )

    @field_validator("endpoint")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        parse_endpoint(value)
        return value

    @field_validator("tokens")
    @classmethod
    def _tokens_differ(cls, value: tuple[TokenSettings, ...]) -> tuple[TokenSettings, ...]:
        for what, found in (
            ("names", [one.name for one in value]),
            ("tokens", [one.token.get_secret_value() for one in value]),
        ):
            if len(set(found)) < len(found):
                raise ValueError(f"two tokens have the same {what[:-1]}")
        return value
