"""What an operator may set, and what is said when it is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from receiver.settings import ReceiverSettings, parse_endpoint


@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [
        ("127.0.0.1:4318", "127.0.0.1", 4318),
        ("localhost:0", "localhost", 0),
        ("0.0.0.0:65535", "0.0.0.0", 65535),
        (":4318", "", 4318),
        ("[::1]:4318", "::1", 4318),
        ("[::]:4318", "::", 4318),
    ],
)
def test_an_endpoint_is_host_and_port(endpoint: str, host: str, port: int) -> None:
    assert parse_endpoint(endpoint) == (host, port)


@pytest.mark.parametrize(
    "endpoint", ["", "4318", "localhost", "localhost:", "localhost:http", "x:65536", "::1:4318", "x:-1"]
)
def test_anything_else_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(ValidationError, match="endpoint"):
        ReceiverSettings(endpoint=endpoint)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_body_byte": 5}, "max_body_byte"),
        ({"max_body_bytes": 0}, "max_body_bytes"),
        ({"traces_path": "v1/traces"}, "traces_path"),
        ({"traces_path": "/in", "logs_path": "/in"}, "must differ"),
        ({"tenants": {"a": {"keys": ["k"]}, "b": {"keys": ["k"]}}}, "given twice"),
        ({"tenants": {"a": {"keys": [""]}}}, "empty"),
        ({"tenants": {"a": {"max_records_per_s": 0}}}, "max_records_per_s"),
        ({"tls": {"certificate_file": "x"}}, "private_key_file"),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ReceiverSettings.model_validate(settings)


def test_keys_are_never_shown() -> None:
    settings = ReceiverSettings.model_validate({"tenants": {"acme": {"keys": ["hunter2"]}}})
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.model_dump())
    with pytest.raises(ValidationError) as caught:
        ReceiverSettings.model_validate({"tenants": {"acme": {"keys": {"hunter2": 1}}}})
    assert "hunter2" not in str(caught.value)


def test_every_setting_says_what_it_does() -> None:
    def undescribed(model: Any, where: str) -> list[str]:
        missing = []
        for name, field in model.model_fields.items():
            if not field.description or not field.description.endswith("."):
                missing.append(f"{where}.{name}")
            for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if hasattr(part, "model_fields"):
                    missing += undescribed(part, f"{where}.{name}")
        return missing

    assert undescribed(ReceiverSettings, "receiver") == []
