"""Settings of identity: where the user and the company of a call are found (spec/mapping.md §5).

Header names are compared without case, attribute names and claims as written.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

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
    """Where the user of a call is found. The order of the places is fixed (spec/mapping.md §5.1)."""

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


class IdentitySettings(BaseModel):
    """Everything a Resolver is built from."""

    model_config = FROZEN

    user: IdentifyUser = IdentifyUser()
    company: IdentifyCompany = IdentifyCompany()

    def with_attributes(self, users: tuple[str, ...], companies: tuple[str, ...]) -> IdentitySettings:
        """These, with more attributes after those that are read; where none are, none are."""
        changes: dict[str, Any] = {}
        for name, place, more in (("user", self.user, users), ("company", self.company, companies)):
            if place.attributes:
                changes[name] = place.model_copy(update={"attributes": (*place.attributes, *more)})
        return self.model_copy(update=changes)


def over(base: Settings, written: Settings) -> Settings:
    """`base` with what `written` states itself."""
    changes: dict[str, Any] = {name: getattr(written, name) for name in written.model_fields_set}
    return base.model_copy(update=changes)
