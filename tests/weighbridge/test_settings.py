"""One line names the setting that is wrong, where it is, and what would be right; secrets are never in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, create_model

from exporter.clickhouse.settings import Settings as StoreSettings
from exporter.sinks import module_of, types
from mapping.sampling.settings import TailSettings
from weighbridge.cli import main
from weighbridge.commands.check import notes, rules_of_calls_alone
from weighbridge.commands.serve import tell_old_spellings
from weighbridge.settings import Settings, SettingsError, find_file, load_settings, old_spellings, shown
from weighbridge.settings_units import with_units


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


def test_own_settings_are_laid_over_those_of_the_defaults_file(tmp_path: Path) -> None:
    defaults = tmp_path / "defaults.yaml"
    defaults.write_text("receiver: {endpoint: 0.0.0.0:4318, max_records: 5}\nadmin: {endpoint: 0.0.0.0:13133}")
    under = {"WEIGHBRIDGE_DEFAULTS": str(defaults)}
    found = load(tmp_path, "receiver: {max_records: 7}\n", **under)
    assert isinstance(found, Settings)
    assert (found.receiver.endpoint, found.receiver.max_records) == ("0.0.0.0:4318", 7)
    assert found.admin.endpoint == "0.0.0.0:13133"
    assert load_settings(None, under).receiver.max_records == 5
    with pytest.raises(SettingsError, match=r"weighbridge\.yaml: receiver: expected settings below it"):
        load(tmp_path, "receiver: 5", **under)
    with pytest.raises(SettingsError, match=r"gone\.yaml: No such file"):
        load(tmp_path, "", WEIGHBRIDGE_DEFAULTS=str(tmp_path / "gone.yaml"))


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


# -- references to the environment, keys, quantities ------------------------------------------------------------


@pytest.mark.parametrize("reference", ["${env:HOST}", "${HOST}", "${env:HOST:-x}", "${HOST:-x}", "${NONE:-10.0.0.9}"])
def test_a_reference_may_be_written_as_the_collector_and_compose_write_it(tmp_path: Path, reference: str) -> None:
    settings = load_settings(str(_write(tmp_path, f"receiver: {{endpoint: '{reference}:1'}}")), {"HOST": "10.0.0.9"})
    assert settings.receiver.endpoint == "10.0.0.9:1"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("$HOST:1", "receiver.endpoint: $HOST is no reference here; write ${env:HOST}"),
        ("a$HOST:1", "$HOST is no reference here"),
        ("$(HOST):1", "write ${env:HOST}"),
        ("${HOST", "is no reference that can be read"),
        ("${env:}:1", "is no reference that can be read"),
        ("${file:/etc/host}:1", "is no reference that can be read"),
        ("${A:-${B}}:1", "no reference inside a default"),
        ("${env:GONE}:1", "the environment variable GONE is not set"),
        ("${GONE}:1", "the environment variable GONE is not set"),
    ],
)
def test_what_only_looks_like_a_reference_is_refused(tmp_path: Path, value: str, says: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, f"receiver: {{endpoint: '{value}'}}", HOST="h", B="b")
    assert "receiver.endpoint: " in str(error.value)
    assert says in str(error.value)


def test_two_dollars_are_one_and_what_a_variable_holds_is_taken_as_it_is(tmp_path: Path) -> None:
    text = """
receiver: {traces_path: '/a$$b', logs_path: '${env:PATHS}'}
sampling: {rules: [{name: a, rate: 1, when: [{path: route, op: regex, value: '^/v1/.*$'}]}]}
"""
    settings = load_settings(str(_write(tmp_path, text)), {"PATHS": "/$$x${env:HOME}$HOME"})
    assert (settings.receiver.traces_path, settings.receiver.logs_path) == ("/a$b", "/$$x${env:HOME}$HOME")
    assert settings.sampling.rules[0].when[0].value == "^/v1/.*$"


def test_the_name_of_a_setting_comes_from_no_variable(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"receiver\.tenants\.\$\{env:TENANT\}: the name of a setting"):
        load(tmp_path, "receiver: {tenants: {'${env:TENANT}': {keys: [k]}}}", TENANT="acme")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("receiver: {}\nspool: {}\nreceiver: {}", "receiver stands twice, at lines 1 and 3"),
        ("exporter:\n  batch:\n    max_events: 1\n    max_events: 2", "max_events stands twice, at lines 3 and 4"),
        ("exporter: {sinks: [{name: a,\n name: b, type: blackhole}]}", "name stands twice, at lines 1 and 2"),
        ('receiver: {endpoint: "a:1", "endpoint": "b:2"}', "endpoint stands twice"),
        ("mapping: {masks: {yes: 1, true: 2}}", "true stands twice"),
        ("receiver: {<<: {max_records: 1}, <<: {max_elements: 1}}", "<< stands twice"),
    ],
)
def test_a_key_that_stands_twice_is_refused_wherever_it_is(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, text)
    assert says in str(error.value)


def test_a_key_may_override_one_that_is_merged_in(tmp_path: Path) -> None:
    text = "exporter: {batch: &a {max_events: 5}, sinks: [{name: b, type: blackhole, batch: {<<: *a, max_events: 7}}]}"
    (sink,) = load(tmp_path, text).exporter.sinks  # type: ignore[attr-defined]
    assert sink.batch.max_events == 7


@pytest.mark.parametrize(
    "text",
    [
        "a: 2026-13-45",
        "a: &a [*a]",
        "a:\n\tb: 1",
        "a: " + "[" * 3000,
        "? [a]\n: 1",
        "a: !!python/object:os.x y",
        "a: \x01",
    ],
)
def test_text_that_is_no_settings_costs_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("spool: {max_bytes: 10GB}", "spool.max_bytes", 10_000_000_000),
        ("spool: {max_bytes: '1.5 GiB'}", "spool.max_bytes", 3 << 29),
        ("spool: {max_bytes: '1073741824'}", "spool.max_bytes", 1 << 30),
        ("spool: {max_wait_ms: 20ms}", "spool.max_wait_ms", 20),
        ("spool: {max_wait_ms: 0.5s}", "spool.max_wait_ms", 500),
        ("spool: {remember_s: 1h30m}", "spool.remember_s", 5400),
        ("receiver: {max_body_bytes: 64MiB}", "receiver.max_body_bytes", 64 << 20),
        ("receiver: {min_body_bytes_per_s: 2KiB/s}", "receiver.min_body_bytes_per_s", 2048),
        ("receiver: {cors: {max_age_s: 1d}}", "receiver.cors.max_age_s", 86_400),
        ("receiver: {tenants: {a: {keys: [k], burst_s: 1m}}}", "receiver.tenants.a.burst_s", 60),
        ("exporter: {batch: {max_age_s: 500ms}}", "exporter.batch.max_age_s", 0.5),
        ("mapping: {inherit_across_requests_s: 5 minutes}", "mapping.inherit_across_requests_s", 300),
        ("sampling: {tail: {decision_wait_s: 1m30s, max_bytes: 64MB}}", "sampling.tail.max_bytes", 64_000_000),
        ("sampling: {budget: {events_per_second: 1, remember_s: 1d}}", "sampling.budget.remember_s", 86_400),
        ("telemetry: {interval_s: 5m}", "telemetry.interval_s", 300),
        (
            "exporter: {sinks: [{name: s, type: clickhouse, dsn: 'http://h', retention_days: 12w, timeout_s: 2m}]}",
            "exporter.sinks.0.retention_days",
            84,
        ),
        (
            "exporter: {sinks: [{name: s, type: clickhouse, dsn: 'chdb://s', engine: {max_memory_bytes: 4GiB}}]}",
            "exporter.sinks.0.engine.max_memory_bytes",
            4 << 30,
        ),
        (
            "exporter: {sinks: [{name: s, type: jsonlines, path: x, max_bytes: 1MB}]}",
            "exporter.sinks.0.max_bytes",
            10**6,
        ),
    ],
)
def test_a_quantity_takes_its_unit_wherever_it_is_set(tmp_path: Path, text: str, path: str, value: float) -> None:
    found: object = load(tmp_path, text)
    for part in path.split("."):
        if isinstance(found, tuple):
            found = found[int(part)]
        else:
            found = found[part] if isinstance(found, dict) else getattr(found, part)
    assert found == value


def models_of(model: type[BaseModel]) -> set[type[BaseModel]]:
    """The model and all that its settings are made of."""
    leaves = {leaf for field in model.model_fields.values() for leaf in _leaves(field.annotation)}
    below = {leaf for leaf in leaves if isinstance(leaf, type) and issubclass(leaf, BaseModel)}
    return {model}.union(*map(models_of, below))


def quantities_of(model: type[BaseModel]) -> list[str]:
    """The settings whose names end in a unit, but for rates, at any depth below a model."""
    found = []
    for name, field in model.model_fields.items():
        inner = [leaf for leaf in _leaves(field.annotation) if isinstance(leaf, type) and issubclass(leaf, BaseModel)]
        found += [name for below in inner for name in quantities_of(below)]
        if re.search(r"_(?:s|ms|bytes|days|bytes_per_s|bytes_per_peer)$", name) and not re.search(
            r"(?<!bytes)_per_s$", name
        ):
            assert {int, float} & set(_leaves(field.annotation)), f"{name} is no number"
            found.append(name)
    return found


def test_every_setting_with_a_unit_in_its_name_reads_units() -> None:
    sinks = [module_of(kind).Settings for kind in types()]
    names = {name for model in (Settings, *sinks) for name in quantities_of(model)}
    assert len(names) > 30
    for name in names:
        unit = (
            "1h" if name.endswith(("_s", "_ms")) and "bytes" not in name else "2d" if name.endswith("days") else "3MiB"
        )
        model = create_model("One", **{name: (float, 1.0)})  # type: ignore[call-overload]
        assert isinstance(with_units({name: unit}, model)[name], int), name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "spool: {max_bytes: 10XB}",
            "spool.max_bytes: expected a whole number, or one with its unit: '10XB' is not a size",
        ),
        ("spool: {max_bytes: 64M}", "MB (a power of 1000) or MiB (of 1024)?"),
        ("spool: {max_bytes: 30s}", "'30s' is not a size"),
        ("telemetry: {interval_s: 64MiB}", "telemetry.interval_s: expected a number, or one with its unit: '64MiB'"),
        ("telemetry: {interval_s: .inf}", "telemetry.interval_s: inf is no number that can be meant"),
        ("telemetry: {interval_s: .nan}", "telemetry.interval_s: nan is no number that can be meant"),
        (
            "sampling: {budget: {events_per_second: 1, epoch_s: soon}}",
            "sampling.budget.epoch_s: expected a number, or one with its unit: 'soon'",
        ),
        (
            "receiver: {tenants: {a: {max_records_per_s: 5s}}}",
            "receiver.tenants.a.max_records_per_s: expected a number",
        ),
    ],
)
def test_a_quantity_that_cannot_be_read_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, text)
    assert says in str(error.value)


def test_check_says_whose_ids_are_stored_as_a_hash(tmp_path: Path) -> None:
    identity = """
mapping:
  identify_user: {headers: [Authorization, X-API-Key, X-User-Id], attributes: [user.id, session.token]}
  identify_company: {query_string: access_token}
"""
    assert list(notes(load_settings(str(_write(tmp_path, identity)), {}))) == [
        f"identity: {place} is masked, so the ids found there are stored as a hash, the same for the same id"
        for place in ("header x-api-key", "attr session.token", "query access_token")
    ]
    assert list(notes(load_settings(str(_write(tmp_path, "mapping: {}")), {}))) == []


def test_check_names_the_rules_that_keep_a_call_without_its_logs(tmp_path: Path) -> None:
    failed = "{name: failed, rate: 100, when: [{path: status, op: gte, value: 500}]}"
    acme = "{name: acme, rate: 50, when: [{path: company, op: eq, value: acme}]}"
    for more, torn in (("", ["rule 'failed'"]), (", tail: {decision_wait_s: 10}", []), (", rate: 100", [])):
        rules = failed if "rate" in more else f"{failed}, {acme}"
        text = f"sampling: {{rules: [{rules}]{more or ', rate: 10'}}}"
        if "tail" in more:
            text = text.replace(", tail", ", rate: 10, tail")
        settings = load_settings(str(_write(tmp_path, text)), {})
        assert rules_of_calls_alone(settings) == torn, text
        assert [note for note in notes(settings) if "sampling.tail" in note][:1] == [
            note for note in notes(settings) if torn and note.startswith(f"sampling: {torn[0]} ask about a call")
        ]


OLD_SPELLINGS = """
sampling:
  budget: {events_per_second: 100, epoch: 20s, remember: 10m, window: 2}
  moesif_remote: {poll: 5m, timeout: 3}
"""


def test_old_spellings_of_sampling_are_read_and_named(tmp_path: Path) -> None:
    path = str(_write(tmp_path, OLD_SPELLINGS))
    settings = load_settings(path, {})
    new = OLD_SPELLINGS
    for name in ("epoch", "remember", "window", "poll", "timeout"):
        new = new.replace(f"{name}:", f"{name}_s:")
    assert load_settings(str(_write(tmp_path, new)), {}).sampling == settings.sampling
    assert old_spellings(path, {}) == []
    tail = str(_write(tmp_path, "sampling: {tail: {decision_wait: 3s, delay_after_root: 1s, remember: 60}}"))
    assert load_settings(tail, {}).sampling.tail == TailSettings(decision_wait_s=3, delay_after_root_s=1, remember_s=60)
    assert [hint.split()[0] + " " + hint.split()[3] for hint in old_spellings(tail, {})] == [
        "sampling.tail.decision_wait decision_wait_s",
        "sampling.tail.delay_after_root delay_after_root_s",
        "sampling.tail.remember remember_s",
    ]


def test_check_names_old_spellings_and_both_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, OLD_SPELLINGS)
    result = CliRunner().invoke(main, ["check", "--config", str(path)])
    assert result.exit_code == 0
    assert "note: sampling.budget.epoch is called epoch_s now" in result.stderr
    assert "epoch_s: 20.0" in result.stdout
    with pytest.raises(SettingsError, match="epoch is the old name of epoch_s: leave one of them out"):
        load(tmp_path, "sampling: {budget: {events_per_second: 1, epoch: 5, epoch_s: 5}}")


def test_the_log_names_old_spellings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tell_old_spellings(str(_write(tmp_path, OLD_SPELLINGS)))
    assert (
        "sampling.moesif_remote.poll is called poll_s now, and may be renamed in the settings file" in caplog.messages
    )


def test_every_length_of_time_and_size_ends_in_its_unit() -> None:
    """Settings of gateways apart, which are theirs."""
    sinks = [module_of(kind).Settings for kind in types()]
    odd = [
        name
        for model in {model for root in (Settings, *sinks) for model in models_of(root)}
        if "Preset" not in model.__name__
        for name, field in model.model_fields.items()
        if {int, float} & set(_leaves(field.annotation))
        and re.match(r"(seconds|bytes|days|milliseconds|size of)\b", (field.description or "").lower())
        and not name.endswith(("_s", "_bytes", "_days", "_ms", "_bytes_per_peer"))
    ]
    assert odd == []


def _leaves(annotation: object) -> list[object]:
    return [leaf for part in get_args(annotation) for leaf in _leaves(part)] or [annotation]


def test_kongs_way_to_moesif_is_that_of_the_moesif_sinks_and_the_rest_is_said(tmp_path: Path) -> None:
    kong = (
        "application_id: app-1, batch_size: 7, api_endpoint: 'https://eu.example', enable_compression: no, timeout: 9"
    )
    sinks = "exporter: {sinks: [{name: m, type: moesif}]}"
    text = f"mapping: {{presets: {{plugins: [{{name: moesif, config: {{{kong}}}}}]}}}}\n"
    settings = load_settings(str(_write(tmp_path, text + sinks)), {})
    (sink,) = settings.exporter.sinks
    found = shown(sink)
    assert (found["base_url"], found["max_request_events"], found["gzip"]) == ("https://eu.example", 7, False)
    assert list(notes(settings)) == ["mapping.presets.kong.timeout has no meaning here: a moesif sink has timeout_s."]
    unused = load_settings(str(_write(tmp_path, text)), {})
    assert list(notes(unused))[-1].startswith("mapping.presets.kong.application_id is not used")
