"""The blocks that two gateways know, pasted as they are: their options as settings of identity and masks."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from mapping.masks.settings import MaskRule, MaskSettings, Place
from mapping.rules.identity_settings import (
    FROZEN,
    HeaderNames,
    IdentifyCompany,
    IdentifyUser,
    IdentitySettings,
    Names,
    over,
)

# Begins the description of options that are taken so that a block can be pasted whole; `weighbridge check` says it.
NO_EFFECT = "Accepted, without effect: "
_DEEPEST = 8  # levels of a gateway's file above the plugin: file, services, service, plugins, plugin, config


class KrakendIdentifyCompany(BaseModel):
    """KrakenD's `identify_company`: exactly one of three."""

    model_config = FROZEN

    header: str = ""
    jwt_claim: str = ""
    query_string: str = ""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(map(bool, (self.header, self.jwt_claim, self.query_string))) != 1:
            raise ValueError("identify_company takes exactly one of header, jwt_claim, query_string")
        return self


class KrakendPreset(BaseModel):
    """The block `telemetry/moesif` of a KrakenD gateway, pasted. Defaults are KrakenD's."""

    model_config = FROZEN

    application_id: SecretStr = Field(default=SecretStr(""), description="Of moesif sinks that name none.")
    user_id_headers: HeaderNames = Field(
        default=(), description="The first that exists names the user, or nobody. Empty: as without a preset."
    )
    user_id_jwt_claim: str = "sub"
    identify_company: KrakendIdentifyCompany | None = None
    log_body: bool = Field(default=True, description="False: bodies are dropped.")
    request_header_masks: HeaderNames = ()
    response_header_masks: HeaderNames = ()
    request_body_masks: Names = ()
    response_body_masks: Names = ()
    should_skip: str | tuple[str, ...] = Field(default="", description="CEL: true means not reported.")
    debug: bool = Field(default=False, description=f"{NO_EFFECT}telemetry.log_level is `debug` here.")
    batch_size: int = Field(default=200, gt=0, description="Most events in one request of a moesif sink.")
    event_queue_size: int = Field(default=1_000_000, gt=0, description=f"{NO_EFFECT}nothing is discarded.")
    timer_wake_up_seconds: int = Field(
        default=2, gt=0, description="Longest wait for a batch of a moesif sink, in seconds."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.user_id_headers and not self.application_id.get_secret_value():
            raise ValueError("user_id_headers is needed, or application_id: a block as KrakenD or Moesif show it")
        return self

    def user(self) -> IdentifyUser:
        if not self.user_id_headers:
            return IdentifyUser(jwt_claim=self.user_id_jwt_claim)
        return IdentifyUser(
            headers=self.user_id_headers,
            jwt_claim=self.user_id_jwt_claim,
            stop_at_first_header=True,
            text_claims_only=True,
        )

    def company(self) -> IdentifyCompany:
        where = self.identify_company or KrakendIdentifyCompany.model_construct()
        return IdentifyCompany(
            headers=(where.header,) if where.header else (),
            jwt_claim=where.jwt_claim,
            query_string=where.query_string,
            text_claims_only=True,
        )


class KongPreset(BaseModel):
    """The settings of Kong's Moesif plugin, pasted: identity, masks and capture. Attributes are not read."""

    model_config = FROZEN

    application_id: SecretStr = Field(default=SecretStr(""), description="Of moesif sinks that name none.")
    user_id_header: HeaderNames = ()
    authorization_header_name: HeaderNames = ("authorization",)
    authorization_user_id_field: str = "sub"
    company_id_header: HeaderNames = ()
    authorization_company_id_field: str = ""
    disable_capture_request_body: bool = False
    disable_capture_response_body: bool = False
    request_header_masks: HeaderNames = ()
    response_header_masks: HeaderNames = ()
    request_body_masks: Names = ()
    response_body_masks: Names = ()
    request_query_masks: Names = ()
    request_masks: Names = Field(default=(), description="The older name of request_body_masks.")
    response_masks: Names = Field(default=(), description="The older name of response_body_masks.")
    api_endpoint: str | None = Field(default=None, description="Address of moesif sinks that name none.")
    batch_size: int | None = Field(default=None, gt=0, description="Most events in one request of a moesif sink.")
    enable_compression: bool | None = Field(default=None, description="Whether moesif sinks compress requests.")
    disable_moesif_payload_compression: bool | None = Field(
        default=None, description="The older name of enable_compression, the other way round."
    )
    # Of the plugin's own way to Moesif.
    api_version: str | None = Field(default=None, description=f"{NO_EFFECT}of the plugin's own delivery.")
    connect_timeout: float | None = Field(default=None, description=f"{NO_EFFECT}a moesif sink has timeout_s.")
    send_timeout: float | None = Field(default=None, description=f"{NO_EFFECT}a moesif sink has timeout_s.")
    timeout: float | None = Field(default=None, description=f"{NO_EFFECT}a moesif sink has timeout_s.")
    keepalive: float | None = Field(default=None, description=f"{NO_EFFECT}connections are kept open.")
    event_queue_size: int | None = Field(default=None, description=f"{NO_EFFECT}nothing is discarded.")
    max_callback_time_spent: float | None = Field(default=None, description=f"{NO_EFFECT}no proxy waits for us.")
    # Of what the plugin captures in Kong; here the instrumentation captures.
    request_max_body_size_limit: int | None = Field(
        default=None, description=f"{NO_EFFECT}the instrumentation decides what it captures."
    )
    response_max_body_size_limit: int | None = Field(
        default=None, description=f"{NO_EFFECT}the instrumentation decides what it captures."
    )
    disable_gzip_payload_decompression: bool | None = Field(
        default=None, description=f"{NO_EFFECT}compressed bodies are read, or not kept."
    )
    disable_transaction_id: bool | None = Field(
        default=None, description=f"{NO_EFFECT}nothing is added to requests or responses."
    )
    debug: bool | None = Field(default=None, description=f"{NO_EFFECT}telemetry.log_level is `debug` here.")

    @property
    def compresses(self) -> bool | None:
        """Whether requests to Moesif are compressed; None where nothing is said."""
        if self.enable_compression is not None or self.disable_moesif_payload_compression is None:
            return self.enable_compression
        return not self.disable_moesif_payload_compression

    def user(self) -> IdentifyUser:
        return IdentifyUser(
            headers=self.user_id_header,
            attributes=(),
            authorization_headers=self.authorization_header_name,
            jwt_claim=self.authorization_user_id_field,
        )

    def company(self) -> IdentifyCompany:
        return IdentifyCompany(
            headers=self.company_id_header, attributes=(), jwt_claim=self.authorization_company_id_field
        )


def _unwrapped(block: Any) -> Any:
    """A pasted block without what stands around it in the gateway's file: `{gateway: its options}`.

    What is no gateway's file comes back as it is, but for KrakenD's comment keys.
    """
    if isinstance(block, dict) and (name := next((name for name in ("krakend", "kong") if name in block), None)):
        found = _found(block[name], 1) if isinstance(block[name], dict | list) else None
        options = found[name] if found and name in found else block[name]
        if name == "kong" and isinstance(options, dict) and set(options) == {"config"}:
            options = options["config"]
        return {**block, name: _given(options)}
    found = _found(block, 0)
    if found is not None:
        return {name: _given(options) for name, options in found.items()}
    return _given(block)


def _found(block: Any, depth: int) -> dict[str, Any] | None:
    """The first Moesif plugin of Kong or `telemetry/moesif` of KrakenD in a file of theirs, at any level."""
    if depth > _DEEPEST:
        return None
    if isinstance(block, dict):
        if isinstance(options := block.get("telemetry/moesif"), dict):
            return {"krakend": options}
        if "moesif" in (block.get("name"), block.get("plugin")) and isinstance(block.get("config"), dict):
            return {"kong": block["config"]}
    inner = block.values() if isinstance(block, dict) else block if isinstance(block, list) else ()
    return next(filter(None, (_found(part, depth + 1) for part in inner)), None)


def _given(options: Any) -> Any:
    """Options without comments (KrakenD's @comment) and without those that are null, as tools print what is not set."""
    if not isinstance(options, dict):
        return options
    return {key: item for key, item in options.items() if str(key)[:1] != "@" and item is not None}


class Presets(BaseModel):
    """`otel`, `kong` or `krakend`, and that gateway's own options.

    Written as a name (`presets: otel`), under the gateway's name (`presets: {kong: {…}}`), or with the gateway's
    option names directly (`presets: {user_id_headers: [X-User-Id]}`).
    """

    model_config = FROZEN

    krakend: KrakendPreset | None = None
    kong: KongPreset | None = None

    @model_validator(mode="before")
    @classmethod
    def _spelled(cls, value: object) -> object:
        if value is None or value == "otel":
            return {}
        if isinstance(value, str):
            return {value: {}}
        value = _unwrapped(value)
        if not isinstance(value, dict):
            return value
        names = set(value)
        if names and names <= {"krakend", "kong", "otel"}:
            return {key: item if item is not None else {} for key, item in value.items() if key != "otel"}
        for name, model in (("krakend", KrakendPreset), ("kong", KongPreset)):
            if names and names <= set(model.model_fields):
                return {name: value}
        return value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.krakend is not None and self.kong is not None:
            raise ValueError("presets takes one gateway, not both kong and krakend")
        return self

    @property
    def name(self) -> Literal["otel", "kong", "krakend"]:
        return "krakend" if self.krakend is not None else "kong" if self.kong is not None else "otel"

    @property
    def without_effect(self) -> dict[str, str]:
        """The options that were pasted and mean nothing here, with the reason."""
        gateway = self._gateway
        if gateway is None:
            return {}
        fields = type(gateway).model_fields
        told = {name: fields[name].description or "" for name in fields if name in gateway.model_fields_set}
        return {name: text.removeprefix(NO_EFFECT) for name, text in told.items() if text.startswith(NO_EFFECT)}

    @property
    def _gateway(self) -> KrakendPreset | KongPreset | None:
        return self.krakend or self.kong

    def masks_over(self, settings: MaskSettings) -> MaskSettings:
        """These settings and the masks of the pasted block."""
        gateway = self._gateway
        if gateway is None:
            return settings
        pasted: tuple[tuple[Place, tuple[str, ...]], ...] = (
            ("request_headers", gateway.request_header_masks),
            ("response_headers", gateway.response_header_masks),
            ("request_body", gateway.request_body_masks + getattr(gateway, "request_masks", ())),
            ("response_body", gateway.response_body_masks + getattr(gateway, "response_masks", ())),
            ("query", getattr(gateway, "request_query_masks", ())),
        )
        more = tuple(MaskRule(keys=keys, places=(place,)) for place, keys in pasted if keys)
        return settings.model_copy(update={"rules": settings.rules + more})

    def identity_under(self, user: IdentifyUser, company: IdentifyCompany) -> IdentitySettings:
        """The pasted block's identity; what `user` and `company` state themselves wins."""
        gateway = self._gateway
        if gateway is None:
            return IdentitySettings(user=user, company=company)
        return IdentitySettings(user=over(gateway.user(), user), company=over(gateway.company(), company))
