"""Moesif's remote sampling configuration as rules: the vectors, and what the SDKs get wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from mapping.sampling.moesif import ConfigError, RemoteConfig, parse_config, remote_plan
from mapping.sampling.refresh import Refresh
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from project_files import TESTDATA

VECTORS = json.loads((TESTDATA / "sampling-vectors.json").read_text(encoding="utf-8"))
PRECEDENCES = ["regex-user-company", "user-company", "min", "regexmin-company-user"]
OURS = {
    "request.verb": "method",
    "request.route": "url.path",
    "request.ip_address": "ip_address",
    "response.status": "status",
    "user_id": "user",
    "company_id": "company",
}


def nothing(path: str) -> object:
    return None


def settings(precedence: str = "regex-user-company", **more: Any) -> SamplingSettings:
    place = more.pop("place", "before-rules")
    return SamplingSettings.model_validate({"moesif_remote": {"precedence": precedence, "place": place}, **more})


def config(**document: object) -> RemoteConfig:
    return parse_config(json.dumps(document).encode())


def chosen(remote: RemoteConfig, event: Mapping[str, object], **more: Any) -> tuple[float, str]:
    facts = {OURS.get(path, path): value for path, value in event.items()}
    rate = remote_plan(settings(**more), remote, '"e1"').choose(facts.get).rate
    return float(rate.probability * 100), rate.rule.removeprefix("moesif:")


@pytest.mark.parametrize("precedence", PRECEDENCES)
@pytest.mark.parametrize("vector", VECTORS["moesif"], ids=lambda v: v["note"])
def test_vector(vector: Mapping[str, Any], precedence: str) -> None:
    remote = parse_config(json.dumps(VECTORS["moesif_config"]).encode())
    assert chosen(remote, vector["event"], precedence=precedence) == tuple(vector["expect"][precedence])


def test_unusable_parts_are_skipped_and_named() -> None:
    remote = parse_config(json.dumps(VECTORS["moesif_config"]).encode())
    assert [w.split(":")[0] for w in remote.warnings] == ["regex_config[5]", "regex_config[6]"]


def test_what_is_skipped_is_named_in_short() -> None:
    remote = config(sample_rate=["x" * 1_000_000], user_sample_rate={"u" * 1_000_000: "y" * 1_000_000})
    assert [len(warning) < 250 for warning in remote.warnings] == [True, True]


def test_a_path_that_is_absent_does_not_match() -> None:
    """moesifapi-python raises KeyError here and keeps everything; moesif-dotnet takes it for a match."""
    remote = config(
        sample_rate=7, regex_config=[{"conditions": [{"path": "request.body.x", "value": ""}], "sample_rate": 1}]
    )
    assert chosen(remote, {"request.verb": "GET"}) == (7, "global")


def test_the_empty_path_of_a_url_reads_as_a_slash() -> None:
    remote = config(regex_config=[{"conditions": [{"path": "request.route", "value": "^/$"}], "sample_rate": 3}])
    assert chosen(remote, {"request.route": ""}) == (3, "regex[0]")


def test_rates_are_clamped_and_what_is_no_number_is_ignored() -> None:
    remote = config(
        sample_rate="50", user_sample_rate={"a": 250, "b": -3, "c": True, "d": None, "e": 1e-9}, company_sample_rate=[1]
    )
    assert remote.everything is None
    assert {user: float(p) for user, p in remote.users.items()} == {"a": 1.0, "b": 0.0, "e": pytest.approx(2**-30)}
    assert len(remote.warnings) == 4


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"<html>", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_configuration_is_refused(body: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_config(body)


LOCAL = [{"name": "errors", "when": [{"path": "status", "op": "gte", "value": 500}], "rate": 100}]


def test_remote_rules_come_before_or_after_the_local_ones() -> None:
    remote = config(user_sample_rate={"u": 5})
    event = {"response.status": 500, "user_id": "u"}
    assert chosen(remote, event, rules=LOCAL) == (5, "user")
    assert chosen(remote, event, rules=LOCAL, place="after-rules") == (100, "errors")


def test_the_global_rate_replaces_the_implicit_last_rule_only() -> None:
    remote = config(sample_rate=5)
    assert chosen(remote, {}, rate="50") == (5, "global")
    assert chosen(remote, {}, rules=[{"name": "base", "rate": 50}]) == (50, "base")
    assert chosen(config(), {}, rate="50") == (50, "default")


def test_a_configuration_takes_effect_at_the_next_tick_and_is_named_on_every_event() -> None:
    sampler = Sampler(settings())
    trace_id = b"\xff" * 16
    before = sampler.span(trace_id, "", nothing)
    sampler.use_remote(config(sample_rate=50), '"e1"')
    assert sampler.span(trace_id, "", nothing) == before
    sampler.tick(1_000_000_000)
    after = sampler.span(trace_id, "", nothing)
    assert (after.rule, after.weight) == ("moesif:global", 2)
    assert after.config.endswith('+"e1"')
    assert sampler.early
    sampler.use_remote(config(user_sample_rate={"u": 1}), '"e2"')
    sampler.tick(2_000_000_000)
    assert not sampler.early


def refresh(jitter: float = 0.0) -> Refresh:
    return Refresh(poll_s=300.0, jitter=jitter)


def test_the_first_fetch_is_due_at_once_and_the_next_after_the_poll_interval() -> None:
    r = refresh()
    assert r.due_s() < 0
    r.started(1000.0)
    r.succeeded("a")
    assert r.due_s() == 1300.0
    assert refresh(jitter=0.5).due_s() < 0


def test_an_unknown_etag_makes_a_fetch_due_after_a_minute() -> None:
    r = refresh()
    r.started(1000.0)
    r.succeeded("a")
    r.seen("a")
    r.seen("")
    assert r.due_s() == 1300.0
    r.seen("b")
    assert r.due_s() == 1060.0


def test_a_node_that_lags_behind_causes_no_fetch() -> None:
    r = refresh()
    r.started(0.0)
    r.succeeded("a")
    r.started(100.0)
    r.succeeded("b")
    r.seen("a")
    r.seen("b")
    assert r.due_s() == 400.0


def test_failures_wait_longer_each_time_but_not_beyond_the_poll_interval() -> None:
    r = refresh()
    waits = []
    for _ in range(5):
        r.started(0.0)
        r.failed()
        waits.append(r.due_s())
    assert waits == [60.0, 120.0, 240.0, 300.0, 300.0]
    r.succeeded("a")
    assert r.due_s() == 300.0
    assert r.current == "a"
