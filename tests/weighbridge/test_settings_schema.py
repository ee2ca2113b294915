"""The JSON Schema of the settings file: takes what the reader takes, and sees what it would refuse by name or kind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from project_files import ROOT
from weighbridge.cli import main
from weighbridge.settings import Settings
from weighbridge.settings_schema import schema

VALIDATOR = Draft202012Validator(schema())
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILES = [*sorted((ROOT / "config").glob("*.yaml")), *sorted((ROOT / "config/examples").glob("*.yaml"))]


def complaints(text: str) -> list[str]:
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in VALIDATOR.iter_errors(yaml.safe_load(text))
    ]


def shown_settings(page: Path) -> list[str]:
    """The blocks of a page that are settings."""
    found = []
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        document: Any = yaml.safe_load(block)
        if isinstance(document, dict) and document and set(document) <= set(Settings.model_fields):
            found.append(block)
    return found


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())
    printed = CliRunner().invoke(main, ["check", "--schema"])
    assert json.loads(printed.stdout) == json.loads(json.dumps(schema()))


@pytest.mark.parametrize("file", [file for file in FILES if file.name != "collector.yaml"], ids=lambda path: path.name)
def test_the_settings_files_fit(file: Path) -> None:
    assert complaints(file.read_text()) == []


def test_the_settings_that_the_pages_show_fit() -> None:
    blocks = {(page.name, block) for page in PAGES for block in shown_settings(page)}
    assert len(blocks) > 10
    assert {place: found for place in blocks if (found := complaints(place[1]))} == {}


@pytest.mark.parametrize(
    "text",
    [
        "receiver: {max_body_bytes: 64MiB, header_timeout_s: 1m30s, max_records: '${env:MOST:-5}'}",
        "spool: {max_bytes: 10GB, fsync: '${FSYNC:-group}', remember_s: 1h}",
        "lanes: auto",
        "lanes: {count: 2, memory_bytes: 1GiB}",
        "sampling: {rate: 10, rules: [{name: a, rate: 1/3}]}",
        "mapping: {identify_user: {headers: [X-User]}, log_body: false}",
        "mapping: {presets: {user_id_headers: [X-User-Id], identify_company: {jwt_claim: a}}}",
        "exporter: {sinks: [{name: a, type: moesif, application_id: '${env:ID}'}, {name: b, type: blackhole}]}",
        "exporter: {sinks: [{name: a, type: kafka, brokers: [k:1], topic: t, options: {a.b: 1, c: d, e: true}}]}",
    ],
)
def test_what_the_reader_takes_fits(text: str) -> None:
    assert complaints(text) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("reciever: {}", ""),
        ("receiver: {endpiont: a}", "receiver"),
        ("receiver: {max_records: many}", "receiver.max_records"),
        ("receiver: {max_records: 0}", "receiver.max_records"),
        ("receiver: {max_records: 1k}", "receiver.max_records"),  # no unit in its name
        ("spool: {fsync: never}", "spool.fsync"),
        ("spool: {max_bytes: ten}", "spool.max_bytes"),
        ("exporter: {sinks: {name: a}}", "exporter.sinks"),
        ("exporter: {sinks: [{type: blackhole}]}", "exporter.sinks.0"),
        ("exporter: {sinks: [{name: a, type: cassandra}]}", "exporter.sinks.0.type"),
        ("exporter: {sinks: [{name: a, type: moesif}]}", "exporter.sinks.0"),
        ("exporter: {sinks: [{name: a, type: clickhouse, dsn: x, compresion: lz4}]}", "exporter.sinks.0"),
        ("exporter: {sinks: [{name: a, type: jsonlines, path: x, dsn: y}]}", "exporter.sinks.0"),
        ("telemetry: {log_level: loud}", "telemetry.log_level"),
        ("admin: {allowed_hosts: bridge}", "admin.allowed_hosts"),
    ],
)
def test_what_the_reader_refuses_is_seen_where_it_stands(text: str, place: str) -> None:
    found = complaints(text)
    assert [one for one in found if one.partition(": ")[0] == place], found


def test_an_editor_can_explain_every_setting() -> None:
    unexplained = [
        f"{name}.{setting}"
        for name, model in schema()["$defs"].items()
        for setting, value in model.get("properties", {}).items()
        if "description" not in value and "$ref" not in value and "const" not in value and name.startswith("sink_")
    ]
    assert unexplained == []
