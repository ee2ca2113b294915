"""Settings of identity, and gateways' own option names."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mapping.presets import Presets
from mapping.rules.identity import Resolver
from mapping.rules.identity_settings import IdentifyCompany, IdentifyUser, IdentitySettings

KRAKEND: dict[str, Any] = {
    "application_id": "app-secret",
    "batch_size": 1000,
    "debug": False,
    "event_queue_size": 1000000,
    "identify_company": {"jwt_claim": "tenant.id"},
    "log_body": False,
    "request_body_masks": ["password", "credit_card"],
    "request_header_masks": ["Authorization"],
    "response_body_masks": ["password"],
    "response_header_masks": ["Cookie"],
    "should_skip": "req_method == 'GET'",
    "timer_wake_up_seconds": 1,
    "user_id_headers": ["X-User-Id", "Authorization"],
    "user_id_jwt_claim": "client_id",
}
KONG: dict[str, Any] = {
    "user_id_header": "X-User",
    "authorization_header_name": "X-Token, Authorization",
    "authorization_user_id_field": "uid",
    "company_id_header": "X-Org",
    "authorization_company_id_field": "org",
}


def settings(
    presets: object, user: IdentifyUser | None = None, company: IdentifyCompany | None = None
) -> IdentitySettings:
    return Presets.model_validate(presets).identity_under(user or IdentifyUser(), company or IdentifyCompany())


@pytest.mark.parametrize(
    "pasted",
    [
        {"krakend": KRAKEND},
        {"telemetry/moesif": KRAKEND},
        {"version": 3, "extra_config": {"telemetry/moesif": {"@comment": "as documented", **KRAKEND}}},
        {"@comment": "as documented", **KRAKEND},
        KRAKEND,
    ],
)
def test_all_fourteen_krakend_options_can_be_pasted(pasted: dict[str, Any]) -> None:
    presets = Presets.model_validate(pasted)
    assert presets.name == "krakend"
    assert presets.krakend is not None
    assert set(KRAKEND) == set(type(presets.krakend).model_fields)
    assert "app-secret" not in repr(presets)
    found = settings(pasted)
    assert found.user.headers == ("x-user-id", "authorization")
    assert (found.user.jwt_claim, found.user.stop_at_first_header, found.user.text_claims_only) == (
        "client_id",
        True,
        True,
    )
    assert (found.company.jwt_claim, found.company.text_claims_only) == ("tenant.id", True)


@pytest.mark.parametrize(
    "pasted",
    [
        {"kong": KONG},
        {"name": "moesif", "config": {"application_id": "app-secret", "batch_size": 50, **KONG}},
        {"debug": True, **KONG},
        KONG,
    ],
)
def test_kong_options_can_be_pasted_and_attributes_are_ignored(pasted: dict[str, Any]) -> None:
    found = settings(pasted)
    assert found.user.headers == ("x-user",)
    assert found.user.authorization_headers == ("x-token", "authorization")
    assert (found.user.jwt_claim, found.company.headers, found.company.jwt_claim) == ("uid", ("x-org",), "org")
    assert Resolver(found).resolve({"user.id": "ann", "tenant.id": "acme"}).user_id == ""


def test_what_is_written_beside_a_preset_wins() -> None:
    found = settings({"krakend": KRAKEND}, IdentifyUser(jwt_claim="uid"))
    assert (found.user.jwt_claim, found.user.headers) == ("uid", ("x-user-id", "authorization"))


@pytest.mark.parametrize("presets", ["otel", None, {}, {"otel": None}])
def test_otel_is_the_default(presets: object) -> None:
    assert settings(presets) == IdentitySettings()


def test_company_header_of_krakend_is_an_alias() -> None:
    assert IdentifyCompany.model_validate({"header": "X-Tenant"}).headers == ("x-tenant",)


@pytest.mark.parametrize(
    ("presets", "names"),
    [
        ({"krakend": {}}, "user_id_headers"),
        ("krakend", "user_id_headers"),
        ({"krakend": {**KRAKEND, "typo": 1}}, "typo"),
        ({"krakend": {**KRAKEND, "identify_company": {}}}, "exactly one"),
        ({"krakend": {**KRAKEND, "identify_company": {"header": "a", "jwt_claim": "b"}}}, "exactly one"),
        ({"krakend": KRAKEND, "kong": KONG}, "one gateway"),
        ({"apigee": {}}, "apigee"),
        ({"kong": {**KONG, "user_id_haeder": "x"}}, "user_id_haeder"),
    ],
)
def test_mistakes_are_named(presets: object, names: str) -> None:
    with pytest.raises(ValidationError, match=names):
        Presets.model_validate(presets)
