"""Metadata is one flat JSON object that the store's JSON column takes (spec/store.md §3.3), whatever the attributes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapping.masks.settings import MaskRule, MaskSettings
from mapping.rules.metadata import MAX_KEYS, flat_object, flat_text, nested
from mapping.settings import MappingSettings
from mapping_requests import INTERNAL, key_values, log, logs, mapped, one

keys = st.text("ab.", max_size=6) | st.sampled_from(["error", "error.type.x", "action.status", "quota", "http.route"])
leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=5)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))


def of(attributes: dict[str, Any], mapping: MappingSettings | None = None, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(one(attributes, mapping, kind=INTERNAL, **fields).metadata)
    return found


def check(text: str) -> None:
    """The rules of spec/store.md §3.3 on a metadata text."""
    pairs = orjson.loads(text)
    assert isinstance(pairs, dict)
    names = list(pairs)
    assert text.count('":') >= len(names)
    assert len(names) <= MAX_KEYS
    for name in names:
        assert name
        assert not any(other != name and other.startswith(f"{name}.") for other in names), names
    assert not any(isinstance(value, dict) for value in pairs.values())
    assert None not in pairs.values()
    assert not any(isinstance(value, list) and None in value for value in pairs.values())
    assert orjson.loads(orjson.dumps(pairs)) == pairs


@settings(max_examples=300)
@given(st.dictionaries(keys, values, max_size=8))
def test_any_attributes_give_metadata_the_store_takes(attributes: dict[str, Any]) -> None:
    check(one(attributes, kind=INTERNAL).metadata)
    failed = {**attributes, "error.type": "x", "rpc.system": "grpc", "rpc.grpc.status_code": 5}
    check(one(failed, kind=INTERNAL, flags=0x300).metadata)


@given(st.dictionaries(keys, values, max_size=12))
def test_flat_text_keeps_every_leaf(attributes: dict[str, Any]) -> None:
    check(flat_text(attributes.items()))
    assert flat_object(attributes) == flat_text(attributes.items())


def test_values_keep_their_types() -> None:
    attributes = {"b": True, "i": 2**63 - 1, "f": 0.5, "s": 'ä\n"', "l": ["a", "b"], "n": [1, 2], "e": "", "d": b"raw"}
    assert of(attributes) == {**attributes, "d": "cmF3"}


def test_maps_are_flattened_and_arrays_of_maps_are_text() -> None:
    assert of({"a": {"b": {"c": 1}, "d": "x"}, "l": [{"x": 1}, 2]}) == {"a.b.c": 1, "a.d": "x", "l": '[{"x":1},2]'}


def test_key_that_is_a_prefix_of_another_is_renamed() -> None:
    assert of({"http.request": "x", "http.request.foo": 1, "http": True}) == {
        "http.request._": "x",
        "http.request.foo": 1,
        "http._": True,
    }


def test_null_and_not_a_number() -> None:
    assert of({"gone": None, "nan": float("nan"), "inf": float("-inf"), "list": [1.0, None]}) == {
        "nan": "NaN",
        "inf": "-Infinity",
        "list": [1.0],
    }


def test_duplicate_keys_keep_the_last() -> None:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from mapping_requests import mapped, span, traces

    made: Span = span({"a": 1, "b": 2}, kind=INTERNAL)
    made.attributes.extend(key_values({"a": 3}))
    (event,) = mapped(traces(made)).events
    assert orjson.loads(event.metadata) == {"a": 3, "b": 2}


def test_too_many_keys_are_counted() -> None:
    found = of({f"k{number}": number for number in range(100)})
    assert len(found) == MAX_KEYS
    assert found["attributes_dropped"] == 100 - (MAX_KEYS - 1)


def test_own_key_wins_over_an_attribute_of_the_same_name() -> None:
    found = of({"action.status": "sent", "rpc.system": "grpc", "rpc.grpc.status_code": 5, "action": "x"})
    assert (found["action.status"], found["action._"]) == ("NOT_FOUND", "x")


@pytest.mark.parametrize(
    "attributes",
    [
        {"password": "s3cret"},
        {"app.db.password": "s3cret"},
        {"config": {"deep": [{"api_key": "s3cret"}]}},
        {"payload": '{"user": {"token": "s3cret"}}'},
        {"note": "calling http://h/?access_token=s3cret now"},
        {"url.full": "http://h/a?sig=s3cret", "db.system": "elasticsearch"},
        {"rpc.grpc.request.metadata.authorization": ["s3cret"]},
        {"http.request.header.cookie": ["s3cret"]},
        {"repr": "{'password': 's3cret'}"},
        {"list": ["http://h/?token=s3cret"]},
        {"raw": b'{"password": "s3cret"}'},
    ],
    ids=lambda attributes: next(iter(attributes)),
)
def test_secrets_are_masked_wherever_they_hide(attributes: dict[str, Any]) -> None:
    assert "s3cret" not in repr(one(attributes, kind=INTERNAL))
    assert "czNjcmV0" not in repr(one(attributes, kind=INTERNAL))


def test_configured_masks_reach_metadata() -> None:
    rules = (
        MaskRule(keys=("mail",), action="hash"),
        MaskRule(keys=("gone",), action="remove"),
        MaskRule(keys=("order.card",), places=("attributes",)),
    )
    masks = MaskSettings(rules=rules, hash_key="k", drop_attributes=("internal.*",))
    attributes = {"mail": "a@b.c", "gone": "x", "order": {"card": "1", "n": 2}, "internal.a": 1, "kept": "y"}
    found = of(attributes, MappingSettings(masks=masks))
    assert found.pop("mail").startswith("hmac-sha256:")
    assert found == {"order.card": "[REDACTED]", "order.n": 2, "kept": "y"}


def test_patterns_are_looked_for_in_every_text() -> None:
    settings_ = MappingSettings(masks=MaskSettings(patterns=("email",)))
    attributes = {
        "plain": "write to ann@example.com",
        "list": ["bob@example.com"],
        "messaging.system": "eve@example.com",
    }
    event = one(attributes, settings_, kind=INTERNAL, name="mail zoe@example.com")
    assert "@example.com" not in repr(event)


def test_nested_puts_scalars_beside_deeper_keys_under_value() -> None:
    assert nested({"a._": 1, "a.b": 2, "c.d.e": 3, "c.f": 4}) == {
        "a": {"_value": 1, "b": 2},
        "c": {"d": {"e": 3}, "f": 4},
    }


@pytest.mark.parametrize("key", ["client.asn", "asn", "http.resend_count", "queue_ms"])
@pytest.mark.parametrize("value", [b"", b"\xff", [b"x", "y"], float("nan"), float("-inf"), [], {"a": b"x"}, 2**63 - 1])
def test_facts_of_a_call_are_json_whatever_their_attribute_holds(key: str, value: Any) -> None:
    """A span with bytes where a number is usual was not mapped at all, and NaN became null."""
    of_span = orjson.loads(one({"http.request.method": "GET", "url.path": "/a", key: value}).metadata)
    request = logs(log('{"method": "GET", "path": "/a", "status": 200}', {key: value}))
    of_log = orjson.loads(mapped(request).events[0].metadata)
    facts = ("network.asn", "retry", "timings.queue_ms")
    assert {name: of_span.get(name) for name in facts} == {name: of_log.get(name) for name in facts}
    assert None not in of_span.values()
