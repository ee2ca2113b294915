"""The commands under any locale and any reader of their output: nothing depends on the encoding of the machine."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import exporter
import mapping
import receiver
import weighbridge
from cli_process import environment
from weighbridge.commands.plain_text import data_text, defuse, escaped_json, visible

ROOTS = [Path(next(iter(module.__path__))) for module in (mapping, exporter, receiver, weighbridge)]
SOURCES = [path for root in ROOTS for path in sorted(root.rglob("*.py"))]
NAME = "Zürich ✓ \u202e\x9b2J\x7f → 中"
SPANS = {
    "resourceSpans": [
        {
            "scopeSpans": [
                {
                    "spans": [
                        {"traceId": "1" * 32, "spanId": "2" * 16, "name": NAME, "kind": 2},
                    ]
                }
            ]
        }
    ]
}


def opened_by_locale(source: str) -> list[int]:
    """Lines that read or write text in whatever encoding the locale names."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        named = {keyword.arg for keyword in node.keywords}
        values = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        modes = [value for value in values if isinstance(value, str) and set(value) <= set("rwaxbt+")]
        text_mode = any("b" not in mode for mode in modes) or (not modes and isinstance(node.func, ast.Name))
        on_module = (
            isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "os" and name == "open"
        )
        reads_all = name in ("read_text", "write_text") and len(node.args) < (1 if name == "read_text" else 2)
        opens = name in ("open", "fdopen") and not on_module and text_mode
        if (reads_all or opens) and "encoding" not in named:
            lines.append(node.lineno)
        if name in ("run", "Popen", "check_output") and "text" in named and "encoding" not in named:
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_file_is_read_or_written_in_the_encoding_of_the_locale(path: Path) -> None:
    assert opened_by_locale(path.read_text(encoding="utf-8")) == []


def test_a_file_opened_by_locale_is_seen() -> None:
    found = "a.read_text()\na.write_text(b)\nopen(a, 'w')\nopen(a)\nos.fdopen(a, 'w')\nrun(a, text=True)"
    fine = "a.read_text(encoding='utf-8')\nopen(a, 'rb')\nos.open(a, 1)\na.open('ab')\na.read_bytes()\nsink.open()"
    assert opened_by_locale(found) == [1, 2, 3, 4, 5, 6]
    assert opened_by_locale(fine) == []


# -- output --------------------------------------------------------------------------------------------------------


def command(arguments: list[str], cwd: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-P", "-m", "weighbridge", *arguments]
    return subprocess.run(line, cwd=cwd, env=environment(variables), capture_output=True, timeout=120, check=False)


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["latin-1", "ascii", "C", "C without UTF-8"],
)
def test_commands_work_under_any_locale(tmp_path: Path, variables: dict[str, str]) -> None:
    """`query --list` is a table of our own words, `map` prints what a customer sent."""
    (tmp_path / "spans.json").write_text(json.dumps(SPANS, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "weighbridge.yaml").write_text("receiver: {tenants: {Zürich: {keys: [k]}}}", encoding="utf-8")
    for arguments in (["query", "--list"], ["check"], ["map", "spans.json"], ["deadletter", "list"], ["--help"]):
        done = command(arguments, tmp_path, variables)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), (arguments, done.stderr)
    mapped = json.loads(command(["map", "spans.json"], tmp_path, variables).stdout)
    assert json.dumps(NAME)[1:-1] in json.dumps(mapped)


def test_questions_in_utf_8_are_understood_under_a_locale_that_is_not(tmp_path: Path) -> None:
    variables = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = command(["tail", "--where", "bücher=1"], tmp_path, {**variables, "PYTHONIOENCODING": "utf-8"})
    assert "bücher=1" in done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [["query", "--list"], ["query", "--list", "--format", "csv"], ["check"], ["map", "spans.json"], ["--help"]],
)
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "spans.json").write_text(json.dumps(SPANS), encoding="utf-8")
    reader, writer = os.pipe()
    os.close(reader)  # it is gone before the first line
    line = [sys.executable, "-P", "-m", "weighbridge", *arguments]
    done = subprocess.run(
        line, cwd=tmp_path, env=environment(), stdout=writer, stderr=subprocess.PIPE, timeout=120, check=False
    )
    os.close(writer)
    assert done.stderr == b""


# -- what nobody shall obey ------------------------------------------------------------------------------------------

STEERING = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u202a\u202e\u2066\u2069\u200b\u200e\ufeff\u2028\U000e0041",
]


@pytest.mark.parametrize("letter", STEERING, ids=lambda letter: f"{ord(letter):x}")
def test_characters_that_steer_or_hide_are_printed_as_their_code(letter: str) -> None:
    text = f"a{letter}b"
    assert visible(text) == f"a\\x{ord(letter):02x}b"
    assert data_text(text) == (text if letter in "\t\n\r" else visible(text))
    printed = escaped_json(json.dumps(text, ensure_ascii=False))
    assert letter not in printed
    assert json.loads(printed) == text, "JSON says the same in other letters"


@pytest.mark.parametrize("text", ["Zürich ✓", "👨\u200d👩\u200d👧", "می\u200cخواهم", "日本語"])
def test_the_letters_of_any_language_are_left_as_they_are(text: str) -> None:
    assert (visible(text), data_text(text), escaped_json(text)) == (text, text, text)


def test_a_joiner_between_latin_letters_is_shown() -> None:
    assert visible("admin\u200d") == "admin\\x200d"


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+2", "-2+3", "@SUM(A1)", "\tx", "\rx", "  =x", "\u200b=x", "＝1", "+1 (2)", "=cmd|' /C calc'!A0"],
)
def test_a_text_that_spreadsheets_would_run_is_defused(text: str) -> None:
    assert defuse(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "-", "-5", "+49170", "-1.5e-3", "a=b", "1-2", "'=1"])
def test_other_texts_keep_their_first_letter(text: str) -> None:
    assert defuse(text) == text
