"""The `mapping:` section of the settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from mapping.rules_settings import IdentifyCompany, IdentifyUser, IdentitySettings, MaskSettings, Presets


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LogSettings(_Section):
    http_from_attributes: bool = Field(
        default=False,
        description="Log records that describe an HTTP exchange in attributes become API calls too (winston, pino).",
    )


class GenAiSettings(_Section):
    content: bool = Field(
        default=False, description="Keep prompts and answers of language models; otherwise they are dropped."
    )


class DbSettings(_Section):
    statement: bool = Field(
        default=False,
        description="Keep database statements (db.statement, db.query.text); otherwise they are dropped.",
    )


class MappingSettings(_Section):
    """How spans and log records become events."""

    identify_user: IdentifyUser = Field(default=IdentifyUser(), description="Where the user of a call is found.")
    identify_company: IdentifyCompany = Field(
        default=IdentifyCompany(), description="Where the company of a call is found."
    )
    presets: Presets = Field(
        default=Presets(), description="otel, or a gateway's own options as they stand in its settings."
    )
    masks: MaskSettings = Field(
        default=MaskSettings(), description="What never leaves the bridge; adds to the defaults."
    )
    trust_forwarded: bool = Field(
        default=True,
        description="Believe captured Host and X-Forwarded-* headers about the public URI and the caller's address.",
    )
    inherit: bool = Field(
        default=True, description="Spans without a user or company take it from their trace, within one request."
    )
    skip_plumbing: bool = Field(
        default=True, description="Skip the spans that frameworks emit around every call; counted, never silent."
    )
    log_body: bool = Field(default=True, description="Keep request and response bodies; false drops them all.")
    logs: LogSettings = LogSettings()
    genai: GenAiSettings = GenAiSettings()
    db: DbSettings = DbSettings()

    @property
    def identity(self) -> IdentitySettings:
        return IdentitySettings.of(self.identify_user, self.identify_company, self.presets)

    @property
    def kept_bodies(self) -> dict[str, bool]:
        """Whether bodies of the "request" and of the "response" are kept."""
        kept = self.log_body and (self.presets.krakend is None or self.presets.krakend.log_body)
        kong = self.presets.kong
        return {
            "request": kept and not (kong is not None and kong.disable_capture_request_body),
            "response": kept and not (kong is not None and kong.disable_capture_response_body),
        }
