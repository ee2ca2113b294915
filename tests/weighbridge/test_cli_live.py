"""The commands that ask a running bridge, on the traffic of the demo shop; then the same commands without a bridge."""

from __future__ import annotations

import csv
import io
import json
import queue
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from bridge import COMMAND, BridgeProcess, eventually
from cli_process import run_cli
from project_files import ROOT

REQUESTS = 40


@pytest.fixture(scope="module")
def demo(bridge: BridgeProcess) -> str:
    """What the demo said when it had sent its traffic to the bridge."""
    return bridge.command("demo", "--requests", str(REQUESTS)).stdout


def first_trace(bridge: BridgeProcess, where: str) -> str:
    row = bridge.query(f"SELECT trace_id FROM api_events WHERE {where} ORDER BY event_time LIMIT 1")
    trace_id: str = row[0]["trace_id"]
    return trace_id


def test_the_demo_says_what_it_did_and_what_to_try_next(bridge: BridgeProcess, demo: str) -> None:
    """Every command it prints works as printed."""
    assert f"{REQUESTS} calls by customers: " in demo
    stored = re.search(r"In the store: (\d+) API calls, (\d+) actions, (\d+) log events", demo)
    assert stored
    assert int(stored[1]) >= REQUESTS
    suggested = re.findall(r"^  \S*weighbridge (.*)$", demo, re.MULTILINE)
    assert [command.split(" ")[0] for command in suggested] == ["trace", "tail", "query"]
    for command in suggested:
        name, _, rest = command.partition(" ")
        arguments = [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', rest)]
        assert len(bridge.command(name, *arguments).stdout.splitlines()) > 1


def test_every_call_is_counted_once_although_its_access_log_tells_of_it_too(bridge: BridgeProcess, demo: str) -> None:
    (row,) = bridge.query(
        "SELECT count() AS calls, uniqExact(span_id) AS spans, countIf(source = 'log') AS from_logs FROM api_events "
        "WHERE event_type = 'api_call' AND direction = 'incoming' AND service = 'storefront'"
    )
    assert row == {"calls": REQUESTS, "spans": REQUESTS, "from_logs": 0}


def test_customers_are_known_also_by_an_expired_token(bridge: BridgeProcess, demo: str) -> None:
    rows = bridge.query("SELECT DISTINCT user_id, company_id, plan FROM api_events WHERE status_code = 401")
    assert rows == [{"user_id": "1999", "company_id": "hooli", "plan": "pro"}]


def test_no_token_and_no_card_number_is_stored(bridge: BridgeProcess, demo: str) -> None:
    """On real traffic (spec/design.md §3 P5): JWTs begin with eyJ, and the good card is 4242424242424242."""
    text = json.dumps(bridge.query("SELECT * FROM api_events"))
    assert "api_call" in text
    assert "eyJ" not in text
    assert "4242424242424242" not in text


# What the bridge is made of, and no question needs: together they take longer to load than most answers.
HEAVY = {"aiohttp", "cel", "confluent_kafka", "google", "mcp", "re2", "rich", "weighbridge.settings", "mapping.otlp"}
LOADED = "import sys; from weighbridge.cli import main; main(sys.argv[1:], standalone_mode=False); print(*sys.modules)"


@pytest.mark.parametrize("command", ["query", "trace", "ledger"])
def test_a_command_that_asks_loads_no_bridge(bridge: BridgeProcess, demo: str, command: str) -> None:
    arguments = {"query": ["totals"], "trace": [first_trace(bridge, "trace_id != ''")], "ledger": []}[command]
    done = subprocess.run(
        [*COMMAND[:-2], "-c", LOADED, command, "--config", str(bridge.config), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=bridge.directory,
        check=True,
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "exporter.clickhouse.reader" in loaded
    assert not loaded & (HEAVY - ({"rich"} if command == "trace" else set()))


def test_a_trace_is_a_tree_over_both_services_with_their_logs(bridge: BridgeProcess, demo: str) -> None:
    trace_id = first_trace(bridge, "status_code = 402 AND service = 'payments'")
    title, *lines = bridge.command("trace", trace_id.upper()).stdout.splitlines()
    assert trace_id in title
    place = {text: next(number for number, line in enumerate(lines) if text in line) for text in (
        "storefront  POST /v1/orders  402 quota", "reserve stock", "UPDATE stock", "/v1/charges  402",
        "payments  POST /v1/charges  402 quota", "asking the bank", "card declined",
    )}  # fmt: skip
    assert list(place.values()) == sorted(place.values())
    depth = {text: re.split(r"\w|→", lines[number])[0] for text, number in place.items()}
    assert len(depth["UPDATE stock"]) > len(depth["reserve stock"])
    assert len(depth["reserve stock"]) > len(depth["storefront  POST /v1/orders  402 quota"])
    assert len(depth["card declined"]) < len(depth["payments  POST /v1/charges  402 quota"])
    assert "user 5005  company umbrella  ×1" in lines[0]


def test_a_trace_that_is_not_stored_says_so(bridge: BridgeProcess, demo: str) -> None:
    done = bridge.command("trace", "f" * 32, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing is stored of trace" in done.stderr


def test_tail_prints_the_newest_events_that_match_oldest_first(bridge: BridgeProcess, demo: str) -> None:
    lines = bridge.command("tail", "--where", "user=4711", "--where", "status=5xx", "--limit", "2").stdout.splitlines()
    assert 1 <= len(lines) <= 2
    for line in lines:
        assert re.match(
            r"\d\d:\d\d:\d\d\.\d{3}  storefront   POST /v1/orders  500 server  .*  user 4711  company acme  ×1", line
        )


def test_tail_follows_new_events_and_shows_each_once(bridge: BridgeProcess, demo: str) -> None:
    (before,) = bridge.query("SELECT count() AS n FROM api_events WHERE status_code = 429")
    command = [*COMMAND, "tail", "--config", str(bridge.config), "--follow", "--where", "status=429"]
    following = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=bridge.directory)
    lines: queue.Queue[str] = queue.Queue()
    assert following.stdout is not None
    reader = threading.Thread(target=_drain, args=(following.stdout, lines))
    reader.start()
    try:
        eventually(lambda: lines.qsize() >= before["n"], "the events that are there")
        bridge.command("demo", "--requests", str(REQUESTS))
        (after,) = bridge.query("SELECT count() AS n FROM api_events WHERE status_code = 429")
        assert after["n"] > before["n"]
        eventually(lambda: lines.qsize() >= after["n"], "the new events")
        time.sleep(2.5)  # two more looks at the store
    finally:
        following.terminate()
        following.wait(60)
        reader.join()
        following.stdout.close()
    shown = [lines.get() for _ in range(lines.qsize())]
    assert len(shown) == len(set(shown)) == after["n"]


def test_tail_goes_on_following_after_the_bridge_was_killed_and_started_again(own_bridge: BridgeProcess) -> None:
    own_bridge.start()
    own_bridge.command("demo", "--requests", "14")
    command = [*COMMAND, "tail", "--config", str(own_bridge.config), "--follow", "--where", "status=402"]
    following = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=own_bridge.directory)
    lines: queue.Queue[str] = queue.Queue()
    assert following.stdout is not None
    reader = threading.Thread(target=_drain, args=(following.stdout, lines))
    reader.start()
    try:
        declined = 3  # the incoming call, the call to payments, and the call there
        eventually(lambda: lines.qsize() >= declined, "the events that are there")
        own_bridge.kill()
        own_bridge.start()
        own_bridge.command("demo", "--requests", "14")
        eventually(lambda: lines.qsize() >= 2 * declined, "the events of the second life")
    finally:
        following.terminate()
        following.wait(60)
        reader.join()
        following.stdout.close()
    shown = [lines.get() for _ in range(lines.qsize())]
    assert len(shown) == len(set(shown)) == 2 * declined


def test_query_answers_in_three_forms(bridge: BridgeProcess, demo: str) -> None:
    sql = "SELECT status_code, count() AS calls FROM api_events WHERE event_type = 'api_call' GROUP BY 1 ORDER BY 1"
    as_json: list[dict[str, Any]] = bridge.query(sql)
    as_csv = list(csv.DictReader(io.StringIO(bridge.command("query", sql, "--format", "csv").stdout)))
    as_table = [line.split() for line in bridge.command("query", sql).stdout.splitlines()]
    assert [{name: int(value) for name, value in row.items()} for row in as_csv] == as_json
    assert as_table == [["status_code", "calls"], *([str(v) for v in row.values()] for row in as_json)]


def test_queries_by_name_count_what_sql_counts(bridge: BridgeProcess, demo: str) -> None:
    def asked(*question: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(bridge.command("query", *question, "--format", "json").stdout)
        return rows

    calls = "event_type = 'api_call' AND direction = 'incoming'"
    [row] = bridge.query(f"SELECT sum(weight) AS calls, max(duration_ms) AS longest FROM api_events WHERE {calls}")
    [total] = asked("totals", "since=1h", "hops=all")
    assert total["calls"] == row["calls"]
    [front] = bridge.query(f"SELECT sum(weight) AS calls FROM api_events WHERE {calls} AND service = 'storefront'")
    assert [total["calls"] for total in asked("totals", "since=1h")] == [front["calls"]]
    assert bridge.command("query", "totals", "since=1h").stderr.startswith("exact: "), "nothing is sampled"
    [p] = asked("percentile", "q=0.999999", "since=1h", "where=type=api_call", "hops=all")
    assert p["percentile_ms"] == pytest.approx(row["longest"], abs=0.001)
    declined = asked("failing_customers", "status=402")
    assert declined == asked("failing_customers", "status=402", "since=2h")


ASKING = (ROOT / "docs/asking.md").read_text()


@pytest.mark.parametrize("number", range(len(re.findall(r"^```sql", ASKING, re.MULTILINE))))
def test_every_documented_question_has_an_answer(bridge: BridgeProcess, demo: str, number: int) -> None:
    sql = re.findall(r"^```sql\n(.*?)^```", ASKING, re.MULTILINE | re.DOTALL)[number]
    assert bridge.query(sql)


def test_the_question_of_the_readme_has_an_answer(bridge: BridgeProcess, demo: str) -> None:
    readme = (ROOT / "README.md").read_text()
    (sql,) = re.findall(r'weighbridge query "(.*?)"', readme, re.DOTALL)
    assert bridge.query(sql)


@pytest.mark.parametrize(
    ("table", "begin", "end", "least"),
    [("api_events", "## Columns", "### Calls by minute", 40), ("api_minutes", "### Calls by minute", "### Exact", 20)],
)
def test_every_documented_column_exists(
    bridge: BridgeProcess, demo: str, table: str, begin: str, end: str, least: int
) -> None:
    lines = ASKING[ASKING.index(begin) : ASKING.index(end)].splitlines()
    cells = [line.split("|")[1] for line in lines if line.startswith("| `")]
    documented = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert len(documented) >= least
    assert documented <= {row["name"] for row in bridge.query(f"DESCRIBE {table}")}


@pytest.mark.parametrize(
    "sql", ["SELECT * FROM file('/etc/passwd')", "DROP TABLE api_events", "SELEC", "SELECT nothing FROM api_events"]
)
def test_a_question_that_is_refused_ends_with_one_line(bridge: BridgeProcess, demo: str, sql: str) -> None:
    done = bridge.command("query", sql, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "root:" not in done.stderr


def test_the_ledger_adds_up(bridge: BridgeProcess, demo: str) -> None:
    ledger = json.loads(bridge.command("ledger", "--format", "json").stdout)
    assert not any(ledger["residue"].values())
    (row,) = ledger["sinks"]
    (stored,) = bridge.query("SELECT count() AS n FROM api_events")
    assert row["received"] == sum(
        value for name, value in row.items() if name not in {"sink", "tenant", "received", "catching_up"}
    )
    assert row["delivered"] == stored["n"]
    assert row["deduplicated"] > 0  # the access logs
    assert bridge.command("deadletter", "list").stdout == ""


def test_the_demo_against_another_address_says_how_to_start_a_bridge(bridge: BridgeProcess) -> None:
    done = bridge.command("demo", "--endpoint", "http://127.0.0.1:1", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "make run" in done.stderr
    assert bridge.command("demo", "--endpoint", "bridge", check=False).returncode == 2


@pytest.mark.parametrize("shared", ["port", "spool"])
def test_a_second_bridge_in_the_same_place_says_so_in_one_line(
    bridge: BridgeProcess, tmp_path: Path, shared: str
) -> None:
    place = {
        "port": f"receiver: {{endpoint: 127.0.0.1:{bridge.port}}}\nspool: {{directory: spool}}\n",
        "spool": f"receiver: {{endpoint: 127.0.0.1:0}}\nspool: {{directory: {bridge.directory}/spool}}\n",
    }
    last = refusal_to_start(tmp_path, place[shared])
    names = {"port": f"receiver.endpoint 127.0.0.1:{bridge.port}: ", "spool": "spool.directory: "}
    assert last.startswith(f"Error: cannot start: {names[shared]}")
    assert "already" in last if shared == "port" else str(bridge.pid) in last


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("receiver: {auth: {keys_file: keys}}", "receiver: keys file, line 1: not tenant:key"),
        ("receiver: {auth: {keys_file: none}}", "receiver: none: No such file or directory"),
        ("receiver: {tls: {certificate_file: keys, private_key_file: keys}}", "receiver: keys and keys are not a PEM"),
        ("receiver: {endpoint: '192.0.2.1:4318'}", "receiver.endpoint 192.0.2.1:4318: Cannot assign requested address"),
        ("spool: {directory: keys}", "spool.directory: cannot open "),
    ],
)
def test_what_keeps_the_bridge_from_starting_is_one_line_that_names_the_setting(
    tmp_path: Path, settings: str, says: str
) -> None:
    (tmp_path / "keys").write_text("a secret without its tenant")
    last = refusal_to_start(tmp_path, settings)
    assert last.startswith(f"Error: cannot start: {says}")
    assert "secret" not in last


def refusal_to_start(directory: Path, settings: str) -> str:
    """The last line of a bridge with these settings, which must not start."""
    given = yaml.safe_load(settings)
    given["receiver"] = {"endpoint": "127.0.0.1:0"} | given.get("receiver", {})
    defaults = {"admin": {"endpoint": "127.0.0.1:0"}, "exporter": {"sinks": [{"name": "none", "type": "blackhole"}]}}
    (directory / "weighbridge.yaml").write_text(yaml.safe_dump(defaults | given))
    done = run_cli("serve", cwd=directory)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_the_demo_is_told_when_the_bridge_asks_for_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = BridgeProcess(tmp_path, receiver={"tenants": {"shop": {"keys": ["open-sesame"]}}})
    guarded.start()
    try:
        refused = guarded.command("demo", "--requests", "14", check=False)
        assert refused.returncode == 1
        (line,) = refused.stderr.splitlines()
        assert "OTEL_EXPORTER_OTLP_HEADERS" in line
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "X-Moesif-Application-Id=open-sesame")
        guarded.command("demo", "--requests", "14")
        assert guarded.query("SELECT DISTINCT tenant FROM api_events") == [{"tenant": "shop"}]
    finally:
        guarded.stop()


def test_the_demo_sends_to_a_bridge_whose_destinations_cannot_be_asked(tmp_path: Path) -> None:
    bridge = BridgeProcess(tmp_path, exporter={"sinks": [{"name": "nowhere", "type": "blackhole"}]})
    bridge.start()
    try:
        assert "No store to look at" in bridge.command("demo", "--requests", "14").stdout
        (row,) = json.loads(bridge.command("ledger", "--format", "json").stdout)["sinks"]
        assert row["received"] > 14
        done = bridge.command("query", "SELECT 1", check=False)
        assert done.returncode == 2
        assert "the settings have: blackhole" in done.stderr
    finally:
        bridge.stop()


def test_a_store_named_by_a_relative_path_is_found_from_any_directory(tmp_path: Path) -> None:
    store = {"name": "store", "type": "clickhouse", "dsn": "chdb://data/store"}
    bridge = BridgeProcess(tmp_path, exporter={"sinks": [store]})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bridge.start()
    try:
        bridge.command("demo", "--requests", "14")
        done = run_cli("tail", "--limit", "3", "--config", str(bridge.config), cwd=elsewhere)
        assert len(done.stdout.splitlines()) == 3
    finally:
        bridge.stop()


def test_without_a_bridge_the_store_answers_and_the_rest_says_how_to_start_one(own_bridge: BridgeProcess) -> None:
    own_bridge.start()
    own_bridge.command("demo", "--requests", "14")
    assert own_bridge.stop() == 0
    (row,) = own_bridge.query("SELECT count() AS events FROM api_events")
    assert row["events"] > 14
    assert len(own_bridge.command("tail", "--limit", "5").stdout.splitlines()) == 5
    for command in (["tail", "--follow"], ["ledger"], ["demo"]):
        done = own_bridge.command(*command, check=False)
        assert (done.returncode, done.stdout) == (2, ""), command
        assert "make run" in done.stderr


def test_asking_before_there_is_a_store_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "weighbridge.yaml").write_text(
        "exporter: {sinks: [{name: store, type: clickhouse, dsn: 'chdb://nowhere/store'}]}\n"
        "admin: {endpoint: 127.0.0.1:1}\n"
    )
    for command in (["query", "SELECT 1"], ["tail"], ["trace", "f" * 32]):
        done = run_cli(*command, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "there is no store in" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def _drain(pipe: IO[str], lines: queue.Queue[str]) -> None:
    for line in pipe:
        lines.put(line)
