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
    user_id_headers: HeaderNames = Field(min_length=1, description="The first that exists names the user, or nobody.")
    user_id_jwt_claim: str = "sub"
    identify_company: KrakendIdentifyCompany | None = None
    log_body: bool = Field(default=True, description="False: bodies are dropped.")
    request_header_masks: HeaderNames = ()
    response_header_masks: HeaderNames = ()
    request_body_masks: Names = ()
    response_body_masks: Names = ()
    should_skip: str | tuple[str, ...] = Field(default="", description="CEL: true means not reported.")
    debug: bool = Field(default=False, description="Accepted, without effect: see `weighbridge tail`.")
    batch_size: int = Field(default=200, gt=0, description="Most events in one request of a moesif sink.")
    event_queue_size: int = Field(
        default=1_000_000, gt=0, description="Accepted, without effect: nothing is discarded."
    )
    timer_wake_up_seconds: int = Field(
        default=2, gt=0, description="Longest wait for a batch of a moesif sink, in seconds."
    )

    def user(self) -> IdentifyUser:
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


# Options of Kong's plugin that speak of its own delivery: accepted so that its settings can be pasted whole.
_KONG_WITHOUT_EFFECT = frozenset(
    (
        "api_endpoint",
        "api_version",
        "batch_size",
        "connect_timeout",
        "debug",
        "disable_gzip_payload_decompression",
        "disable_moesif_payload_compression",
        "disable_transaction_id",
        "event_queue_size",
        "keepalive",
        "max_callback_time_spent",
        "request_max_body_size_limit",
        "response_max_body_size_limit",
        "send_timeout",
        "timeout",
    )
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

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {key: item for key, item in value.items() if key not in _KONG_WITHOUT_EFFECT}

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


def _unwrapped(block: dict[str, Any]) -> dict[str, Any]:
    """A pasted block without what stands around it in the gateway's file, and without KrakenD's comment keys."""
    if isinstance(block.get("extra_config"), dict):
        block = block["extra_config"]
    if block.get("name") == "moesif" and isinstance(block.get("config"), dict):
        return {"kong": block["config"]}
    if isinstance(block.get("telemetry/moesif"), dict):
        block = {"krakend": block["telemetry/moesif"]}
    if isinstance(block.get("krakend"), dict):
        return {**block, "krakend": {key: item for key, item in block["krakend"].items() if key[:1] != "@"}}
    return {key: item for key, item in block.items() if key[:1] != "@"}


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
        if not isinstance(value, dict):
            return value
        value = _unwrapped(value)
        names = set(value)
        if names and names <= {"krakend", "kong", "otel"}:
            return {key: item if item is not None else {} for key, item in value.items() if key != "otel"}
        for name, model in (("krakend", KrakendPreset), ("kong", KongPreset)):
            known = set(model.model_fields) | (_KONG_WITHOUT_EFFECT if model is KongPreset else set())
            if names and names <= known:
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
            ("request_body", gateway.request_body_masks),
            ("response_body", gateway.response_body_masks),
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
