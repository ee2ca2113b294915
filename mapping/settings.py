"""The `mapping:` section of the settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from mapping.dialects.table import Dialect, builtin
from mapping.masks.settings import MaskSettings
from mapping.presets import Presets
from mapping.pseudonyms import PseudonymSettings
from mapping.rules.identity_settings import IdentifyCompany, IdentifyUser, IdentitySettings
from mapping.rules.should_skip import compiled


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
    pseudonyms: PseudonymSettings = Field(
        default=PseudonymSettings(), description="Pseudonyms in place of user and company ids."
    )
    should_skip: str | tuple[str, ...] = Field(
        default="",
        description="CEL over req_method, req_path, hasHeader() and event fields; true: the call is skipped.",
    )
    trust_forwarded: bool = Field(
        default=True,
        description="Believe captured Host and X-Forwarded-* headers about the public URI and the caller's address.",
    )
    inherit: bool = Field(
        default=True, description="Spans without a user or company take it from their trace, within one request."
    )
    inherit_across_requests_s: float = Field(
        default=60.0,
        ge=0,
        le=3600,
        description="Seconds for which the user and company of a trace also serve its spans and logs in later "
        "requests; 0: not at all. A replay may then see another order, and give other users.",
    )
    skip_plumbing: bool = Field(
        default=True, description="Skip the spans that frameworks emit around every call; counted, never silent."
    )
    log_body: bool = Field(default=True, description="Keep request and response bodies; false drops them all.")
    dialects: dict[str, Dialect] = Field(
        default={},
        description="Tables of your own that say how a system names things, by its name, with the keys of the files in "
        "mapping/dialects; one of the same name takes the place of a built-in one. See docs/dialects.md.",
    )
    logs: LogSettings = LogSettings()
    genai: GenAiSettings = GenAiSettings()
    db: DbSettings = DbSettings()

    @field_validator("should_skip")
    @classmethod
    def _compiles(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        compiled(value)
        return value

    @field_validator("presets")
    @classmethod
    def _presets_compile(cls, value: Presets) -> Presets:
        if value.krakend is not None:
            compiled(value.krakend.should_skip)
        return value

    @property
    def skip_expressions(self) -> tuple[str, ...]:
        """should_skip and the preset's; any of them may hold."""
        of_gateway = self.presets.krakend.should_skip if self.presets.krakend is not None else ()
        written = (self.should_skip, of_gateway)
        return tuple(part for text in written for part in ((text,) if isinstance(text, str) else text) if part)

    @property
    def secret_names(self) -> tuple[str, ...]:
        """Names under which dialects find a caller's secret."""
        tables = (*builtin().values(), *self.dialects.values())
        return tuple(dict.fromkeys(name for one in tables for name in (*one.logs.key, *one.spans.key)))

    @property
    def identity(self) -> IdentitySettings:
        return self.presets.identity_under(self.identify_user, self.identify_company)

    @property
    def kept_bodies(self) -> dict[str, bool]:
        """Whether bodies of the "request" and of the "response" are kept."""
        kept = self.log_body and (self.presets.krakend is None or self.presets.krakend.log_body)
        kong = self.presets.kong
        return {
            "request": kept and not (kong is not None and kong.disable_capture_request_body),
            "response": kept and not (kong is not None and kong.disable_capture_response_body),
        }
