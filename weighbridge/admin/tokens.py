"""Tokens of the settings: who may look at what on the admin port."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

_LEAST = 16  # characters; shorter ones can be tried out


class TokenSettings(BaseModel):
    """A further token for the console and its API, beside the one that the bridge makes for itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}$", description="Whose it is, for the page and the access log."
    )
    token: SecretStr = Field(description=f"The secret, of at least {_LEAST} characters; better from ${{env:NAME}}.")
    role: Literal["read", "operate"] = Field("read", description="read: look. operate: also send dead letters again.")
    tenant: str | None = Field(
        None, description="Only this tenant's events can be seen with it, and nothing of the bridge; no SQL."
    )
    company: str | None = Field(
        None, min_length=1, description="Only this company's events can be seen with it, likewise."
    )

    @field_validator("token")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < _LEAST:
            raise ValueError(f"a token has at least {_LEAST} characters")
        return value

    @model_validator(mode="after")
    def _bound_ones_look_only(self) -> Self:
        if self.role == "operate" and (self.tenant is not None or self.company is not None):
            raise ValueError("a token that is bound to a tenant or a company can have the role read only")
        return self
