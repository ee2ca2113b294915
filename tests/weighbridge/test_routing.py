"""Sinks that get some of the events: by `when`, and by group exactly one; the ledger adds up for each of them."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import Any

import pytest

from bridge import BridgeProcess, eventually
from events import event
from exporter.settings import WhenSettings
from mapping.sampling.rules import RuleError
from otlp_requests import log, logs, span, traces
from weighbridge.routing import compile_route
from weighbridge.settings import SettingsError, load_settings

EU = [{"path": "region", "op": "eq", "value": "eu"}]
US = [{"path": "region", "op": "prefix", "value": "us"}]


def test_a_group_gives_each_event_to_the_first_that_takes_it() -> None:
    eu, us = (tuple(WhenSettings.model_validate(when) for when in conditions) for conditions in (EU, US))
    routes = [compile_route((eu,)), compile_route((eu, us)), compile_route((eu, us, ()))]
    for region, takes in {"eu": 0, "us-east": 1, "us": 1, "ap": 2, "": 2}.items():
        assert [bool(route and route(event(region=region))) for route in routes] == [
            place == takes for place in range(3)
        ]
    assert compile_route(((),)) is None


@pytest.mark.parametrize(
    ("condition", "fields", "other"),
    [
        ({"path": "tenant", "op": "in", "value": ["a", "b"]}, {"tenant": "b"}, {"tenant": "c"}),
        ({"path": "plan", "op": "eq", "value": "pro"}, {"plan_id": "pro"}, {"plan_id": ""}),
        ({"path": "company", "op": "regex", "value": "^ac"}, {"company_id": "acme"}, {"company_id": "globex"}),
        ({"path": "status", "op": "gte", "value": 500}, {"status": 503}, {"status": 0}),
        ({"path": "user", "op": "exists", "value": False}, {"user_id": ""}, {"user_id": "4711"}),
        (
            {"path": "resource.cloud.account.id", "op": "eq", "value": 12},
            {"resource": '{"resource":{"cloud.account.id":12},"scope":{}}'},
            {"resource": "{"},
        ),
    ],
)
def test_conditions_are_those_of_sampling_rules(
    condition: dict[str, Any], fields: dict[str, Any], other: dict[str, Any]
) -> None:
    takes = compile_route(((WhenSettings.model_validate(condition),),))
    assert takes is not None
    assert (takes(event(**fields)), takes(event(**other))) == (True, False)


@pytest.mark.parametrize(
    ("sinks", "said"),
    [
        ([{"when": EU, "group": "g"}], "must have no `when`"),
        ([{"group": "g"}, {"group": "g"}], "takes all"),
        ([{"when": [{"path": "galaxy", "op": "eq", "value": 1}]}], "unknown path 'galaxy'"),
        ([{"when": [{"path": "region", "op": "regex", "value": "("}]}], "bad pattern"),
        ([{"type": "otlphttp", "endpoint": "http://h:1", "when": EU}], "passes whole requests on"),
    ],
)
def test_routes_that_would_lose_events_are_refused(tmp_path: Path, sinks: list[dict[str, Any]], said: str) -> None:
    named = [
        {
            "name": f"s{place}",
            "type": "jsonlines",
            **({"path": f"{tmp_path}/{place}"} if "type" not in sink else {}),
            **sink,
        }
        for place, sink in enumerate(sinks)
    ]
    path = tmp_path / "weighbridge.yaml"
    path.write_text(json.dumps({"exporter": {"sinks": named}}))
    with pytest.raises(SettingsError, match=said.replace("(", r"\(")):
        load_settings(str(path))


def test_an_odd_condition_is_refused_by_name() -> None:
    with pytest.raises(RuleError, match="unknown path"):
        compile_route(((WhenSettings(path="attr.x", op="eq", value="y"),),))


def requests(region: str, calls: int) -> list[bytes]:
    """A request of spans and one of logs from there."""
    resource = {"service.name": "shop", "cloud.region": region}
    spans = [
        span(
            {"http.request.method": "GET", "url.path": "/x"},
            number=secrets.randbits(63),
            trace_id=secrets.token_bytes(16),
            end_unix_ns=time.time_ns(),
        )
        for _ in range(calls)
    ]
    return [
        traces(*spans, resource=resource).SerializeToString(),
        logs(log(f"hello {secrets.token_hex(4)}"), resource=resource).SerializeToString(),
    ]


def test_a_bridge_keeps_regions_apart_over_restarts_and_reloads(tmp_path: Path) -> None:
    def sinks(*, us: bool) -> list[dict[str, Any]]:
        return [
            {"name": "eu", "type": "jsonlines", "path": f"{tmp_path}/eu.jsonl", "group": "residency", "when": EU},
            *(
                [{"name": "us", "type": "jsonlines", "path": f"{tmp_path}/us.jsonl", "group": "residency", "when": US}]
                if us
                else []
            ),
            {"name": "rest", "type": "jsonlines", "path": f"{tmp_path}/rest.jsonl", "group": "residency"},
            {"name": "all", "type": "jsonlines", "path": f"{tmp_path}/all.jsonl"},
        ]

    batch = {"max_age_s": 0.2}
    bridge = BridgeProcess(tmp_path, exporter={"sinks": sinks(us=False), "batch": batch})
    bridge.start()

    def send(region: str, calls: int) -> None:
        for path, body in zip(("/v1/traces", "/v1/logs"), requests(region, calls), strict=True):
            assert bridge.post(path, body)[0] == 200

    def regions(name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        file = tmp_path / f"{name}.jsonl"
        for line in file.read_text().rpartition("\n")[0].splitlines() if file.exists() else []:
            region = json.loads(line)["metadata"]["resource"]["cloud"]["region"]
            found[region] = found.get(region, 0) + 1
        return found

    for region, calls in (("eu", 3), ("us-east", 2), ("ap", 1)):
        send(region, calls)
    eventually(lambda: regions("all") == {"eu": 4, "us-east": 3, "ap": 2}, "the sink without conditions has all")
    eventually(lambda: regions("rest") == {"us-east": 3, "ap": 2}, "the rest")
    eventually(lambda: regions("eu") == {"eu": 4}, "its own")
    bridge.kill()
    bridge.configure(exporter={"sinks": sinks(us=True), "batch": batch})
    bridge.start()
    for region, calls in (("eu", 1), ("us-east", 1), ("ap", 1)):
        send(region, calls)
    eventually(lambda: regions("all") == {"eu": 6, "us-east": 5, "ap": 4}, "all again")
    eventually(lambda: regions("rest").get("ap") == 4, "the rest again")
    eventually(lambda: regions("us").get("us-east", 0) >= 2, "the new sink takes its own, of what the spool has, too")
    eventually(lambda: all(row["in_spool"] == 0 for row in bridge.ledger()["sinks"]), "every sink has got so far")
    assert regions("rest") == {"us-east": 3, "ap": 4}
    assert regions("eu") == {"eu": 6}
    ledger = bridge.ledger()
    assert not any(ledger["residue"].values())
    # What a batch under way at the kill has no more by the new routes is `failed` for it.
    rows = {row["sink"]: (row["delivered"] + row["failed"], row["routed"], row["received"]) for row in ledger["sinks"]}
    us = rows.pop("us")
    assert rows == {"eu": (6, 9, 15), "rest": (7, 8, 15), "all": (15, 0, 15)}
    assert us[0] + us[1] == us[2]
    assert us[0] == regions("us")["us-east"]
    assert "routed" in bridge.command("ledger").stdout
    bridge.configure(exporter={"sinks": [{**sink, "when": []} for sink in sinks(us=True)], "batch": batch})
    bridge.reload()
    eventually(lambda: "takes all" in bridge.log.read_text(), "settings that would lose events are refused")
    assert bridge.stop() == 0
