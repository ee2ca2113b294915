"""Who may look: the token's file, sessions, tries, and what every answer of the console carries."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import ValidationError

from bridge import BridgeProcess
from console_client import ACME_TOKEN, READ_TOKEN, TOKENS, ConsoleClient, own_token
from weighbridge.admin.server import AdminSettings
from weighbridge.admin.tokens import TokenSettings
from weighbridge.console.access import SESSION_S, Access, Tries, token_of
from weighbridge.console.access_log import AccessLog


def test_the_token_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    token, made = token_of(tmp_path / "spool")
    assert made
    assert len(token) >= 40
    assert token_of(tmp_path / "spool") == (token, False)
    path = tmp_path / "spool" / "console.token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    token_of(tmp_path / "spool")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("")  # what a full disk left
    assert token_of(tmp_path / "spool")[1]


def test_a_session_ends_in_time_and_with_its_token() -> None:
    clock = [1_000_000.0]
    tokens = [TokenSettings.model_validate(one) for one in TOKENS]
    access = Access("own-token", tokens, lambda: clock[0])
    session = access.session(ACME_TOKEN)
    who = access.of_session(session)
    assert who is not None
    assert (who.name, who.scope.company, who.may_operate) == ("acme", "acme", False)
    assert Access("own-token", tokens, lambda: clock[0]).of_session(session) == who  # after a restart
    assert Access("own-token", tokens[1:], lambda: clock[0]).of_session(session) is None
    assert Access("another", tokens, lambda: clock[0]).of_session(session) is None
    clock[0] += SESSION_S + 1
    assert access.of_session(session) is None


@pytest.mark.parametrize("cookie", ["", ".", "..", "a.b.c", "a.9999999999.", "\udc80.1.x", "x" * 5000, "é.1.é"])
def test_what_is_no_session_is_nobody(cookie: str) -> None:
    access = Access("own-token")
    assert access.of_session(cookie) is None
    digest, ends, signature = access.session("own-token").split(".")
    assert access.of_session(f"{digest}.{int(ends) + 1}.{signature}") is None
    assert access.of_session(f"{'0' * 32}.{ends}.{signature}") is None
    assert access.of_session(f"{digest}.{ends}.{signature}") is not None


def test_tries_are_limited_by_address_and_forgotten() -> None:
    clock = [0.0]
    tries = Tries(lambda: clock[0])
    for _ in range(10):
        assert tries.wait_s("a") == 0
        tries.note("a")
    assert tries.wait_s("a") == 60
    assert tries.wait_s("b") == 0
    clock[0] = 61
    assert tries.wait_s("a") == 0
    for number in range(10_000):
        tries.note(f"address {number}")
    assert len(tries._wrong) <= 4096


@pytest.mark.parametrize(
    "changed",
    [
        {"token": "short"},
        {"role": "admin"},
        {"role": "operate", "company": "acme"},
        {"role": "operate", "tenant": ""},
        {"name": "<b>"},
        {"company": ""},
        {"scope": "x"},
    ],
)
def test_tokens_that_cannot_be_meant_are_refused(changed: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        TokenSettings.model_validate({**TOKENS[0], **changed})


def test_two_tokens_with_one_name_or_secret_are_refused() -> None:
    for changed in ({"name": "acme", "token": READ_TOKEN}, {"name": "other", "token": ACME_TOKEN}):
        with pytest.raises(ValidationError, match="two tokens have the same"):
            AdminSettings.model_validate({"tokens": [TOKENS[0], changed]})


def test_the_access_log_is_bounded_and_survives_a_full_disk(tmp_path: Path) -> None:
    access_log = AccessLog(tmp_path)
    for _ in range(5000):
        access_log.note("acme\n", "127.0.0.1", "GET", "/events?text=" + "x" * 5000, 200, 0.01)
    access_log.close()
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["console.access", "console.access.1"]
    assert all(path.stat().st_size <= 8 << 20 for path in files)
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    assert json.loads(files[0].read_text().splitlines()[0])["who"] == "acme\n"
    AccessLog(tmp_path / "nowhere").note("x", "", "GET", "/", 200, 0)  # one warning, no exception


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    """Without a store: who may look is told before anything is asked."""
    directory = tmp_path_factory.mktemp("bridge")
    sink = {"name": "file", "type": "jsonlines", "path": str(directory / "e.jsonl")}
    process = BridgeProcess(directory, exporter={"sinks": [sink]}, admin={"tokens": TOKENS})
    process.start()
    yield process
    process.stop()
    assert "Traceback" not in process.log.read_text()


def session_of(client: ConsoleClient, token: str) -> str:
    said = client.get(f"/login?token={quote(token)}", Accept="text/html")
    assert said.status == 200
    cookie = said.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert token not in cookie
    return cookie.partition(";")[0]


def test_probes_are_open_and_everything_else_is_not(bridge: BridgeProcess) -> None:
    client = ConsoleClient(bridge.admin)
    for path in ("/healthz", "/readyz", "/metrics", "/login"):
        assert client.get(path).status == 200
    for path in ("/", "/events", "/now.json", "/events.csv", f"/trace/{'a' * 32}", "/events/stream", "/nowhere"):
        said = client.get(path, Accept="text/html")
        assert said.status in (303, 401), path
        assert client.get(path).status == 401
        assert client.get(path, Authorization="Bearer wrong-token-0123").status == 401
        assert client.get(path, Cookie=f"weighbridge-{bridge.admin}=x.9999999999.y").status == 401
    assert client.get("/events?where=a%3Db", Accept="text/html").headers["location"] == (
        "/login?next=%2Fevents%3Fwhere%3Da%253Db"
    )


def test_the_link_makes_a_session_that_opens_pages(bridge: BridgeProcess) -> None:
    client = ConsoleClient(bridge.admin)
    link = bridge.command("console").stdout.strip()
    assert link.startswith(f"http://127.0.0.1:{bridge.admin}/login?token=")
    cookie = session_of(client, own_token(bridge))
    said = client.get("/", Cookie=cookie, Accept="text/html")
    assert said.status == 503  # there is no store to ask
    assert "no sink of type clickhouse" in said.text
    assert client.get("/logout", "POST", Cookie=cookie, Origin=f"http://127.0.0.1:{bridge.admin}").status == 200


@pytest.mark.parametrize(
    ("next", "where"),
    [
        ("/events?where=user%3D1", "/events?where=user=1"),
        ("https://attacker.example/", "/"),
        ("//attacker.example/", "/"),
        ("/\\attacker.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/logout", "/"),
        ("/a\n/b", "/"),
    ],
)
def test_signing_in_leads_nowhere_else(bridge: BridgeProcess, next: str, where: str) -> None:  # noqa: A002
    client = ConsoleClient(bridge.admin)
    said = client.get(f"/login?token={READ_TOKEN}&next={quote(next, safe='%')}", Accept="text/html")
    assert said.status == 200
    assert f'content="0;url={where}"' in said.text.replace("%3D", "=")


def test_every_answer_carries_what_browsers_obey(bridge: BridgeProcess) -> None:
    client = ConsoleClient(bridge.admin, READ_TOKEN)
    for path in ("/", "/login", "/events.json", "/static/console.css", "/static/console.js", "/nowhere", "/ledger"):
        headers = client.get(path, Accept="text/html").headers
        policy = headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert "immutable" in client.get("/static/console.css").headers["cache-control"]
    assert client.get("/static/..%2faccess.py").status == 404
    assert client.get("/events.json").headers["cache-control"] == "no-store"


def test_a_page_of_another_site_signs_nobody_in(bridge: BridgeProcess) -> None:
    client = ConsoleClient(bridge.admin)
    body = f"token={READ_TOKEN}".encode()
    form: dict[str, Any] = {"Content_Type": "application/x-www-form-urlencoded"}
    own: dict[str, Any] = {"Origin": f"http://127.0.0.1:{bridge.admin}"}
    assert client.get("/login", "POST", body, **form, Origin="https://attacker.example").status == 403
    assert client.get("/login", "POST", body, **form).status == 403
    assert client.get("/login", "POST", body, **form, **own).status == 200
    assert client.get("/login", "POST", b"token=wrong", **form, **own).status == 403
    assert client.get("/", Host="attacker.example").status == 421


def test_a_link_on_another_site_finds_the_session(bridge: BridgeProcess) -> None:
    """Its first request comes without the cookie; the page that answers asks again as this site's own."""
    said = ConsoleClient(bridge.admin).get("/events?where=user%3D1", Accept="text/html", Sec_Fetch_Site="cross-site")
    assert said.status == 200
    assert 'url=/events?where=user%3D1"' in said.text


def test_commands_ask_without_ceremony_here_and_with_a_token_from_elsewhere(bridge: BridgeProcess) -> None:
    client = ConsoleClient(bridge.admin)
    assert client.get("/ledger").status == 200
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):  # through a proxy on this machine
        sent: dict[str, Any] = {header.replace("-", "_"): "192.0.2.1"}
        said = client.get("/ledger", **sent)
        assert said.status == 401, header
    through: dict[str, Any] = {"X_Forwarded_For": "192.0.2.1"}
    assert client.get("/ledger", **through, Authorization=f"Bearer {READ_TOKEN}").status == 200
    assert client.get("/ledger", **through, Authorization=f"Bearer {ACME_TOKEN}").status == 403
    replay: dict[str, Any] = {"X_Weighbridge_Client": "1", **through}
    assert client.get("/deadletter/replay", "POST", **replay).status == 401
    assert client.get("/deadletter/replay", "POST", **replay, Authorization=f"Bearer {READ_TOKEN}").status == 403
    own = f"Bearer {own_token(bridge)}"
    assert client.get("/deadletter/replay", "POST", **replay, Authorization=own).status == 200


def test_it_is_written_down_who_read_what(bridge: BridgeProcess) -> None:
    ConsoleClient(bridge.admin, ACME_TOKEN).get("/events.json?where=user%3D17")
    ConsoleClient(bridge.admin).get(f"/login?token={READ_TOKEN}")
    text = Path(bridge.directory, "spool", "console.access").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    (line,) = (one for one in lines if "user%3D17" in one["path"])
    assert (line["who"], line["method"], line["from"]) == ("acme", "GET", "127.0.0.1")
    assert READ_TOKEN not in text
    assert own_token(bridge) not in text


def test_wrong_tokens_are_slowed_down(tmp_path: Path) -> None:
    """Last in the file's own bridge would lock out the others: a bridge of its own."""
    sink = {"name": "file", "type": "jsonlines", "path": str(tmp_path / "e.jsonl")}
    process = BridgeProcess(tmp_path, exporter={"sinks": [sink]})
    process.start()
    try:
        client = ConsoleClient(process.admin)
        said = [client.get("/login?token=wrong") for _ in range(11)]
        assert [one.status for one in said] == [403] * 10 + [429]
        assert 0 < int(said[-1].headers["retry-after"]) <= 60
        right = own_token(process)
        assert client.get(f"/login?token={right}").status == 429
        assert client.get("/now.json", Authorization=f"Bearer {right}").status == 429
    finally:
        process.stop()
