"""Settings of the mapping rules: identity and the option names of two gateways (mapping.md §5), masks (§7).

Header names are compared without case, attribute names and claims as written.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

Settings = TypeVar("Settings", bound=BaseModel)
FROZEN = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def _listed(value: object) -> object:
    """One name, a comma list or a list of names, as a list."""
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in names)


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
HeaderNames = Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_lower)]

USER_ATTRIBUTES = (
    "moesif.user_id",
    "user.id",
    "enduser.id",
    "usr.id",
    "user_id",
    "userId",
    "app.user.id",
    "enduser.pseudo.id",
    "user.hash",
)
COMPANY_ATTRIBUTES = (
    "moesif.company_id",
    "company.id",
    "organization.id",
    "org.id",
    "tenant.id",
    "account.id",
    "company_id",
    "companyId",
    "organization_id",
    "org_id",
    "tenant_id",
    "account_id",
)


class IdentifyUser(BaseModel):
    """Where the user of a call is found. The order of the places is fixed (mapping.md §5.1)."""

    model_config = FROZEN

    headers: HeaderNames = Field(
        default=(), description="Request headers read first, in order; `Authorization` means its token."
    )
    attributes: Names = Field(
        default=USER_ATTRIBUTES, description="Span and log attributes, and log body keys, read next; [] for none."
    )
    authorization_headers: HeaderNames = Field(
        default=("authorization",), description="Headers that carry a token: Bearer, Basic or other."
    )
    jwt_claim: str = Field(default="sub", description="Claim of a JWT that names the user; dots reach into objects.")
    query_string: str = Field(default="", description="Query parameter that names the user; empty for none.")
    stop_at_first_header: bool = Field(
        default=False, description="The first listed header that exists decides, even when it names nobody (KrakenD)."
    )
    text_claims_only: bool = Field(default=False, description="Refuse numbers as claims (KrakenD).")


class IdentifyCompany(BaseModel):
    """Where the company of a call is found. KrakenD's `header` is accepted for `headers`."""

    model_config = FROZEN

    headers: HeaderNames = Field(
        default=(), alias="header", description="Headers read first, of the request, then of the response."
    )
    attributes: Names = Field(
        default=COMPANY_ATTRIBUTES, description="Span and log attributes, and log body keys, read next; [] for none."
    )
    jwt_claim: str = Field(default="", description="Claim that names the company; empty for none.")
    query_string: str = Field(default="", description="Query parameter that names the company; empty for none.")
    text_claims_only: bool = Field(default=False, description="Refuse numbers as claims (KrakenD).")


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


Place = Literal[
    "request_headers", "response_headers", "query", "request_body", "response_body", "log_body", "attributes"
]
Action = Literal["mask", "remove", "hash"]


class MaskRule(BaseModel):
    """What is hidden, where and how, beyond the defaults."""

    model_config = FROZEN

    keys: Names = Field(
        min_length=1,
        description="Header names, query parameters, or keys of bodies and attributes. A bare key matches at any "
        "depth, a path like `card.owner` or `orders[*].card` from the top. Case, `-` and `_` do not matter.",
    )
    places: tuple[Place, ...] = Field(default=(), description="Where the rule holds; empty for everywhere.")
    action: Action = Field(
        default="mask", description="mask, remove, or hash (HMAC-SHA-256, so that joins still work)."
    )


class MaskSettings(BaseModel):
    """What never leaves the bridge (mapping.md §7). What is listed here adds to the defaults."""

    model_config = FROZEN

    defaults: bool = Field(default=True, description="Mask the usual headers, query parameters and keys.")
    headers: HeaderNames = Field(default=(), description="More headers to mask, of requests and responses.")
    query: Names = Field(default=(), description="More query parameters to mask.")
    keys: Names = Field(default=(), description="More keys to mask, in bodies, log bodies and attributes.")
    rules: tuple[MaskRule, ...] = Field(default=(), description="Masks with a place or an action of their own.")
    hash_key: SecretStr = Field(
        default=SecretStr(""), description="Key of HMAC-SHA-256; needed when anything is hashed."
    )
    drop_attributes: Names = Field(
        default=(), description="Globs of attributes that are dropped, such as `db.statement`."
    )
    ip_address: Literal["keep", "truncate", "hash"] = Field(
        default="keep", description="truncate keeps the /24 of IPv4 and the /48 of IPv6."
    )
    patterns: tuple[Literal["email", "pan", "iban", "token"], ...] = Field(
        default=(), description="Hide values that look like mail addresses, card numbers, IBANs or credentials."
    )

    @model_validator(mode="after")
    def _hash_needs_a_key(self) -> Self:
        hashing = self.ip_address == "hash" or any(rule.action == "hash" for rule in self.rules)
        if hashing and not self.hash_key.get_secret_value():
            raise ValueError("hash_key is needed because something is hashed")
        return self

    def with_preset(self, presets: Presets) -> MaskSettings:
        """These settings and the masks of a pasted gateway block."""
        gateway = presets.krakend or presets.kong
        if gateway is None:
            return self
        pasted: tuple[tuple[Place, tuple[str, ...]], ...] = (
            ("request_headers", gateway.request_header_masks),
            ("response_headers", gateway.response_header_masks),
            ("request_body", gateway.request_body_masks),
            ("response_body", gateway.response_body_masks),
            ("query", getattr(gateway, "request_query_masks", ())),
        )
        more = tuple(MaskRule(keys=keys, places=(place,)) for place, keys in pasted if keys)
        return self.model_copy(update={"rules": self.rules + more})


class IdentitySettings(BaseModel):
    """Everything a Resolver is built from. `of` lets what is written outside the preset win over the preset."""

    model_config = FROZEN

    user: IdentifyUser = IdentifyUser()
    company: IdentifyCompany = IdentifyCompany()

    @classmethod
    def of(cls, user: IdentifyUser, company: IdentifyCompany, presets: Presets) -> IdentitySettings:
        gateway = presets.krakend or presets.kong
        if gateway is None:
            return cls(user=user, company=company)
        return cls(user=_over(gateway.user(), user), company=_over(gateway.company(), company))


def _over(base: Settings, written: Settings) -> Settings:
    changes: dict[str, Any] = {name: getattr(written, name) for name in written.model_fields_set}
    return base.model_copy(update=changes)
