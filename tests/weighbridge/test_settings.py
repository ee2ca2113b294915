"""One line names the setting that is wrong, where it is, and what would be right; secrets are never in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.clickhouse.settings import Settings as StoreSettings
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
        ("receiver: {max_body_bytes: many}", "receiver.max_body_bytes: expected a whole number"),
        ("receiver: 5", "receiver: expected settings below it"),
        ("receiver: {endpoint: 4318}", "receiver.endpoint: expected text"),
        (
            "receiver: {tls: {certificate_fil: x}}",
            "receiver.tls.certificate_fil: no such setting; did you mean `certificat",
        ),
        (
            "receiver: {tenants: {acme: {keyz: [x]}}}",
            "receiver.tenants.acme.keyz: no such setting; did you mean `keys`?",
        ),
        ("sampling: {rules: [{name: a, ratee: 2}]}", "sampling.rules.0.ratee: no such setting; did you mean `rate`?"),
        ("spool: {max_bytes: -1}", "spool.max_bytes: must be greater than or equal to 1048576"),
        ("spool: {fsync: never}", "spool.fsync: expected group or none"),
        ("exporter: {sinks: {name: a}}", "exporter.sinks: expected a list"),
        ("exporter: {sinks: [{name: a, type: moesif}]}", "exporter.sinks.0.application_id: is needed, and not given"),
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
        (
            "mapping: {presets: {user_id_headers: [X], should_skip: 'req_methd == 1'}}",
            "mapping.presets: should_skip knows no req_methd",
        ),
        ("telemetry: {log_level: loud}", "telemetry.log_level: expected debug, info, warning or error"),
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
    - {name: moesif, type: moesif, application_id: hunter2, base_url: "https://me:hunter2@moesif.example?api_key=hunter2"}
    - {name: backend, type: otlphttp, endpoint: "https://otlp.example", headers: {Authorization: hunter2}}
    - name: topic
      type: kafka
      brokers: [kafka:9093]
      topic: events
      options: {security.protocol: SASL_SSL, sasl.username: bridge, sasl.password: hunter2, ssl.key.password: hunter2}
mapping: {masks: {hash_key: hunter2}}
sampling: {moesif_remote: {application_id: hunter2}}
"""
    settings = load_settings(str(_write(tmp_path, text)), {})
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(shown(settings))
    assert "SASL_SSL" in str(shown(settings)), "what is no secret is shown"
    store = settings.exporter.sinks[0]
    assert isinstance(store, StoreSettings)
    assert "hunter2" in store.dsn


@pytest.mark.parametrize("dsn", ["ftp://u:hunter2@h", "http://store/analytics?password=hunter2"])
def test_a_secret_in_a_wrong_place_is_not_echoed(tmp_path: Path, dsn: str) -> None:
    with pytest.raises(SettingsError, match=r"exporter\.sinks\.0\.dsn") as error:
        load(tmp_path, f"exporter: {{sinks: [{{name: s, type: clickhouse, dsn: '{dsn}'}}]}}")
    assert "hunter2" not in str(error.value)


def _write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "weighbridge.yaml"
    file.write_text(text)
    return file


GATEWAY = "mapping: {presets: {user_id_headers: [X-User-Id], application_id: app-1, batch_size: 7}}\n"


def test_a_pasted_gateway_block_sets_up_the_moesif_sinks(tmp_path: Path) -> None:
    settings = load(tmp_path, GATEWAY + "exporter: {batch: {max_events: 9}, sinks: [{name: m, type: moesif}]}")
    (sink,) = settings.exporter.sinks  # type: ignore[attr-defined]
    assert sink.application_id.get_secret_value() == "app-1"
    assert (sink.max_request_events, sink.batch.max_age_s, sink.batch.max_events) == (7, 2, 9)


def test_what_a_moesif_sink_says_itself_wins_over_a_pasted_block(tmp_path: Path) -> None:
    own = "exporter: {sinks: [{name: m, type: moesif, application_id: own, max_request_events: 5, batch: {}}]}"
    (sink,) = load(tmp_path, GATEWAY + own).exporter.sinks  # type: ignore[attr-defined]
    assert sink.application_id.get_secret_value() == "own"
    assert (sink.max_request_events, sink.batch.max_age_s) == (5, 1.0)
