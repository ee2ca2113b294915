"""Settings that cannot be meant together, or not on this machine, are refused with the names of the settings."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli_process import run_cli
from weighbridge.settings import Settings, SettingsError, load_settings, shown
from weighbridge.surroundings import refuse_unusable

HOST = socket.gethostname()


def load(tmp_path: Path, settings: dict[str, Any]) -> Settings:
    file = tmp_path / "weighbridge.yaml"
    file.write_text(yaml.safe_dump(settings))
    return load_settings(str(file), {})


def refusal(tmp_path: Path, settings: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def sinks(*given: dict[str, Any]) -> dict[str, Any]:
    return {"exporter": {"sinks": [{"name": f"s{number}", **sink} for number, sink in enumerate(given)]}}


def clickhouse(dsn: str, **more: Any) -> dict[str, Any]:
    return {"type": "clickhouse", "dsn": dsn, **more}


def kafka(broker: str, **topics: Any) -> dict[str, Any]:
    return {"type": "kafka", "brokers": [broker], **topics}


def forward(endpoint: str, **more: Any) -> dict[str, Any]:
    return {"type": "otlphttp", "endpoint": endpoint, **more}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (clickhouse("http://a:x@store:8123/db"), clickhouse("http://b:y@STORE/db/")),
        (clickhouse("http://localhost:8123"), clickhouse("http://127.0.0.1/analytics")),
        (clickhouse("http://[::1]:8123/x"), clickhouse("https://localhost:8443/x")),
        (clickhouse("chdb://data/other"), clickhouse("chdb:///{here}/data/other?database=b")),
        (clickhouse("chdb://data/other"), clickhouse("chdb://data/../data/other/")),
        (clickhouse("chdb://data/other"), clickhouse("chdb://link/other")),
        ({"type": "jsonlines", "path": "out/events"}, {"type": "jsonlines", "path": "{here}/out/./events"}),
        ({"type": "jsonlines", "path": "data/events"}, {"type": "jsonlines", "path": "link/events"}),
        ({"type": "jsonlines", "path": "-"}, {"type": "jsonlines", "path": "/dev/stdout"}),
        (kafka("k:9092", topic="a"), kafka("K", topic="a")),
        (kafka("k:9092", topic="a"), kafka("k:9092", topic="b", action_topic="a")),
        (forward("http://otel:4318"), forward("http://otel:4318/", signals=["logs"])),
        (forward("https://otel"), forward("https://OTEL.:443/")),
        ({"type": "moesif", "application_id": "ey1"}, {"type": "moesif", "application_id": "ey1"}),
    ],
)
def test_two_sinks_that_write_to_one_place_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: dict[str, Any], other: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    second = {
        key: value.replace("{here}", str(tmp_path)) if isinstance(value, str) else value for key, value in other.items()
    }
    said = refusal(tmp_path, sinks(one, second))
    assert "exporter" in said
    assert "s0 and s1 write to one place" in said
    assert "Keep one" in said


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (clickhouse("http://store/a"), clickhouse("http://store/b")),
        (clickhouse("http://store:8123/a"), clickhouse("http://store:9123/a")),
        (kafka("k:9092", topic="a", log_topic="l"), kafka("k:9092", topic="b", log_topic="a")),
        (forward("http://otel:4318", signals=["traces"]), forward("http://otel:4318", signals=["logs"])),
        (forward("http://otel:4318/a"), forward("http://otel:4318/b")),
        ({"type": "moesif", "application_id": "ey1"}, {"type": "moesif", "application_id": "ey2"}),
        ({"type": "blackhole"}, {"type": "blackhole"}),
    ],
)
def test_sinks_of_one_kind_may_have_places_of_their_own(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert len(load(tmp_path, sinks(one, other)).exporter.sinks) == 2


@pytest.mark.parametrize(
    ("receiver", "admin", "clash"),
    [
        ("127.0.0.1:4318", "127.0.0.1:4318", True),
        ("0.0.0.0:4318", "127.0.0.1:4318", True),
        (":4318", "10.0.0.7:4318", True),
        ("localhost:4318", "127.0.0.1:4318", True),
        ("[::]:4318", "localhost:4318", True),
        ("10.0.0.7:4318", "127.0.0.1:4318", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("127.0.0.1:4318", "127.0.0.1:4319", False),
    ],
)
def test_the_receiver_and_the_admin_port_cannot_be_one(tmp_path: Path, receiver: str, admin: str, clash: bool) -> None:
    settings = {"receiver": {"endpoint": receiver}, "admin": {"endpoint": admin}}
    if clash:
        assert "receiver.endpoint" in refusal(tmp_path, settings)
    else:
        load(tmp_path, settings)


@pytest.mark.parametrize(
    ("listening", "address", "itself"),
    [
        ("127.0.0.1:4318", "http://127.0.0.1:4318", True),
        ("127.0.0.1:4318", "HTTP://LocalHost.:4318/", True),
        ("0.0.0.0:4318", "http://[::1]:4318", True),
        (":4318", "http://127.1:4318", True),
        (":4318", f"http://{HOST}:4318", True),
        ("0.0.0.0:4318", "http://me:secret@127.0.0.2:4318", True),
        ("0.0.0.0:4318", "http://[::ffff:127.0.0.1]:4318", True),
        ("0.0.0.0:80", "http://localhost", True),
        ("127.0.0.1:4318", "http://127.0.0.1:4317", False),
        ("0.0.0.0:4318", "http://collector:4318", False),
        ("127.0.0.1:4318", "http://192.0.2.1:4318", False),
    ],
)
def test_the_bridge_sends_nothing_to_itself(tmp_path: Path, listening: str, address: str, itself: bool) -> None:
    for setting, given in (
        ("exporter.sinks.0.endpoint", sinks(forward(address))),
        ("exporter.sinks.0.base_url", sinks({"type": "moesif", "application_id": "ey1", "base_url": address})),
        ("telemetry.otlp_endpoint", {"telemetry": {"otlp_endpoint": address}}),
    ):
        settings = {"receiver": {"endpoint": listening}, **given}
        if itself:
            said = refusal(tmp_path, settings)
            assert f"{setting} is this bridge" in said
            assert "secret" not in said
        else:
            load(tmp_path, settings)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://otel:4318/v1/traces", "leave out /v1/traces"),
        ("http://otel:4318/v1/logs/", "leave out /v1/logs"),
        ("http://otel:4318/otlp/v1/metrics", "leave out /v1/metrics"),
        ("http://otel:4318/?token=secret", "a query or a fragment"),
        ("otel:4318", "must begin with http:// or https://"),
        ("grpc://otel:4317", "must begin with http:// or https://"),
        ("http://", "names no host"),
        ("http://me:se/cret@otel:4318", "in a user or password write @"),
        ("http://otel: 4318", "a blank"),
    ],
)
def test_an_address_to_which_no_path_can_be_added_is_refused_and_not_repeated(
    tmp_path: Path, address: str, says: str
) -> None:
    for setting, given in (
        ("exporter.sinks.0.endpoint", sinks(forward(address))),
        ("telemetry.otlp_endpoint", {"telemetry": {"otlp_endpoint": address}}),
    ):
        said = refusal(tmp_path, given)
        assert setting in said
        assert says in said
        assert "secret" not in said
        assert "se/cret" not in said


def test_an_endpoint_is_given_its_credentials_once(tmp_path: Path) -> None:
    twice = forward("http://me:hunter2@otel:4318", headers={"authorization": "Bearer hunter2"})
    assert "only one of them" in refusal(tmp_path, sinks(twice))


@pytest.mark.parametrize(
    ("spool", "store", "says"),
    [
        ("data/x", "data/x", "are one directory"),
        ("data/x", "link/x", "are one directory"),
        ("data/x/spool", "data/x", "lies inside"),
        ("data", "data/store", "lies inside"),
        ("data/x", "data/xy", ""),
    ],
)
def test_the_spool_and_the_store_lie_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: str, store: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    settings = {"spool": {"directory": spool}, **sinks(clickhouse(f"chdb://{store}"))}
    if says:
        assert says in refusal(tmp_path, settings)
    else:
        load(tmp_path, settings)


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        (
            sinks({"type": "moesif", "application_id": "${MOESIF_APPLICATION_ID:-none}"}),
            "exporter.sinks.0.application_id",
        ),
        (sinks({"type": "moesif", "application_id": "yourapplicationid"}), "exporter.sinks.0.application_id"),
        (sinks({"type": "moesif", "application_id": "Your Moesif Application Id"}), "exporter.sinks.0.application_id"),
        (sinks({"type": "moesif", "application_id": "<APPLICATION_ID>"}), "exporter.sinks.0.application_id"),
        (sinks({"type": "moesif", "application_id": ""}), "exporter.sinks.0.application_id"),
        (sinks(forward("http://otel:4318", headers={"Authorization": "Bearer ${TOKEN:-}"})), "headers.Authorization"),
        ({"receiver": {"tenants": {"acme": {"keys": ["changeme"]}}}}, "receiver.tenants.acme.keys.0"),
        ({"mapping": {"masks": {"hash_key": "change-me"}}}, "mapping.masks.hash_key"),
    ],
)
def test_what_examples_write_for_an_id_or_a_key_is_none(tmp_path: Path, settings: dict[str, Any], setting: str) -> None:
    assert setting in refusal(tmp_path, settings)


@pytest.mark.parametrize(
    "text",
    [
        "{{ .Values.moesif.id }}",
        "{{moesif_id}}",
        "{% env %}",
        "%(MOESIF_ID)s",
        "%MOESIF_ID%",
        "#{MoesifId}",
        "@moesif.id@",
    ],
)
def test_a_template_that_nobody_filled_in_is_no_key(tmp_path: Path, text: str) -> None:
    settings = sinks({"type": "moesif", "application_id": text})
    assert f"`{text}` stands where an id or a key belongs" in refusal(tmp_path, settings)


# -- what this machine must have ---------------------------------------------------------------------------------


def certificate(directory: Path, name: str) -> tuple[str, str]:
    key, cert = str(directory / f"{name}.key"), str(directory / f"{name}.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", cert, "-subj", "/CN=localhost", "-days", "2"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def unusable(tmp_path: Path, settings: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as error:
        refuse_unusable(load(tmp_path, settings))
    assert "\n" not in str(error.value)
    return str(error.value)


def tls(cert: str, key: str, **more: str) -> dict[str, Any]:
    return {"receiver": {"tls": {"certificate_file": cert, "private_key_file": key, **more}}}


def test_certificates_and_keys_must_be_there_and_belong_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (cert, key), (_, other_key) = certificate(tmp_path, "a"), certificate(tmp_path, "b")
    (tmp_path / "empty").write_text("")
    (tmp_path / "text").write_text("no certificate")
    locked = str(tmp_path / "locked.key")
    subprocess.run(["openssl", "pkcs8", "-topk8", "-in", key, "-out", locked, "-passout", "pass:secret"], check=True)
    refuse_unusable(load(tmp_path, tls(cert, key, client_ca_file=cert)))
    assert "receiver.tls.certificate_file: none.pem: No such file" in unusable(tmp_path, tls("none.pem", key))
    assert "receiver.tls.private_key_file: none.key: No such file" in unusable(tmp_path, tls(cert, "none.key"))
    assert "receiver.tls.private_key_file: empty is empty" in unusable(tmp_path, tls(cert, "empty"))
    assert "are not a PEM certificate and its key" in unusable(tmp_path, tls(cert, other_key))
    assert "are not a PEM certificate and its key" in unusable(tmp_path, tls("text", key))
    assert "are not a PEM certificate and its key" in unusable(tmp_path, tls(cert, locked)), "nobody is asked for it"
    assert "holds no PEM certificate" in unusable(tmp_path, tls(cert, key, client_ca_file="text"))
    assert "(and 1 more)" in unusable(tmp_path, tls("none.pem", "none.key"))


def test_files_and_directories_must_be_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("acme")
    (tmp_path / "nowhere").symlink_to("gone")
    (tmp_path / "folder").mkdir()
    refuse_unusable(load(tmp_path, {"spool": {"directory": "a/b/c"}}))
    for settings, says in (
        ({"spool": {"directory": "file"}}, "spool.directory: "),
        ({"spool": {"directory": "file/spool"}}, f"spool.directory: {tmp_path}/file is no directory"),
        ({"spool": {"directory": "nowhere/x"}}, "a link to what is not there"),
        (sinks(clickhouse("chdb://file/store")), "exporter.sinks.0.dsn: "),
        (sinks({"type": "jsonlines", "path": "file/x"}), "exporter.sinks.0.path: "),
        (sinks({"type": "jsonlines", "path": "folder"}), "exporter.sinks.0.path: folder is a directory"),
        ({"receiver": {"auth": {"keys_file": "none"}}}, "receiver.auth.keys_file: none: No such file"),
        ({"receiver": {"auth": {"keys_file": "file"}}}, "line 1: not tenant:key"),
        (sinks(kafka("k", topic="t", options={"ssl.ca.location": "none"})), "options.ssl.ca.location: none: No such"),
    ):
        assert says in unusable(tmp_path, settings), settings


def test_check_and_serve_refuse_what_cannot_be_used_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = sinks({"type": "jsonlines", "path": "file/x"})
    settings["receiver"] = settings["admin"] = {"endpoint": "127.0.0.1:0"}
    (tmp_path / "weighbridge.yaml").write_text(yaml.safe_dump(settings))
    for command, code in (("check", 2), ("serve", 1)):
        done = run_cli(command, cwd=tmp_path)
        assert done.returncode == code
        assert "exporter.sinks.0.path: " in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "address",
    [
        "https://me:hunter2@otel",
        "https://hunter2@otel",
        "https://hunter2:@otel",
        "https://me:hun%40ter2hunter2@otel:1/x",
    ],
)
def test_check_shows_no_user_and_no_password_of_an_address(tmp_path: Path, address: str) -> None:
    given = {**sinks(forward(address)), "telemetry": {"otlp_endpoint": address}}
    settings = load(tmp_path, given)
    assert "hunter2" not in str(shown(settings))
    assert "otel" in str(shown(settings))
