"""Names of secrets are known by their words, whoever spells them and whatever a proxy puts in front."""

from __future__ import annotations

import orjson
import pytest

from mapping.masks.redactor import Redactor
from mapping.masks.settings import MaskRule, MaskSettings
from mapping.masks.words import names_a_secret

SECRET = "value-9f8e7d6c"
DEFAULT = Redactor(MaskSettings())


def listed(names: str) -> list[str]:
    return names.split()


SECRETS = listed(
    """
    new_password password_confirmation passwordConfirmation db_password userPassword dbpassword password2 smtp_pass
    pw secret_key aws_secret_access_key AWS_SECRET_ACCESS_KEY client-secret clientSecret clientsecret SecretString
    otp user_pin cvv cvv2 securityCode mfa_code credit_card creditCardNumber social_number signing_key
    encryption_key privateKey connection_string connectionString Ocp-Apim-Subscription-Key x-functions-key bot_token
    x-vault-token authenticity_token csrfmiddlewaretoken access_tokens token_value jwt cf-access-jwt
    HTTP_AUTHORIZATION http_cookie request_Authorization downstream_Set-Cookie sent_http_set_cookie
    upstream_http_set_cookie origin_X-Auth-Token requestHeadersAuthorization httpAuthorization httpxapikey
    HTTPXAPIKEY httpcookie REDIRECT_HTTP_AUTHORIZATION x_amzn_oidc_accesstoken proxyauthorization
    privateKeyPem conn_str oauth_verifier code_verifier passwort userKennwort senha
    """
)
NO_SECRETS = listed(
    """
    token_count max_tokens total_tokens prompt_tokens token_type secret_santa pin_code spinner shipping passwordless
    author authority keyboard monkey key cache_key primary_key sort_key api_key_id private_key_id access_key_id
    key_id next_page_token nextPageToken continuation_token password_policy password_changed_at cookie_policy
    cookie_consent authorization_result has_password is_secret access-control-allow-credentials secret_name
    secret_id public_key idempotency-key routing_key code status_code zip_code country_code error_code tokens
    input_tokens time_to_first_token session_id sessionId pass first_pass bypass compass pinned
    authentication_method auth_type www-authenticate sec-websocket-key tokenizer secretary credential_type opinion
    nexttoken
    """
)


@pytest.mark.parametrize("name", SECRETS)
def test_names_of_secrets_are_known_in_every_place(name: str) -> None:
    assert names_a_secret(name)
    shown = (
        DEFAULT.value(name, SECRET),
        DEFAULT.value(f"http.request.{name}", SECRET),
        DEFAULT.value("deep", {"a": [{name: SECRET}]}),
        DEFAULT.log_body({"a": {name: SECRET}}),
        DEFAULT.text(orjson.dumps({"a": {name: SECRET}}).decode()),
        DEFAULT.text(f"failed {{'{name}': '{SECRET}'}}"),
        DEFAULT.text(f"env: {name}={SECRET} A=1"),
        DEFAULT.headers({name.lower(): SECRET}),
        DEFAULT.query(f"a=1&{name}={SECRET}"),
    )
    assert [text for text in map(str, shown) if SECRET in text] == []
    assert not DEFAULT.leaves_json_as_it_is(orjson.dumps({name: SECRET}).decode(), "log_body")


@pytest.mark.parametrize("name", NO_SECRETS)
def test_names_that_only_resemble_secrets_stay(name: str) -> None:
    assert not names_a_secret(name)
    assert DEFAULT.value(name, SECRET) == SECRET
    assert DEFAULT.log_body({"a": {name: SECRET}}) == {"a": {name: SECRET}}
    text = f"status of {name}={SECRET} A=1"
    assert DEFAULT.text(text) == text


@pytest.mark.parametrize("name", ["key", "code", "jwt", "sig", "sign", "auth", "session", "sid", "X-Goog-Signature"])
def test_a_query_has_names_of_its_own(name: str) -> None:
    assert DEFAULT.query(f"{name}={SECRET}&a=1") == f"{name}=REDACTED&a=1"


@pytest.mark.parametrize(
    "name", ["sort_key", "cache_key", "status_code", "keyword", "page_token", "author", "sessions"]
)
def test_other_parameters_stay(name: str) -> None:
    assert DEFAULT.query(f"{name}={SECRET}") == f"{name}={SECRET}"


@pytest.mark.parametrize(
    "copy",
    ["x-partner", "http_x_partner", "HTTP_X_PARTNER", "request_X-Partner", "sentHttpXPartner", "httpxpartner"],
)
def test_copies_of_a_configured_header_have_its_verdict(copy: str) -> None:
    rules = MaskSettings(headers=("x-partner",), hash_key="k")
    assert SECRET not in str(Redactor(rules).value(copy, SECRET))
    assert SECRET not in Redactor(rules).text(f"env: {copy}={SECRET} A=1")
    hashing = Redactor(MaskSettings(rules=(MaskRule(keys=("x-partner",), action="hash"),), hash_key="k"))
    assert hashing.value(copy, SECRET) == hashing.headers({"x-partner": SECRET})["x-partner"]


def test_a_configured_header_of_one_word_is_not_found_in_any_name() -> None:
    rules = Redactor(MaskSettings(headers=("tenant",)))
    assert rules.value("http_tenant", SECRET) != SECRET
    assert rules.value("previous_tenant", SECRET) == SECRET


def test_what_is_below_a_map_of_cookies_is_hidden_when_it_comes_flat() -> None:
    assert DEFAULT.value("http.request.cookies.sid", SECRET) != SECRET
    assert SECRET not in str(DEFAULT.log_body({"req": {"cookies": {"sid": SECRET}}}))


def test_defaults_off_judges_nothing() -> None:
    rules = Redactor(MaskSettings(defaults=False))
    assert rules.value("db_password", SECRET) == SECRET
    assert rules.headers({"authorization": SECRET}) == {"authorization": SECRET}
