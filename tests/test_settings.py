"""One line names the setting that is wrong, where it is, and what would be right; secrets are never in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.sinks.clickhouse_settings import Settings as StoreSettings
from weighbridge.settings import SettingsError, find_file, load_settings, shown


def load(tmp_path: Path, text: str, **environment: str) -> object:
    file = tmp_path / "weighbridge.yaml"
    file.write_text(text)
    return load_settings(str(file), environment)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("receiver: {max_body_byte: 3}", "receiver.max_body_byte: no such setting; did you mean `max_body_bytes`?"),
        ("receivers: {}", "receivers: no such setting; did you mean `receiver`?"),
        ("receiver: {max_body_bytes: many}", "receiver.max_body_bytes: Input should be a valid integer"),
        ("receiver: {endpoint: here}", "receiver.endpoint: 'here' is not host:port"),
        ("spool: {segment_bytes: 10000000, max_bytes: 2000000}", "spool: segment_bytes is 10000000, must be at most"),
        ("exporter: {sinks: []}", "exporter: at least one sink is needed"),
        ("exporter: {sinks: [{name: a, type: cassandra}]}", "exporter.sinks.0: no sink type `cassandra`; known: "),
        (
            "exporter: {sinks: [{name: a, type: clickhouse, dsn: 'chdb://x', compresion: x}]}",
            "did you mean `compression`?",
        ),
        (
            "exporter: {sinks: [{name: a, type: blackhole}, {name: a, type: blackhole}]}",
            "exporter: two sinks have the same name",
        ),
        ("telemetry: {log_level: loud}", "telemetry.log_level: "),
        ("receiver: [", "not YAML at line"),
        ("just text", "expected sections such as `receiver:`"),
        ("admin: {endpoint: '${env:PORT}'}", "admin.endpoint: the environment variable PORT is not set"),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert str(tmp_path / "weighbridge.yaml") in str(error.value)


def test_environment_variables_fill_in_with_and_without_defaults(tmp_path: Path) -> None:
    text = "receiver: {endpoint: '${env:HOST:-127.0.0.1}:${env:PORT}', max_records: '${env:MOST:-7}'}"
    settings = load_settings(str(_write(tmp_path, text)), {"PORT": "9"})
    assert (settings.receiver.endpoint, settings.receiver.max_records) == ("127.0.0.1:9", 7)


def test_a_value_from_the_environment_cannot_add_settings(tmp_path: Path) -> None:
    file = _write(tmp_path, "receiver: {traces_path: '${env:EVIL}'}")
    settings = load_settings(str(file), {"EVIL": "/x\nmax_records: 1"})
    assert settings.receiver.max_records == 50_000


def test_the_file_is_the_named_one_else_the_environments_else_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_file(None, {}) is None
    (tmp_path / "weighbridge.yaml").write_text("")
    assert find_file(None, {}) == Path("weighbridge.yaml")
    assert find_file(None, {"WEIGHBRIDGE_CONFIG": "/etc/w.yaml"}) == Path("/etc/w.yaml")
    assert find_file("/tmp/own.yaml", {"WEIGHBRIDGE_CONFIG": "/etc/w.yaml"}) == Path("/tmp/own.yaml")


def test_secrets_are_shown_to_nobody(tmp_path: Path) -> None:
    text = """
receiver: {tenants: {acme: {keys: [hunter2]}}}
exporter:
  sinks:
    - {name: store, type: clickhouse, dsn: "http://bridge:hunter2@store:8123/analytics"}
    - {name: moesif, type: moesif, application_id: hunter2}
"""
    settings = load_settings(str(_write(tmp_path, text)), {})
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(shown(settings))
    store = settings.exporter.sinks[0]
    assert isinstance(store, StoreSettings)
    assert "hunter2" in store.dsn


def test_a_secret_in_a_wrong_place_is_not_echoed(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, "exporter: {sinks: [{name: s, type: clickhouse, dsn: 'ftp://u:hunter2@h'}]}")
    assert "hunter2" not in str(error.value)


def _write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "weighbridge.yaml"
    file.write_text(text)
    return file
