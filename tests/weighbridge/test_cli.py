"""The command line without a bridge: help, settings, `map`, dead letters, and how commands end."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from click.testing import Result as Done
from rich.console import Console

from bridge import free_port
from cli_process import environment, run_cli
from events import event
from exporter.clickhouse import queries
from exporter.clickhouse.queries import Condition
from exporter.clickhouse.reader import Result
from exporter.deadletter import DeadLetters
from project_files import TESTDATA
from weighbridge.cli import main
from weighbridge.commands.check import effective_yaml
from weighbridge.commands.conditions import parse_where
from weighbridge.commands.errors import CommandError
from weighbridge.commands.event_text import Seen, seen, visible
from weighbridge.commands.moments import parse_length, parse_since
from weighbridge.commands.named_query import list_named, named, said_under
from weighbridge.commands.query import align, csv_text, json_text
from weighbridge.commands.serve import welcome
from weighbridge.commands.tables import print_table
from weighbridge.commands.tail import line as tail_line
from weighbridge.commands.trace import parse_trace_id
from weighbridge.settings import Settings, load_settings
from whole_trace_rig import RULES, request

CORPUS = TESTDATA / "corpus"
BODIES = sorted(CORPUS.glob("*.bin"))


def all_commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += all_commands(command, (*path, name))
    return found


def test_help_loads_nothing_but_the_command_line() -> None:
    """So that `weighbridge --help` answers at once, whatever the service needs."""
    script = "import sys, weighbridge.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=True
    ).stdout.split()
    assert "click" in loaded
    ours_and_heavy = {"receiver", "mapping", "exporter", "pydantic", "aiohttp", "clickhouse_connect", "opentelemetry"}
    assert ours_and_heavy & set(loaded) == set()


@pytest.mark.parametrize("command", all_commands(main), ids="-".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*command, "--help"])
    assert done.exit_code == 0
    assert done.stdout.startswith("Usage: ")


def test_the_commands_of_the_contract_exist() -> None:
    assert set(main.commands) == {
        "serve", "init", "check", "console", "mcp", "map", "query", "tail", "trace", "ledger", "deadletter",
        "export", "backup", "restore", "move", "retention", "erase", "why", "reveal", "demo", "meter",
    }  # fmt: skip


def run(*arguments: str, **variables: str) -> Done:
    """A command in this process, from the working directory."""
    return CliRunner().invoke(main, arguments, env={"WEIGHBRIDGE_CONFIG": None, **variables})


# -- settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["check"], ["serve"], ["ledger"]])
def test_an_unknown_setting_ends_any_command_with_one_line_that_names_it(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("receiver: {endpiont: 127.0.0.1:4318}")
    done = run_cli(*command, "--config", "bad.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "receiver.endpiont" in line


def test_a_settings_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = run_cli("check", "--config", "none.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: none.yaml: No such file or directory\n"


def test_check_hides_secrets(tmp_path: Path) -> None:
    (tmp_path / "weighbridge.yaml").write_text(
        "exporter: {sinks: [{name: s, type: clickhouse, dsn: 'http://me:hunter2@db:8123/a'}]}\n"
        "receiver: {tenants: {acme: {keys: ['${env:ACME_KEY}']}}}\n"
    )
    done = run_cli("check", cwd=tmp_path, variables={"ACME_KEY": "opensesame"})
    assert done.returncode == 0
    assert "hunter2" not in done.stdout
    assert "opensesame" not in done.stdout
    shown = yaml.safe_load(done.stdout)
    assert shown["exporter"]["sinks"][0]["dsn"].startswith("http://me:***")
    assert shown["receiver"]["tenants"]["acme"]["keys"]


def test_what_check_prints_can_be_used_as_settings(tmp_path: Path) -> None:
    file = tmp_path / "effective.yaml"
    file.write_text(effective_yaml(Settings()))
    assert load_settings(str(file), {}) == Settings()


def test_settings_come_from_the_option_then_the_environment_then_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, level in (("weighbridge.yaml", "warning"), ("other.yaml", "error"), ("option.yaml", "debug")):
        (tmp_path / name).write_text(f"telemetry: {{log_level: {level}}}")

    def level_of(*arguments: str, **variables: str) -> str:
        level: str = yaml.safe_load(run("check", *arguments, **variables).stdout)["telemetry"]["log_level"]
        return level

    assert level_of() == "warning"
    assert level_of(WEIGHBRIDGE_CONFIG="other.yaml") == "error"
    assert level_of("--config", "option.yaml", WEIGHBRIDGE_CONFIG="other.yaml") == "debug"
    (tmp_path / "weighbridge.yaml").unlink()
    assert level_of() == "info"


def test_what_serve_says_first_can_be_pasted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tls = {"certificate_file": "c.pem", "private_key_file": "k.pem"}
    settings = Settings.model_validate({"receiver": {"endpoint": "0.0.0.0:4444", "tls": tls}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.argv", [str(tmp_path / ".venv/bin/weighbridge"), "serve"])
    said = welcome(settings, "my shop.yaml")
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=https://127.0.0.1:4444 " in said
    assert "\n  .venv/bin/weighbridge demo --config 'my shop.yaml'\n" in said


# -- map -----------------------------------------------------------------------------------------------------


def expected_kinds(body: Path) -> list[str]:
    return [item["kind"] for item in json.loads(body.with_suffix(".expected.json").read_text())["items"]]


@pytest.mark.parametrize("body", BODIES, ids=lambda path: path.stem)
def test_map_guesses_signal_type_and_encoding_from_the_bytes_alone(
    body: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A line per record in wire order, skipped spans included."""
    alone = tmp_path / "body"  # nothing beside it, nothing in its name
    shutil.copy(body, alone)
    main(["map", str(alone)], standalone_mode=False)
    lines = capsysbinary.readouterr().out.splitlines()
    assert [json.loads(line)["event_type"] for line in lines] == expected_kinds(body)


def test_map_as_a_user_runs_it(tmp_path: Path) -> None:
    done = run_cli("map", str(BODIES[1]), cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == len(expected_kinds(BODIES[1]))


def test_map_takes_what_is_said_over_what_it_would_guess(tmp_path: Path) -> None:
    done = run_cli("map", str(BODIES[1]), "--content-type", "application/json", cwd=tmp_path)
    assert done.returncode == 1
    assert "the receiver would answer 400" in done.stderr


def test_map_of_something_else_says_what_the_receiver_would_answer(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"\xff" * 100)
    done = run_cli("map", "noise", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: noise: the receiver would answer 400: ")
    assert len(done.stderr.splitlines()) == 1


def test_map_of_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = run_cli("map", "none", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_map_samples_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "weighbridge.yaml").write_text("sampling: {rules: [{name: none, rate: 0}]}")
    kept = run_cli("map", str(BODIES[1]), cwd=tmp_path)
    dropped = run_cli("map", str(BODIES[1]), "--sample", cwd=tmp_path)
    assert len(kept.stdout.splitlines()) == len(expected_kinds(BODIES[1]))
    assert dropped.stdout == ""
    assert "sampled out" in dropped.stderr


def test_map_samples_whole_traces_by_what_the_request_has_of_them(tmp_path: Path) -> None:
    """At a rate of 0, one failed call keeps its whole trace."""
    kept_trace, dropped_trace = b"\1" * 16, b"\2" * 16
    body = request([(kept_trace, 200), (dropped_trace, 200), (kept_trace, 500)], 1_795_200_000_000_000_000, 1)
    (tmp_path / "body.bin").write_bytes(body)
    (tmp_path / "weighbridge.yaml").write_text(json.dumps({"sampling": {"rate": 0, "rules": RULES, "tail": {}}}))
    done = run_cli("map", "body.bin", "--sample", cwd=tmp_path)
    assert done.stdout.count(kept_trace.hex()) == len(done.stdout.splitlines()) == 2
    assert dropped_trace.hex() not in done.stdout
    assert "1 records sampled out" in done.stderr


def test_map_caps_a_request_as_one_window(tmp_path: Path) -> None:
    traces = [bytes(9) + bytes([r]) * 7 for r in range(0x20, 0x30)]
    body = request([(trace, 200) for trace in traces], 1_795_200_000_000_000_000, 1)
    (tmp_path / "body.bin").write_bytes(body)
    budget = {"events_per_second": 4, "window_s": "1s", "cold_start_share": 1}
    (tmp_path / "weighbridge.yaml").write_text(json.dumps({"sampling": {"budget": budget}}))
    done = run_cli("map", "body.bin", "--sample", cwd=tmp_path)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["trace_id"] for line in lines] == [trace.hex() for trace in traces[-4:]]
    assert {line["metadata"]["sampling"]["th"] for line in lines} == {"2b2b2b2b2b2b2c"}
    assert "12 records sampled out" in done.stderr


def test_hints_beside_the_file_do_not_overrule_its_bytes(tmp_path: Path) -> None:
    """A body that was inflated after it had been captured keeps the headers of the original."""
    shutil.copy(BODIES[1], tmp_path / "a.bin")
    hints: dict[str, Any] = {"path": "/v1/traces", "headers": [["Content-Encoding", "gzip"]]}
    (tmp_path / "a.headers.json").write_text(json.dumps(hints))
    assert run_cli("map", "a.bin", cwd=tmp_path).returncode == 0
    (tmp_path / "a.headers.json").write_text("not JSON")
    assert run_cli("map", "a.bin", cwd=tmp_path).returncode == 0


# -- dead letters --------------------------------------------------------------------------------------------


@pytest.fixture
def dead_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two dead letters in the spool of the working directory's settings, one of them twice."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weighbridge.yaml").write_text("spool: {directory: spool}")
    letters = DeadLetters(tmp_path / "spool/deadletter.jsonl")
    for transaction_id, reason in (("aaaa1", "row too long"), ("bbbb2", "bad date\x1b[2J"), ("aaaa1", "row too long")):
        letters.add("store", reason, [event(transaction_id=transaction_id)])


def test_dead_letters_are_listed_once_and_cannot_steer_the_terminal(dead_letters: None) -> None:
    done = run("deadletter", "list")
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["aaaa1", "bbbb2"]
    assert "\x1b" not in done.stdout


def test_dead_letters_can_be_chosen_by_reason_and_time(dead_letters: None) -> None:
    assert len(run("deadletter", "list", "--reason", "DATE").stdout.splitlines()) == 1
    none = run("deadletter", "list", "--since", "2100-01-01")
    assert (none.stdout, none.stderr) == ("", "no dead letters that match\n")
    assert run("deadletter", "list", "--since", "yesterday").exit_code == 2


def test_a_dead_letter_is_shown_by_the_start_of_its_id(dead_letters: None) -> None:
    assert json.loads(run("deadletter", "show", "bb").stdout)["reason"].startswith("bad date")
    assert run("deadletter", "show", "cc").exit_code == 2


def test_an_age_or_a_time_says_since_when() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    hour_ns = 3600 * 10**9
    noon_ns = int(now.timestamp()) * 10**9
    assert [parse_since(text, now) for text in ("90m", "2d", "2026-11-20T11:00", "2026-11-20T12:00+01:00")] == [
        noon_ns - hour_ns * 3 // 2,
        noon_ns - 48 * hour_ns,
        noon_ns - hour_ns,
        noon_ns - hour_ns,
    ]
    assert parse_since("1w", now) == parse_since("7 d", now), "an age is a length of time"
    assert parse_length("1w", "width") == parse_length("7d", "width") == timedelta(days=7)
    assert parse_since("1h30m", now) == parse_since("90 minutes", now), "as in the settings"
    for absurd in ("999999999w", "99999d" * 9, "999999d", "²d", "90", "5M"):
        with pytest.raises(CommandError, match="--since"):
            parse_since(absurd, now)


# -- words and forms -----------------------------------------------------------------------------------------


NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_a_query_by_name_is_about_the_last_day_unless_told() -> None:
    assert named("totals", [], "user", NOW) == queries.totals(NOW - timedelta(days=1), NOW, sample_unit="user")
    asked = named("percentile", ["q=0.5", "by=day", "since=7d", "where=status>=500", "where=plan=pro"], "trace", NOW)
    where = [Condition("status_code", ">=", "500"), Condition("plan", "=", "pro")]
    assert asked == queries.percentile(NOW - timedelta(days=7), NOW, 0.5, "day", where)


def test_every_named_query_can_be_asked_with_texts() -> None:
    needed = {
        "trace": ["trace_id=ab", "around=2026-11-20"], "user_calls": ["user_id=u", "limit=5"],
        "onboarding_funnel": ["steps=POST /signup, POST /keys", "window=7d"], "tail": ["after=5m"],
    }  # fmt: skip
    for name, parameters, answers in list_named().rows:
        assert named(name, needed.get(name, []), "trace", NOW).sql
        assert parameters
        assert answers.endswith(".")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["totalz"], "no query is called 'totalz'"),
        (["SELECT", "1"], "is the SQL in quotes?"),
        (["select", "1"], "SQL needs quotes"),
        (["SELECT 1 + 1", "by=day"], "only queries by name take parameters"),
        (["totals", "bye=day"], "'bye=day' is no parameter; it takes since=…, until=…"),
        (["totals", "by=body"], "cannot group by 'body'"),
        (["totals", "by=day", "by=hour"], "by is given more than once"),
        (["totals", "since=yesterday"], "write 2026-11-20"),
        (["totals", "limit=all"], "'all' is no number"),
        (["totals", "where=plan"], "not a condition"),
        (["onboarding_funnel", "steps=a"], "needs window=…"),
        (["onboarding_funnel", "steps=a", "window=long"], "no length of time"),
        ([], "the name of a query"),
    ],
)
def test_a_query_that_cannot_be_asked_is_one_line(arguments: list[str], complaint: str) -> None:
    done = CliRunner().invoke(main, ["query", *arguments])
    assert done.exit_code == 2
    assert complaint in done.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("user=4711", [Condition("user_id", "=", "4711")]),
        ("company = a=b", [Condition("company_id", "=", "a=b")]),
        ("route~orders", [Condition("endpoint", "LIKE", "orders")]),
        ("status>=500", [Condition("status_code", ">=", "500")]),
        ("status=4xx", [Condition("status_code", ">=", "400"), Condition("status_code", "<=", "499")]),
        ("error_type!=timeout", [Condition("error_type", "!=", "timeout")]),
        ("metadata.order.id=7", [Condition("metadata.order.id", "=", "7")]),
    ],
)
def test_a_filter_names_people_s_words_or_a_column(text: str, conditions: list[Condition]) -> None:
    assert parse_where(text) == conditions


@pytest.mark.parametrize("text", ["user", "nobody=1", "status=9xx", "status=x", "1=1; DROP TABLE api_events"])
def test_a_filter_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="--where"):
        parse_where(text)


def test_a_trace_id_is_read_as_people_paste_it() -> None:
    plain = "0af7651916cd43dd8448eb211c80319c"
    pasted = [
        plain.upper(),
        f" {plain}\n",
        "0af76519-16cd-43dd-8448-eb211c80319c",
        f"00-{plain}-b7ad6b7169203331-01",
    ]
    assert {parse_trace_id(text) for text in pasted} == {plain}
    with pytest.raises(CommandError, match="32 hex digits"):
        parse_trace_id("0af7")


RESULT = Result(
    ("time", "name", "calls", "rate", "tags"),
    [
        (datetime(2026, 11, 20, 12, 0, 0, 500), "a,b\n", 3, 0.25, {"x": ["y"]}),
        (datetime(2026, 11, 20, 13, tzinfo=UTC), "", 1000, float("nan"), None),
    ],
)


def test_json_is_an_array_of_objects_with_times_in_utc() -> None:
    first, second = json.loads(json_text(RESULT))
    assert first == {
        "time": "2026-11-20T12:00:00.000500Z",
        "name": "a,b\n",
        "calls": 3,
        "rate": 0.25,
        "tags": {"x": ["y"]},
    }
    assert second["rate"] is None
    assert json.loads(json_text(Result(("a",), []))) == []


def test_csv_has_a_header_and_quotes_what_needs_it() -> None:
    assert csv_text(RESULT).splitlines()[0] == "time,name,calls,rate,tags"
    assert '"a,b\n",3,0.25,"{""x"": [""y""]}"' in csv_text(RESULT)


@pytest.mark.parametrize(("width", "wide"), [(200, False), (40, True)])
def test_a_row_too_wide_for_the_terminal_is_a_list_of_its_columns(width: int, wide: bool) -> None:
    columns = [f"a_long_name_of_a_column_{number}" for number in range(5)]
    output = io.StringIO()
    print_table(Console(file=output, width=width), Result(tuple(columns), [(1, "x" * 500, None, 2.5, "[red]")]))
    lines = output.getvalue().splitlines()
    starts = [line.split()[0] for line in lines if line.split()[0] in columns]
    assert (starts == columns) is wide
    assert max(map(len, lines)) <= width
    assert "[red]" in output.getvalue()
    assert all(name in output.getvalue() for name in columns)


def test_a_table_in_a_pipe_is_aligned_text_a_row_a_line() -> None:
    lines = list(align(RESULT))
    assert len(lines) == 3
    assert [line[line.index("calls") :][:5] for line in lines[:1]] == ["calls"]
    assert lines[1][lines[0].index("calls") :][:5] == "    3"
    assert lines[2][lines[0].index("calls") :][:5] == " 1000"


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert visible("a\x1b[31mb\r\nc\u202e") == "a\\x1b[31mb\\x0d\\x0ac\\x202e"
    assert visible("Zürich ✓") == "Zürich ✓"


def test_csv_is_fit_for_terminals_and_spreadsheets_unless_it_is_asked_for_raw() -> None:
    result = Result(("user_id", "=n", "more"), [("=1+1", -5, ["=x"]), ("a\x1b[2J\u202e\nb", 2, {"k": "\x9b"})])
    assert csv_text(result) == (
        'user_id,\'=n,more\n\'=1+1,-5,"[""=x""]"\n"a\\x1b[2J\\x202e\nb",2,"{""k"": ""\\x9b""}"\n'
    )
    raw = csv_text(result, raw=True)
    assert "a\x1b[2J\u202e\nb" in raw


@pytest.mark.parametrize("command", [["query", "SELECT 1"], ["tail"], ["trace", "1" * 32], ["query", "totals"]])
def test_a_server_that_is_away_is_one_sentence_with_its_place_and_the_reason(
    command: list[str], tmp_path: Path
) -> None:
    port = free_port()
    dsn = f"http://me:hunter2@127.0.0.1:{port}/db"
    settings = {
        "admin": {"endpoint": f"127.0.0.1:{free_port()}"},
        "exporter": {"sinks": [{"name": "s", "type": "clickhouse", "dsn": dsn}]},
    }
    (tmp_path / "weighbridge.yaml").write_text(yaml.safe_dump(settings))
    done = run_cli(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"Error: ClickHouse on 127.0.0.1:{port} does not answer: Connection refused\n"


# -- answers that could mislead ----------------------------------------------------------------------------------


def test_under_an_answer_stands_the_time_it_is_about_and_what_an_error_is() -> None:
    def said(name: str, *given: str) -> list[str]:
        return list(said_under(name, named(name, given, "trace", NOW), given))

    assert said("percentile") == ["from 2026-11-19 12:00 to 2026-11-20 12:00 UTC; percentile since=7d asks about more"]
    assert said("percentile", "since=2h") == ["from 2026-11-20 10:00 to 2026-11-20 12:00 UTC"]
    assert "401" in said("totals")[1]
    assert "server_errors" in said("totals")[1]
    assert "regular expression" in said("totals", "where=route~^/v1/.*$")[-1]
    assert not any("regular" in line for line in said("totals", "where=route~orders"))


def test_the_list_says_that_a_query_is_about_the_last_day() -> None:
    parameters = {name: text for name, text, _ in list_named().rows}
    assert "since=1d until=now" in parameters["totals"]
    assert "after=1m" in parameters["tail"]


@pytest.mark.parametrize("text", ["plan=pro,status=5xx", "user=4711, company=acme", "uri=/a,metadata.x=1"])
def test_two_conditions_in_one_are_not_taken_for_a_value(text: str) -> None:
    with pytest.raises(CommandError, match="a comma does not separate conditions"):
        parse_where(text)


def test_a_comma_in_a_value_is_a_comma() -> None:
    assert parse_where("company=Acme, Inc.") == [Condition("company_id", "=", "Acme, Inc.")]
    assert parse_where("uri=/a,b=1") == [Condition("uri", "=", "/a,b=1")]


def test_an_old_event_is_printed_with_its_date_and_a_moved_one_says_so() -> None:
    row: dict[str, Any] = dict.fromkeys(Seen._fields, "")
    row |= {"event_time": datetime(2026, 11, 1, 8, tzinfo=UTC), "status_code": 200, "duration_ms": None, "weight": 1}
    row |= {"event_type": "api_call", "flags": ["event_time_clamped"]}
    old = tail_line(seen(row)).plain
    assert old.startswith("2026-11-01 08:00:00.000  ")
    assert "its own time is beyond the retention" in old
    fresh = tail_line(seen({**row, "event_time": datetime.now(UTC), "flags": []})).plain
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3}  ", fresh)
    assert "retention" not in fresh


def test_endpoints_are_told_apart_by_their_method() -> None:
    for ask in (queries.totals, queries.percentile):
        assert "concat(method, ' ', endpoint)" in ask(NOW - timedelta(days=1), NOW, by="endpoint").sql
