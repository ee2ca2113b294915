"""`weighbridge init` writes settings that check accepts, from flags or answers on a terminal; so are the examples."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from project_files import ROOT
from weighbridge.cli import main
from weighbridge.settings import Settings, load_settings

SECRETS = {"CLICKHOUSE_PASSWORD": "p@ss", "MOESIF_APPLICATION_ID": "eyJhcHAiOiIxOjIifQ", "KAFKA_PASSWORD": "x"}
EXAMPLES = sorted((ROOT / "config/examples").glob("*.yaml"))


def init(folder: Path, *arguments: str) -> tuple[int, str, str]:
    file = str(folder / "w.yaml")
    done = CliRunner().invoke(main, ["init", "--config", file, *arguments])
    return done.exit_code, done.stdout, done.stderr


def loaded(folder: Path) -> Settings:
    return load_settings(str(folder / "w.yaml"), SECRETS)


@pytest.mark.parametrize(
    ("arguments", "kind", "part"),
    [
        ((), "clickhouse", "chdb://data/store"),
        (("--directory", "/var/lib/wb/"), "clickhouse", "chdb:///var/lib/wb/store"),
        (("--to", "clickhouse"), "clickhouse", "http://bridge:p@ss@localhost:8123/analytics"),
        (("--to", "clickhouse", "--address", "https://me@db:8443/a"), "clickhouse", "https://me:p@ss@db:8443/a"),
        (("--to", "clickhouse", "--address", "http://db:8123/a"), "clickhouse", "http://default:p@ss@db:8123/a"),
        (("--to", "moesif"), "moesif", ""),
        (("--to", "kafka", "--address", "k1:9092, k2:9092"), "kafka", ""),
        (("--to", "files", "--address", "/var/log/a: b.jsonl"), "jsonlines", ""),
    ],
)
def test_what_is_written_is_accepted(arguments: tuple[str, ...], kind: str, part: str, tmp_path: Path) -> None:
    code, said, complaint = init(tmp_path, *arguments)
    assert (code, complaint) == (0, "")
    (sink,) = loaded(tmp_path).exporter.sinks
    assert sink.type == kind
    if part:
        assert getattr(sink, "dsn", "") == part.replace("data/", "data/")
    text = (tmp_path / "w.yaml").read_text()
    assert "p@ss" not in text
    assert [line for line in text.splitlines() if len(line) > 120] == []
    assert text.count("# ") >= 6  # it says what is what
    for name in set(re.findall(r"\$\{env:(\w+)", text)):
        assert f"export {name}=" in said
    assert (tmp_path / "w.yaml").stat().st_mode & 0o777 == 0o600


def test_flags_say_who_may_send_and_who_called(tmp_path: Path) -> None:
    arguments = [
        "--everywhere",
        "--keys",
        "--user-claim",
        "uid",
        "--company-claim",
        "org",
        "--directory",
        str(tmp_path),
    ]
    code, said, _ = init(tmp_path, *arguments)
    assert code == 0
    settings = loaded(tmp_path)
    assert settings.receiver.endpoint == "0.0.0.0:4318"
    assert settings.mapping.identify_user.jwt_claim == "uid"
    assert settings.mapping.identify_company.jwt_claim == "org"
    assert settings.receiver.auth.keys_file == tmp_path / "keys"
    (line,) = (line for line in (tmp_path / "keys").read_text().splitlines() if not line.startswith("#"))
    assert line.removeprefix("default:") in said
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    checked = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "w.yaml")])
    assert checked.exit_code == 0, checked.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--to", "clickhouse", "--address", "http://me:secret@db/a"), "leave the password out"),
        (("--to", "clickhouse", "--address", "db:8123"), "begins with http://"),
        (("--to", "clickhouse", "--address", "http://db:port/a"), "nothing is written"),
        (("--to", "kafka", "--address", ","), "nothing is written"),
    ],
)
def test_what_cannot_be_used_is_not_written(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    code, _, complaint = init(tmp_path, "--keys", *arguments)
    assert (code, says in complaint) == (2, True), complaint
    assert "secret" not in complaint
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text("receiver: {}")
    code, _, complaint = init(tmp_path)
    assert (code, "is there already" in complaint) == (2, True)
    assert (tmp_path / "w.yaml").read_text() == "receiver: {}"
    (tmp_path / "w.yaml").unlink()
    (tmp_path / "keys").write_text("acme:k")
    assert init(tmp_path, "--keys")[0] == 2
    assert not (tmp_path / "w.yaml").exists()
    assert (tmp_path / "keys").read_text() == "acme:k"


@pytest.mark.process
def test_on_a_terminal_it_asks(tmp_path: Path) -> None:
    """What a flag says is not asked; Enter takes what stands in brackets."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "weighbridge", "init", "--config", "w.yaml", "--directory", "d"]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, cwd=tmp_path)
    os.close(theirs)
    asked = b""
    for question, answer in (
        (b"Where do events go", b"nowhere\n"),
        (b"is not one of", b"clickhouse\n"),
        (b"Address of the server", b"http://me@db:8123/calls\n"),
        (b"other machines", b"y\n"),
        (b"show a key", b"\n"),
        (b"names the user", b"\n"),
        (b"names the company", b"org_id\n"),
    ):
        deadline = time.monotonic() + 60
        while question not in asked and time.monotonic() < deadline:
            asked += os.read(ours, 1000)
        assert question in asked
        asked = b""
        os.write(ours, answer)
    said, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert b"export CLICKHOUSE_PASSWORD=..." in said
    settings = loaded(tmp_path)
    assert settings.receiver.endpoint == "0.0.0.0:4318"
    assert settings.receiver.auth.keys_file is not None  # the usual answer where others may send
    assert settings.mapping.identify_company.jwt_claim == "org_id"
    assert str(settings.spool.directory) == "d/spool"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_accepted(example: Path) -> None:
    settings = load_settings(str(example), SECRETS)
    assert settings.exporter.sinks
    assert example.read_text().startswith("# ")


def test_the_examples_are_those_that_the_readme_names() -> None:
    named = re.search(r"config/examples` \(([^)]+)\)", (ROOT / "README.md").read_text())
    assert named
    assert sorted(path.stem for path in EXAMPLES) == sorted(re.findall(r"`([a-z-]+)`", named[1]))


def test_examples_hold_no_secret() -> None:
    for example in EXAMPLES:
        text = yaml.safe_dump(yaml.safe_load(example.read_text()))
        for name in ("password", "application_id"):
            for value in re.findall(rf"{name}: (.+)", text):
                assert "${env:" in value, example.name
