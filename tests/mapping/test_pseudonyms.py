"""Pseudonyms: the same for the same id, different without the key, and the id nowhere in the event."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from events import event
from mapping.pseudonyms import Pseudonyms, PseudonymSettings

KEY = "a key of more than sixteen characters"


def test_the_same_id_is_the_same_pseudonym_under_one_key_tenant_and_kind() -> None:
    one = Pseudonyms(KEY)
    made = one.of("user", "", "4711")
    assert made == Pseudonyms(KEY).of("user", "", "4711")
    assert made.startswith("usr_")
    assert len(made) == 26
    others = [
        Pseudonyms(KEY + "!").of("user", "", "4711"),
        one.of("user", "tenant", "4711"),
        one.of("company", "", "4711"),
        one.of("user", "", "4712"),
    ]
    assert len({made.partition("_")[2], *(other.partition("_")[2] for other in others)}) == 5


@pytest.mark.parametrize("identity", ["4711", "émile@example.org", 'a "b"\\c', "x" * 300])
def test_the_id_is_nowhere_in_the_event_as_a_whole_text(identity: str) -> None:
    quoted = json.dumps(identity)
    before = event(
        user_id=identity,
        company_id="acme",
        tenant="t",
        uri="https://shop.example/users/4711?user=4711&x=14711",
        request_headers={"x-user-id": identity, "accept": "*/*"},
        response_headers={"x-company": "acme"},
        request_body=f'{{"user":{quoted},"n":[4711,14711]}}',
        request_body_encoding="json",
        metadata=f'{{"enduser.id":{quoted},"deep":["acme"]}}',
        resource='{"resource":{"company.id":"acme"},"scope":{}}',
    )
    (after,) = Pseudonyms(KEY).applied([before])
    user, company = Pseudonyms(KEY).of("user", "t", identity), Pseudonyms(KEY).of("company", "t", "acme")
    assert (after.user_id, after.company_id) == (user, company)
    assert after.request_headers == {"x-user-id": user, "accept": "*/*"}
    assert after.response_headers == {"x-company": company}
    assert json.loads(after.metadata) == {"enduser.id": user, "deep": [company]}
    assert json.loads(after.resource)["resource"] == {"company.id": company}
    numbers = [user, 14711] if identity == "4711" else [4711, 14711]
    assert json.loads(after.request_body) == {"user": user, "n": numbers}
    (said,) = Pseudonyms(KEY).applied([before._replace(uri=f"http://h/u/{quote(identity, safe='')}?a=b")])
    assert said.uri == f"http://h/u/{user}?a=b"
    if identity == "4711":
        assert after.uri == f"https://shop.example/users/{user}?user={user}&x=14711"
    assert after.transaction_id == before.transaction_id


@pytest.mark.parametrize(
    "identity", [",", ":", '","', "[", "{", "}", "]", " ", ", ", '":"', "4711", "null", "\\", "\n"]
)
def test_json_stays_json_whatever_the_id_is(identity: str) -> None:
    """Also one that is written like what stands between values, or is a number in a sentence."""
    deep = {"a": "b", "c": [1, 4711, "d", {"e": ""}], "said": "order 4711, [4711] and: 4711, paid", identity: "x"}
    text = json.dumps({**deep, "who": [identity, identity]})
    (after,) = Pseudonyms(KEY).applied([event(user_id=identity, metadata=text, request_body=text)])
    user = after.user_id
    number = user if identity == "4711" else 4711
    wanted = {"a": "b", "c": [1, number, "d", {"e": ""}], "said": deep["said"], user: "x", "who": [user, user]}
    assert json.loads(after.metadata) == json.loads(after.request_body) == wanted


@pytest.mark.parametrize("spelled", ['"\\u00e9mile"', '"\\u00E9mile"', '"émile"', '"\\u00e9\\u006dile"'])
def test_an_id_is_known_however_json_spells_it(spelled: str) -> None:
    (after,) = Pseudonyms(KEY).applied([event(user_id="émile", request_body=f'{{"user": {spelled}}}')])
    assert json.loads(after.request_body) == {"user": after.user_id}


@pytest.mark.parametrize(
    "cut", ['{"user":"4711', '{"user":"a\\"', '{"user":"', '{"a":"4711","b', '"', '{"user":"4711\\']
)
def test_a_body_that_was_cut_is_no_fault(cut: str) -> None:
    (after,) = Pseudonyms(KEY).applied([event(user_id="4711", request_body=cut)])
    assert after.request_body == cut.replace('"4711",', f'"{after.user_id}",')


def test_an_event_of_nobody_is_left_alone_and_new_ones_are_told_once() -> None:
    told: list[tuple[str, ...]] = []
    pseudonyms = Pseudonyms(KEY, lambda *row: told.append(row))
    nobody = event()
    assert pseudonyms.applied([nobody])[0] is nobody
    for _ in range(3):
        pseudonyms.applied([event(user_id="4711", tenant="t")])
    assert told == [(pseudonyms.of("user", "t", "4711"), "user", "t", "4711")]


def test_settings_that_cannot_be_meant_are_refused() -> None:
    for wrong in ({"key": "short"}, {"table": "/x"}):
        with pytest.raises(ValidationError):
            PseudonymSettings.model_validate(wrong)
    assert KEY not in repr(PseudonymSettings.model_validate({"key": KEY, "table": "/x"}))
