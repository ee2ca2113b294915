"""Settings of the masks (spec/mapping.md §7): what is hidden, where and how.

Header names are compared without case, keys without case, `-` and `_`.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from mapping.rules.identity_settings import FROZEN, HeaderNames, Names

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
    """What never leaves the bridge (spec/mapping.md §7). What is listed here adds to the defaults."""

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
