"""Identity of a call, spec/mapping.md §5."""

from __future__ import annotations

import base64
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.masks.of_shape import Masking
from mapping.masks.redactor import Redactor
from mapping.masks.settings import MaskSettings
from mapping.rules.identity import NOBODY, Identity, Resolver, identifier, resource_company
from mapping.rules.identity_settings import (
    COMPANY_ATTRIBUTES,
    USER_ATTRIBUTES,
    IdentifyCompany,
    IdentifyUser,
    IdentitySettings,
)
from mapping.settings import MappingSettings


def bearer(**claims: Any) -> str:
    return "Bearer " + jwt.encode(claims, "k" * 32, algorithm="HS256")


BASIC = "Basic " + base64.b64encode(b"carol@example.test:pw:pw").decode()
DEFAULT = Resolver(IdentitySettings())


def resolver(user: dict[str, Any] | None = None, company: dict[str, Any] | None = None) -> Resolver:
    return Resolver(IdentitySettings(user=IdentifyUser(**(user or {})), company=IdentifyCompany(**(company or {}))))


def who(found: Identity) -> tuple[str, str]:
    return found.user_id, found.user_source


@pytest.mark.parametrize("key", USER_ATTRIBUTES)
def test_every_user_attribute_counts(key: str) -> None:
    assert who(DEFAULT.resolve({key: "ann", "user.email": "x@y.test"})) == ("ann", f"attr:{key}")


@pytest.mark.parametrize("key", COMPANY_ATTRIBUTES)
def test_every_company_attribute_counts(key: str) -> None:
    found = DEFAULT.resolve({key: "acme"})
    assert (found.company_id, found.company_source) == ("acme", f"attr:{key}")


def test_earlier_attributes_win_and_mail_addresses_are_never_ids() -> None:
    attributes = {"user.email": "a@b.test", "user.name": "Ann", "enduser.id": "low", "user.id": "high"}
    assert who(DEFAULT.resolve(attributes)) == ("high", "attr:user.id")
    assert DEFAULT.resolve({"user.email": "a@b.test", "user.name": "Ann"}) == NOBODY


@pytest.mark.parametrize(
    "word", ["", " ", "null", "None", "UNDEFINED", "nil", "-", "unknown", "[REDACTED]", "***", "*****"]
)
def test_null_words_are_absent_everywhere(word: str) -> None:
    assert who(DEFAULT.resolve({"user.id": word, "enduser.id": "ann"})) == ("ann", "attr:enduser.id")
    assert DEFAULT.resolve({}, {"authorization": word, "x-consumer-id": word, "x-api-key": word}) == NOBODY


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4711, "4711"),
        (4711.0, "4711"),
        (1.5, "1.5"),
        (2**60, str(2**60)),
        (True, ""),
        (None, ""),
        ({}, ""),
        (["a"], ""),
    ],
)
def test_numbers_become_text_and_structures_do_not_count(value: object, text: str) -> None:
    assert identifier(value) == text


def test_numbers_that_are_none_do_not_count() -> None:
    assert identifier(float("nan")) == identifier(float("inf")) == ""


def test_order_of_the_places_where_a_user_is_named() -> None:
    rules = resolver({"headers": ["X-User-Id"], "query_string": "user"})
    attributes = {"user.id": "attribute"}
    request = {"x-user-id": "header", "x-consumer-id": "consumer", "authorization": bearer(sub="token")}
    response = {"x-user-id": "response"}
    query = "a=b&user=query"
    found = []
    for drop in ("", "x-user-id", "user.id", "x-consumer-id", "authorization", "response", "query"):
        request.pop(drop, None)
        attributes.pop(drop, None)
        response = {} if drop == "response" else response
        query = "" if drop == "query" else query
        found.append(rules.resolve(attributes, request, response, query).user_source)
    assert found == [
        "header:x-user-id",
        "attr:user.id",
        "header:x-consumer-id",
        "authorization",
        "response_header:x-user-id",
        "query:user",
        "",
    ]


def test_order_of_the_places_where_a_company_is_named() -> None:
    rules = resolver(company={"headers": "X-Company-Id", "jwt_claim": "org", "query_string": "company"})
    request = {"x-company-id": "header", "authorization": bearer(org="claim")}
    response = {"x-company-id": "response"}
    attributes = {"tenant.id": "attribute"}
    query = "company=query%20co"

    def company() -> tuple[str, str]:
        found = rules.resolve(attributes, request, response, query)
        return found.company_id, found.company_source

    assert company() == ("header", "header:x-company-id")
    del request["x-company-id"]
    assert company() == ("response", "response_header:x-company-id")
    response = {}
    assert company() == ("attribute", "attr:tenant.id")
    attributes = {}
    assert company() == ("claim", "claim:org")
    request = {}
    assert company() == ("query co", "query:company")


def test_resource_is_the_last_place_for_a_company() -> None:
    assert resource_company({"tenant.id": "t", "organization.id": "o"}) == ("o", "resource:organization.id")
    assert resource_company({}) == ("", "")


def test_first_present_header_is_used_and_others_are_not() -> None:
    rules = resolver({"headers": ["X-A", "X-B"]})
    assert who(rules.resolve({}, {"x-b": "b"})) == ("b", "header:x-b")
    assert who(rules.resolve({}, {"x-a": "[REDACTED]", "x-b": "b"})) == ("b", "header:x-b")
    assert who(rules.resolve({}, {"x-a": "a", "x-b": "b"})) == ("a", "header:x-a")


def test_authorization_in_the_list_means_its_token_and_failing_goes_on_to_attributes() -> None:
    rules = resolver({"headers": ["Authorization", "X-B"]})
    assert who(rules.resolve({}, {"authorization": BASIC})) == ("carol@example.test", "authorization")
    found = rules.resolve({"user.id": "ann"}, {"authorization": "Bearer not.a.jwt", "x-b": "b"})
    assert who(found) == ("ann", "attr:user.id")


def test_strict_search_ends_at_the_first_header_that_exists() -> None:
    rules = resolver({"headers": ["Authorization", "X-B"], "stop_at_first_header": True})
    assert rules.resolve({"user.id": "ann"}, {"authorization": "Bearer not.a.jwt", "x-b": "b"}).user_id == ""
    assert who(rules.resolve({"user.id": "ann"}, {"authorization": "[REDACTED]"})) == ("ann", "attr:user.id")


def test_numeric_claims_count_unless_text_is_demanded() -> None:
    headers = {"authorization": bearer(uid=4711, org=7)}
    lenient = resolver({"jwt_claim": "uid"}, {"jwt_claim": "org"}).resolve({}, headers)
    strict = resolver(
        {"jwt_claim": "uid", "text_claims_only": True}, {"jwt_claim": "org", "text_claims_only": True}
    ).resolve({}, headers)
    assert (lenient.user_id, lenient.company_id) == ("4711", "7")
    assert (strict.user_id, strict.company_id) == ("", "")


def test_several_authorization_headers_are_tried_in_order() -> None:
    rules = resolver({"authorization_headers": "x-token, authorization"})
    assert who(rules.resolve({}, {"authorization": BASIC})) == ("carol@example.test", "authorization")
    assert who(rules.resolve({}, {"authorization": BASIC, "x-token": bearer(sub="ann")})) == ("ann", "authorization")


@pytest.mark.parametrize(
    ("attributes", "session"),
    [
        ({"session.id": "s1", "mcp.session.id": "m1"}, "s1"),
        ({"mcp.session.id": "m1", "gen_ai.conversation.id": "c1"}, "m1"),
        ({"gen_ai.conversation.id": "c1"}, "c1"),
    ],
)
def test_session_comes_from_attributes(attributes: dict[str, object], session: str) -> None:
    assert DEFAULT.resolve(attributes, {"x-api-key": "k"}).session_token == session


def test_credential_stands_for_the_session_only_as_a_hash() -> None:
    # printf secret-key | sha256sum
    expected = "sha256:" + "85dbe15d75ef9308c7ae0f33c7a324cc"
    by_key = DEFAULT.resolve({}, {"x-api-key": "secret-key"}).session_token
    by_bearer = DEFAULT.resolve({}, {"authorization": "Bearer secret-key"}).session_token
    assert by_key == by_bearer == expected
    assert DEFAULT.resolve({}, {"authorization": BASIC}).session_token == ""


def test_consumer_behind_the_user() -> None:
    token = {"authorization": bearer(sub="ann", azp="app-7", plan="pro")}
    found = DEFAULT.resolve({}, token)
    assert (found.client_id, found.plan_id) == ("app-7", "pro")
    attributes = {
        "client.id": "c",
        "app.id": "a",
        "plan": "gold",
        "moesif.subscription_id": "sub_1",
        "subscription.id": "sub_2",
    }
    found = DEFAULT.resolve(attributes, token)
    assert found[3:7] == ("sub_1", "a", "c", "gold")


def test_log_bodies_are_read_after_attributes() -> None:
    body = {"user_id": "body", "organization.id": "org", "owner.user.id": "foreign", "consumer.custom_id": "kong"}
    found = DEFAULT.resolve({}, body=body)
    assert who(found) == ("body", "body:user_id")
    assert (found.company_id, found.company_source) == ("org", "body:organization.id")
    assert who(DEFAULT.resolve({"user.id": "attribute"}, body=body)) == ("attribute", "attr:user.id")
    assert who(DEFAULT.resolve({}, body={"consumer.id": "k3", "consumer.username": "k2"})) == (
        "k2",
        "body:consumer.username",
    )
    assert DEFAULT.resolve({}, body={"owner.user.id": "foreign"}) == NOBODY


def test_resolver_for_keys_knows_when_nothing_can_be_found() -> None:
    quiet = DEFAULT.for_keys(["http.request.method", "url.path", "http.request.header.accept"])
    assert quiet.silent
    assert quiet.resolve({"http.request.method": "GET"}) is NOBODY
    assert not DEFAULT.silent
    assert not resolver({"query_string": "user"}).for_keys(["url.path"]).silent


KEYS = st.sampled_from(
    [
        "user.id",
        "user_id",
        "tenant.id",
        "session.id",
        "plan",
        "client_id",
        "url.path",
        "http.request.header.authorization",
        "http.request.header.x_user_id",
        "http.request.header.x-consumer-id",
        "http.request.header.x_api_key",
        "http.response.header.x-user-id",
        "http.request.header.x-company-id",
    ]
)
VALUES = st.sampled_from(["a", "null", 7, True, BASIC, bearer(sub="s", org="o", plan="p"), ""])


@given(st.dictionaries(KEYS, VALUES), st.booleans())
def test_resolver_for_keys_finds_the_same_as_the_full_one(attributes: dict[str, Any], strict: bool) -> None:
    from mapping.rules.headers import collect

    rules = resolver(
        {"headers": ["X-User-Id", "Authorization"], "stop_at_first_header": strict},
        {"headers": ["X-Company-Id"], "jwt_claim": "org"},
    )
    request, response = collect(attributes)
    full = rules.resolve(attributes, request, response)
    assert rules.for_keys(attributes).resolve(attributes, request, response) == full


def sealing(user: dict[str, Any], masks: dict[str, Any], company: dict[str, Any] | None = None) -> Resolver:
    settings = MappingSettings.model_validate(
        {"identify_user": user, "identify_company": company or {}, "masks": {"hash_key": "k", **masks}}
    )
    return Resolver(settings.identity, Masking(settings).sealed)


@pytest.mark.parametrize("key", ["", "k"])
def test_a_key_in_a_masked_header_is_a_user_as_a_hash_only(key: str) -> None:
    rules = sealing({"headers": ["X-API-Key"]}, {"hash_key": key}, {"headers": ["X-Auth-Token"]})
    first = rules.resolve({}, {"x-api-key": "value-1", "x-auth-token": "value-2"})
    assert first.user_id.startswith("hmac-sha256:" if key else "sha256:")
    assert "value" not in first.user_id + first.company_id
    assert rules.resolve({}, {"x-api-key": "value-1"}).user_id == first.user_id
    assert rules.resolve({}, {"x-api-key": "value-3"}).user_id != first.user_id


def test_an_id_has_the_hash_of_its_mask() -> None:
    masks = {"rules": [{"keys": ["x-user-id", "user.id", "member"], "action": "hash"}]}
    rules = sealing({"headers": ["X-User-Id"], "query_string": "member"}, masks)
    shown = Redactor(MaskSettings.model_validate({"hash_key": "k", **masks})).headers({"x-user-id": "ann"})["x-user-id"]
    assert rules.resolve({}, {"x-user-id": "ann"}).user_id == shown
    assert rules.resolve({"user.id": "ann"}).user_id == shown
    assert rules.resolve({}, {}, {}, "member=ann").user_id == shown
    assert rules.resolve({}, {}, {}, "", {"user.id": "ann"}).user_id == shown


@pytest.mark.parametrize("field", ["session.id", "client_id", "application.id", "plan", "moesif.subscription_id"])
def test_other_ids_are_hashed_where_they_are_masked(field: str) -> None:
    rules = sealing({}, {"keys": [field.rpartition(".")[2]]})
    assert "value-1" not in str(rules.resolve({field: "value-1"}))
    assert "value-1" in str(DEFAULT.resolve({field: "value-1"}))


def test_a_masked_claim_names_its_user_by_a_hash_and_other_claims_stay() -> None:
    rules = sealing({"jwt_claim": "email"}, {"keys": ["email"]})
    assert rules.resolve({}, {"authorization": bearer(email="ann@example.test")}).user_id.startswith("hmac-sha256:")
    assert sealing({}, {}).resolve({}, {"authorization": bearer(sub="ann")}).user_id == "ann"


def test_a_mail_address_as_the_user_is_hashed_when_patterns_hide_it() -> None:
    found = sealing({}, {"patterns": ["email"]}).resolve({"user.id": "ann@example.test"}).user_id
    assert found.startswith("hmac-sha256:")
    assert sealing({}, {"patterns": ["email"]}).resolve({"user.id": "ann"}).user_id == "ann"
