"""Pseudonyms on a running bridge: the store has no ids, the table has them, and a reveal is written down first."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path

from bridge import BridgeProcess, eventually
from mapping.pseudonyms import Pseudonyms
from otlp_requests import span, traces

KEY = "a key of more than sixteen characters"


def test_ids_are_revealed_only_by_the_table_and_never_unseen(tmp_path: Path) -> None:
    table = tmp_path / "secret" / "pseudonyms.sqlite"
    bridge = BridgeProcess(tmp_path, mapping={"pseudonyms": {"key": KEY, "table": str(table)}})
    bridge.start()
    spans = [
        span(
            {"http.request.method": "GET", "url.path": f"/users/{user}", "user.id": user, "company.id": "acme"},
            number=secrets.randbits(63),
            trace_id=secrets.token_bytes(16),
            end_unix_ns=time.time_ns(),
        )
        for user in ("4711", "4712")
    ]
    assert bridge.post("/v1/traces", traces(*spans).SerializeToString())[0] == 200
    rows = eventually(
        lambda: bridge.query("SELECT user_id, company_id, uri FROM api_events ORDER BY user_id"), "stored"
    )
    first, second = sorted(Pseudonyms(KEY).of("user", "", user) for user in ("4711", "4712"))
    assert [row["user_id"] for row in rows] == [first, second]
    assert all("471" not in row["uri"] for row in rows)
    assert {row["company_id"] for row in rows} == {Pseudonyms(KEY).of("company", "", "acme")}
    assert table.stat().st_mode & 0o077 == 0
    shown = bridge.command("check").stdout
    assert KEY not in shown

    mine = Pseudonyms(KEY).of("user", "", "4711")
    said = bridge.command("reveal", mine, "--reason", "ticket 12")
    assert said.stdout == f"{mine}  user 4711\n"
    unknown = bridge.command("reveal", "usr_nobody", "--reason", "curious", check=False)
    assert (unknown.returncode, "not in the table" in unknown.stderr) == (1, True)
    notes = [
        json.loads(line) for line in (tmp_path / "secret" / "pseudonyms.sqlite.reveals.jsonl").read_text().splitlines()
    ]
    assert [(note["pseudonyms"], note["reason"]) for note in notes] == [
        ([mine], "ticket 12"),
        (["usr_nobody"], "curious"),
    ]
    assert bridge.command("reveal", mine, "--reason", " ", check=False).returncode == 2

    receipt = json.loads(bridge.command("erase", "--user", "4711", "--format", "json").stdout)
    assert sum(one["number"] for one in receipt["found"] if "api_events" in one["place"]) == 1
    assert bridge.command("reveal", mine, "--reason", "after", check=False).returncode == 1
    assert len(bridge.query("SELECT user_id FROM api_events")) == 1
    assert bridge.stop() == 0
