"""Settings of identity, and gateways' own option names."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mapping.masks.settings import MaskSettings
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


# Every option of version 2.1 of Kong's plugin, as its schema lists them, with `enable_compression` of later ones.
KONG_WHOLE: dict[str, Any] = {
    "api_endpoint": "https://api.moesif.net", "timeout": 1000, "connect_timeout": 1000, "send_timeout": 5000,
    "keepalive": 5000, "event_queue_size": 1000000, "api_version": "1.0", "application_id": "app-secret",
    "disable_capture_request_body": False, "disable_capture_response_body": True, "request_masks": ["old_request"],
    "request_body_masks": ["password"], "request_header_masks": ["x-a"], "response_masks": ["old_response"],
    "response_body_masks": ["token"], "response_header_masks": ["x-b"], "batch_size": 50,
    "disable_transaction_id": False, "debug": False, "disable_gzip_payload_decompression": False,
    "user_id_header": None, "authorization_header_name": "authorization", "authorization_user_id_field": "sub",
    "authorization_company_id_field": None, "company_id_header": "X-Org", "max_callback_time_spent": 750,
    "request_max_body_size_limit": 100000, "response_max_body_size_limit": 100000, "request_query_masks": ["q"],
    "disable_moesif_payload_compression": True, "enable_compression": True,
}  # fmt: skip
PLUGIN = {"name": "moesif", "enabled": True, "protocols": ["http"], "tags": None, "config": KONG_WHOLE}


@pytest.mark.parametrize(
    "pasted",
    [
        KONG_WHOLE,
        {"kong": KONG_WHOLE},
        PLUGIN,
        {"kong": PLUGIN},
        {"kong": {"config": KONG_WHOLE}},
        {"plugins": [{"name": "cors", "config": {"origins": ["*"]}}, PLUGIN]},
        {"kong": {"plugins": [PLUGIN]}},
        [PLUGIN],
        {"_format_version": "3.0", "services": [{"name": "orders", "plugins": [PLUGIN], "routes": []}]},
        {"apiVersion": "configuration.konghq.com/v1", "kind": "KongPlugin", "plugin": "moesif", "config": KONG_WHOLE},
    ],
)
def test_kongs_plugin_is_pasted_whole_with_what_stands_around_it(pasted: object) -> None:
    presets = Presets.model_validate(pasted)
    assert presets.kong is not None
    assert presets.kong.company_id_header == ("x-org",)
    assert presets.kong.compresses is True
    masked = {place: rule.keys for rule in presets.masks_over(MaskSettings()).rules for place in rule.places}
    assert masked["request_body"] == ("password", "old_request")
    assert masked["response_body"] == ("token", "old_response")
    assert presets.without_effect.keys() == {
        "timeout", "connect_timeout", "send_timeout", "keepalive", "event_queue_size", "api_version", "debug",
        "disable_transaction_id", "disable_gzip_payload_decompression", "max_callback_time_spent",
        "request_max_body_size_limit", "response_max_body_size_limit",
    }  # fmt: skip


MOESIFS_OWN = {"application_id": "app-secret", "debug": False, "log_body": False, "batch_size": 1000}


@pytest.mark.parametrize(
    "pasted",
    [
        MOESIFS_OWN,
        {"krakend": MOESIFS_OWN},
        {"krakend": {"telemetry/moesif": {"@comment": "x", **MOESIFS_OWN}}},
        {"krakend": {"version": 3, "extra_config": {"telemetry/moesif": MOESIFS_OWN, "security/cors": {"a": 1}}}},
        {"extra_config": {"telemetry/logging": {"level": "INFO"}, "telemetry/moesif": MOESIFS_OWN}},
        {"$schema": "https://x", "version": 3, "endpoints": [], "extra_config": {"telemetry/moesif": MOESIFS_OWN}},
    ],
)
def test_moesifs_own_krakend_example_names_callers_as_without_a_preset(pasted: object) -> None:
    presets = Presets.model_validate(pasted)
    assert presets.krakend is not None
    assert not presets.krakend.log_body
    user = presets.identity_under(IdentifyUser(), IdentifyCompany()).user
    assert (user.headers, user.authorization_headers, user.jwt_claim) == ((), ("authorization",), "sub")
    assert presets.without_effect.keys() == {"debug"}


@pytest.mark.parametrize(
    "pasted",
    [
        {"plugins": [{"name": "moesif", "config": {**KONG_WHOLE, "request_mask": ["x"]}}]},
        {"krakend": {"telemetry/moesif": {**MOESIFS_OWN, "log_bodies": True}}},
        {"plugins": [{"name": "cors", "config": {}}]},
    ],
)
def test_an_option_that_nobody_knows_is_refused_in_a_whole_file_too(pasted: object) -> None:
    with pytest.raises(ValidationError):
        Presets.model_validate(pasted)
