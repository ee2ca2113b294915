"""Transaction ids, spec/mapping.md §9."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping.rules import ids

TRACE = "b0b43cdd9ba110c594bfa2dca9938bd5"
SPAN = "a3285b84f1247451"


@pytest.mark.parametrize(
    ("verb", "status", "key"),
    [
        ("GET", 200, f"api|{TRACE}|{SPAN}|GET|200"),
        ("QUERY", 0, f"api|{TRACE}|{SPAN}|QUERY|-"),
        ("PURGE", 404, f"api|{TRACE}|{SPAN}|_OTHER|404"),
        ("get", 404, f"api|{TRACE}|{SPAN}|_OTHER|404"),
    ],
)
def test_api_calls_are_known_by_trace_span_verb_and_status(verb: str, status: int, key: str) -> None:
    assert ids.api_key(TRACE, SPAN, verb, status) == key
    assert ids.transaction_id_api(TRACE, SPAN, verb, status) == str(uuid.uuid5(ids.NAMESPACE, key))


def test_actions_are_known_by_trace_and_span() -> None:
    assert ids.action_key(TRACE, SPAN) == f"action|{TRACE}|{SPAN}"
    assert ids.transaction_id_action(TRACE, SPAN) == str(uuid.uuid5(ids.NAMESPACE, f"action|{TRACE}|{SPAN}"))


def test_ids_stay_what_they_were() -> None:
    """A stored event is found again only if the namespace and the key never change."""
    assert ids.transaction_id_api(TRACE, SPAN, "GET", 200) == "8cc198d4-8a9b-5743-9f6a-d8ed5bcb2c39"


@given(st.text())
def test_every_key_gives_the_uuid_of_the_standard_library(key: str) -> None:
    assert ids.transaction_id(key) == str(uuid.uuid5(ids.NAMESPACE, key))


def test_the_tenant_is_part_of_every_id_and_none_adds_nothing() -> None:
    tenants = ("", "a", "b", "a|tenant|b")
    assert len({ids.transaction_id_api(TRACE, SPAN, "GET", 200, tenant) for tenant in tenants}) == 4
    assert len({ids.transaction_id_action(TRACE, SPAN, tenant) for tenant in tenants}) == 4
    assert len({ids.transaction_id("log|x", tenant) for tenant in tenants}) == 4
    assert ids.transaction_id_action(TRACE, SPAN, "") == ids.transaction_id_action(TRACE, SPAN)
