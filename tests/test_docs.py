"""What the documents say is true: commands, options, targets, settings, links and snippets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from exporter.sinks import module_of, types
from project_files import ROOT, project_file
from weighbridge.cli import main
from weighbridge.settings import Settings, load_settings
from weighbridge.settings_reference import reference

README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def named_commands(text: str) -> set[str]:
    return set(re.findall(r"(?<![/\w.])(?:\.venv/bin/)?weighbridge ([a-z]+)\b(?= |`|$)", text, re.MULTILINE))


def commands_of(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands_of(command)
        else:
            yield name, command


def test_every_command_is_in_the_readme() -> None:
    table = "\n".join(line for line in README.splitlines() if line.startswith("| `weighbridge"))
    assert named_commands(table) == set(main.commands)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_options_in_code_exist(document: Path) -> None:
    code = re.findall(r"`+(?:sh\n)?([^`]+)`+", document.read_text())
    for line in (line for block in code for line in block.splitlines() if "weighbridge " in line):
        for name in named_commands(line):
            if name == "weighbridge":  # docker compose exec weighbridge weighbridge demo
                continue
            assert name in main.commands, line
            command = main.commands[name]
            known = {option for parameter in command.params for option in parameter.opts}
            assert set(re.findall(r"(?<=\s)--[a-z-]+", line.partition(f"weighbridge {name}")[2])) <= known, line


def test_every_make_target_in_the_readme_exists_and_the_other_way_round() -> None:
    in_readme = set(re.findall(r"^\| `make (\w+)`", README, re.MULTILINE))
    in_makefile = set(re.findall(r"^([a-z]+):.*?## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert in_makefile - in_readme == {"help", "clean"}
    assert in_readme - in_makefile == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
    files = [link for link in links if not link.startswith("http")]
    named = {link: os.path.normpath(document.parent.relative_to(ROOT) / link) for link in files}
    assert [link for link, path in named.items() if not project_file(path).exists()] == []


def test_the_tests_named_for_each_promise_exist() -> None:
    patterns = set(re.findall(r"`(tests/[\w*./]+)`", (ROOT / "docs/reliability.md").read_text()))
    assert patterns
    assert [pattern for pattern in patterns if not list(ROOT.glob(pattern))] == []


def test_every_command_takes_a_settings_file() -> None:
    assert [name for name, command in commands_of(main) if not any(p.name == "config" for p in command.params)] == []


def test_the_settings_file_lists_every_setting_with_its_default() -> None:
    """Mend it with: python -m weighbridge.settings_reference > config/weighbridge.yaml"""
    assert (ROOT / "config/weighbridge.yaml").read_text() == reference()


@pytest.mark.parametrize("name", ["weighbridge.yaml", "examples/local.yaml"])
def test_the_settings_files_are_the_built_in_defaults(name: str) -> None:
    assert load_settings(str(ROOT / "config" / name), {"CLICKHOUSE_PASSWORD": "x"}) == Settings()


MAPPING_EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/mapping.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", MAPPING_EXAMPLES)
def test_the_settings_shown_about_mapping_are_accepted(example: str, tmp_path: Path) -> None:
    (tmp_path / "example.yaml").write_text(example)
    assert load_settings(str(tmp_path / "example.yaml"), {}).mapping != Settings().mapping


def allowed_words(model: Any) -> Iterator[tuple[str, str]]:
    """The name of every setting that allows some words only, with each of them."""
    for name, field in model.model_fields.items():
        parts = [field.annotation]
        while parts:
            part = parts.pop()
            if get_origin(part) is Literal:
                yield from ((name, word) for word in get_args(part))
            elif hasattr(part, "model_fields"):
                yield from allowed_words(part)
            else:
                parts += get_args(part)


def test_the_words_that_a_setting_allows_stand_beside_it() -> None:
    """In its comment: above the setting, or behind its name where the whole entry is a comment."""
    text = (ROOT / "config/weighbridge.yaml").read_text(encoding="utf-8")
    words = {
        pair for model in (Settings, *(module_of(kind).Settings for kind in types())) for pair in allowed_words(model)
    }
    assert ("fsync", "none") in words
    assert ("action", "remove") in words
    for name, word in words:
        if name == "type":  # the heading of its sink
            continue
        above = re.findall(rf"((?: *#.*\n)+) *(?:# )?-? ?{name}:", text)
        behind = re.findall(rf"# +{name} \(.*\n(?: *#    .*\n)*", text)
        assert any(re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", found) for found in above + behind), (name, word)


def undescribed(model: Any, path: str = "") -> list[str]:
    """The settings that say nothing about their unit and effect."""
    missing = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if hasattr(type(value), "model_fields"):
            missing += undescribed(value, f"{path}{name}.")
        elif not field.description and value is not None:  # an optional part describes itself
            missing.append(f"{path}{name}")
    return missing


def test_every_setting_says_what_it_does() -> None:
    assert undescribed(Settings()) == []


def test_the_collector_snippet_is_the_exporter_of_the_collector_file() -> None:
    (snippet,) = (yaml.safe_load(text) for text in snippets("yaml") if "otlp_http" in text)
    whole = yaml.safe_load((ROOT / "config/collector.yaml").read_text())
    assert snippet["exporters"].keys() == whole["exporters"].keys()
    here, there = snippet["exporters"]["otlp_http"], whole["exporters"]["otlp_http"]
    assert here | {"endpoint": ""} == there | {"endpoint": ""}


def test_the_sinks_shown_are_accepted(tmp_path: Path) -> None:
    (snippet,) = (text for text in snippets("yaml") if "sinks:" in text)
    (tmp_path / "weighbridge.yaml").write_text(snippet)
    environment = {"MOESIF_APPLICATION_ID": "eyJhcHAiOiIxOjIifQ"}
    sinks = load_settings(str(tmp_path / "weighbridge.yaml"), environment).exporter.sinks
    assert [sink.type for sink in sinks] == ["clickhouse", "moesif", "jsonlines"]


def test_settings_shown_in_a_line_of_the_readme_are_accepted(tmp_path: Path) -> None:
    shown = re.findall(r"`((?:mapping|telemetry): \{[^`]+\})`", README)
    assert len(shown) == 2
    for line in shown:
        (tmp_path / "weighbridge.yaml").write_text(line)
        assert load_settings(str(tmp_path / "weighbridge.yaml"), {}) != Settings()


def test_every_kind_of_sink_is_named_in_the_readme() -> None:
    section = README.partition("## Where events go")[2].partition("\n## ")[0]
    assert [kind for kind in types() if kind not in section] == ["blackhole"]  # for measurements only


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    """An OTLP/HTTP endpoint on loopback, and the bodies it got."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", bodies
        server.shutdown()
        thread.join()


def test_the_readme_pins_what_it_installs() -> None:
    """A version that nobody has tried is no way in; the Python ones are those of constraints.txt."""
    installed = [
        line for text in snippets("sh") for line in text.splitlines() if re.search(r"pip install|npm install", line)
    ]
    assert len(installed) == 2
    names = [word for line in installed for word in re.findall(r"(?:opentelemetry-|@opentelemetry/)[\w-]+\S*", line)]
    packages = [word for word in names if word != "opentelemetry-bootstrap"]
    assert len(packages) == 4
    assert [word for word in packages if not re.search(r"==\d|@\d", word)] == []
    constraints = (ROOT / "constraints.txt").read_text()
    assert "opentelemetry-exporter-otlp-proto-http==1.45.2" in packages
    assert "opentelemetry-exporter-otlp-proto-http==1.45.2" in constraints
    assert "opentelemetry-semantic-conventions==0.66b2" in constraints, (
        "the distro's version is that of the conventions"
    )


def test_the_readme_asks_for_no_trace_that_nobody_has() -> None:
    assert re.findall(r"weighbridge trace [0-9a-f]{32}", README) == []


def test_the_python_snippet_sends_a_call_by_a_customer(receiver: tuple[str, list[bytes]], tmp_path: Path) -> None:
    endpoint, bodies = receiver
    (snippet,) = snippets("python")
    script = tmp_path / "app.py"
    script.write_text(snippet)
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    subprocess.run([sys.executable, str(script)], env=environment, check=True, timeout=60)
    (body,) = bodies
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    (span,) = resource.scope_spans[0].spans
    assert {item.key: item.value.string_value for item in span.attributes}["user.id"] == "4711"
