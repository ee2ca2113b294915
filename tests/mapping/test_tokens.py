"""Token rules, spec/mapping.md §5.2."""

from __future__ import annotations

import base64
from typing import Any

import jwt
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.rules import tokens

CLAIMS: dict[str, Any] = {"sub": "ann", "tenant.id": "acme", "tenant": {"id": "other"}, "org": {"Id": 7}, "Plan": "pro"}


def bearer(claims: dict[str, Any]) -> str:
    return "Bearer " + jwt.encode(claims, "k" * 32, algorithm="HS256")


def basic(text: str | bytes) -> str:
    raw = text if isinstance(text, bytes) else text.encode()
    return "Basic " + base64.b64encode(raw).decode()


def test_bearer_claims_are_read_without_checking_the_signature() -> None:
    header = bearer(CLAIMS)
    assert tokens.claims(header) == CLAIMS
    assert tokens.claims(header[:-4] + "AAAA") == CLAIMS
    assert tokens.claims("bEaReR   " + header[7:]) == CLAIMS


def test_basic_user_name_ends_at_the_first_colon() -> None:
    assert tokens.read(basic("ann:pass:word")).username == "ann"
    assert tokens.read(basic("ann:")).username == "ann"
    assert tokens.read(basic("no colon")).username == ""
    assert tokens.read(basic("j\u00fcrgen:x")).username == "j\u00fcrgen"
    assert tokens.read(basic(b"j\xfcrgen:x")).username == "j\u00fcrgen"


@pytest.mark.parametrize("password", ["", "x", "X", "api_token", "unused", "x-oauth-basic", "none"])
@pytest.mark.parametrize(
    "key", ["key_sample_51Habcdefghij", "key-0f9e8d7c6b5a49382716", "0123456789abcdef", "ABCDEFGHIJKLMNOPQR"]
)
def test_a_key_in_basic_without_a_password_is_no_user_but_a_session(key: str, password: str) -> None:
    assert tokens.read(basic(f"{key}:{password}")) == ("", {}, key)


@pytest.mark.parametrize("name", ["ann", "ann.lee", "j\u00fcrgen", "zoe7", "ann@example.test", "mary-jane"])
def test_a_person_without_a_password_is_a_user(name: str) -> None:
    assert tokens.read(basic(f"{name}:")).username == name


def test_a_key_that_says_so_is_no_user_whatever_the_password() -> None:
    assert tokens.read(basic("sk_live_0123456789abcdef:hunter22")).username == ""
    assert tokens.read(basic("4711-acme-0123456789:hunter22")).username == "4711-acme-0123456789"


def test_other_schemes_are_tried_as_jwt_then_as_base64_json() -> None:
    token = bearer(CLAIMS)[7:]
    assert tokens.claims(token) == CLAIMS
    assert tokens.claims("JWT " + token) == CLAIMS
    assert tokens.claims("Custom " + base64.b64encode(orjson.dumps(CLAIMS)).decode()) == CLAIMS
    assert tokens.claims(base64.urlsafe_b64encode(orjson.dumps(CLAIMS)).decode().rstrip("=")) == CLAIMS


def test_only_bearer_tokens_are_handed_on_for_hashing() -> None:
    assert tokens.read("Bearer opaque-token").bearer == "opaque-token"
    assert tokens.read(basic("ann:secret")).bearer == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sub", "ann"),
        ("tenant.id", "acme"),
        ("TENANT.ID", "acme"),
        ("plan", "pro"),
        ("org.Id", 7),
        ("org.id", None),
        ("sub.x", None),
        ("absent", None),
        ("absent.x", None),
    ],
)
def test_claim_is_found_literally_then_in_any_case_then_by_path(name: str, value: object) -> None:
    assert tokens.lookup(CLAIMS, name) == value


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer x", "Bearer a.b.c", "Basic", "Basic %%%", "Bearer a." + "A" * 70_000, "Bearer .e30"],
)
def test_undecodable_credentials_say_nothing(header: str) -> None:
    assert tokens.read(header).username == ""
    assert tokens.claims(header) == {}


def test_json_that_is_no_object_has_no_claims() -> None:
    assert tokens.claims("Bearer a." + base64.urlsafe_b64encode(b"[1]").decode() + ".c") == {}


@given(st.text(max_size=80))
def test_no_text_raises(header: str) -> None:
    assert isinstance(tokens.read(header), tokens.Token)
