"""The exact vectors in testdata/sampling-vectors.json, made by an independent implementation in integers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import pytest

from mapping.event import Decision
from mapping.sampling.decide import Band, Rate, of_log, of_span
from mapping.sampling.randomness import record_bytes
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.thresholds import M, adjusted_count, probability_of, th_text, threshold
from mapping.sampling.tracestate import parse
from project_files import TESTDATA
from tracestate_out import log_fields, rewrite

VECTORS = json.loads((TESTDATA / "sampling-vectors.json").read_text(encoding="utf-8"))
CATEGORIES = sorted({vector["category"] for vector in VECTORS["decisions"]})


def settings_for(given: Mapping[str, Any]) -> SamplingSettings:
    return SamplingSettings(
        rate=given["rate"],
        precision=given.get("precision", 4),
        mode=given.get("mode", "equalizing"),
        legacy_pr=given.get("legacy", False),
        head_rate={"checkout": given["head_rate"]} if "head_rate" in given else {},
        on_inconsistent=given.get("on_inconsistent", "erase"),
        randomness=given.get("randomness", "auto"),
    )


def facts(path: str) -> object:
    return {"service": "checkout"}.get(path)


def trace_id_of(given: Mapping[str, Any]) -> bytes:
    return bytes.fromhex(given.get("trace_id", ""))


def record_of(given: Mapping[str, Any]) -> Callable[[], bytes]:
    def record() -> bytes:
        content = given["record"]
        return record_bytes(
            attributes=content["attributes"],
            body=content["body"],
            scope=content["scope"],
            occurrence=given.get("occurrence", 0),
            time_unix_nano=content["time_unix_nano"],
            observed_time_unix_nano=content.get("observed_time_unix_nano", 0),
            service_name=content["resource"]["service.name"],
            severity_number=content["severity_number"],
        )

    return record


def log_attributes(given: Mapping[str, Any]) -> tuple[str | None, str | None]:
    attributes = {**given.get("record", {}).get("attributes", {}), **given.get("attributes", {})}
    return attributes.get("sampling.threshold"), attributes.get("sampling.randomness")


def decided(given: Mapping[str, Any]) -> Decision:
    sampler = Sampler(settings_for(given))
    trace_id = trace_id_of(given)
    if given.get("signal", "span") == "span":
        first = sampler.span(trace_id, given.get("tracestate", ""), facts)
        again = sampler.span(trace_id, given.get("tracestate", ""), facts)  # the remembered path must agree
        assert again == first
        return first
    if "remembered_rv" in given:
        sampler.span(trace_id, f"ot=rv:{given['remembered_rv']}", facts)
    return sampler.log(trace_id, *log_attributes(given), record_of(given), facts)


@pytest.mark.parametrize("category", CATEGORIES)
def test_decisions_of_category(category: str) -> None:
    vectors = [v for v in VECTORS["decisions"] if v["category"] == category]
    assert vectors
    failures = [f"{v['id']} {v['note']}: {wrong}" for v in vectors for wrong in _differences(v)]
    assert not failures, "\n".join(failures)


def _differences(vector: Mapping[str, Any]) -> list[str]:
    given, expected = vector["in"], vector["expect"]
    decision = decided(given)
    found: dict[str, object] = {
        "keep": decision.keep,
        "reason": decision.reason,
        "upstream": decision.upstream,
        "r_source": decision.r_source,
        "adjusted_count": decision.adjusted_count,
        "weight": decision.weight,
        **_kernel(given),
        **_output(given, decision),
    }
    return [f"{key} {found[key]!r} != {expected[key]!r}" for key in found if found[key] != expected[key]]


def _kernel(given: Mapping[str, Any]) -> dict[str, object]:
    """R and the three thresholds, which a Decision does not carry."""
    sampler = Sampler(settings_for(given))
    trace_id = trace_id_of(given)
    if given.get("signal", "span") == "span":
        head_t = sampler._head.get("checkout", 0)
        up = of_span(trace_id, parse(given.get("tracestate", "")), sampler._policy, head_t)
    else:
        learned = (int(given.get("remembered_rv", "-1"), 16), 0)
        up = of_log(trace_id, *log_attributes(given), learned, record_of(given), sampler._policy)
    settings = sampler.settings
    rate = Rate("r", sampler._plan.choose(facts).rate.probability, settings.mode, settings.precision)
    t_rule = None if up.refuse else rate.t_rule(up.t_in)
    t_out = None if t_rule is None else max(up.t_in, t_rule)
    if t_out is not None:
        assert Band(rate, up).t_out == t_out
    exact = "0/1"
    if t_out is not None and up.r >= t_out:
        count = Fraction(M, M - t_out)
        exact = f"{count.numerator}/{count.denominator}"

    def text(t: int | None) -> str | None:
        return None if t is None else f"{t:014x}"

    return {
        "r": text(up.r),
        "t_in": text(up.t_in),
        "t_rule": text(t_rule),
        "t_out": text(t_out),
        "adjusted_count_exact": exact,
    }


def _output(given: Mapping[str, Any], decision: Decision) -> dict[str, object]:
    """What a forwarding sink writes."""
    if not decision.keep:
        return {"th_out": None, "rv_out": None, "tracestate_out": None}
    if given.get("signal", "span") == "log":
        th, rv = log_fields(log_attributes(given)[0], decision)
        return {"th_out": th, "rv_out": rv, "tracestate_out": None}
    forwarded = rewrite(given.get("tracestate", ""), decision)
    ours = [m.strip(" \t")[3:] for m in forwarded.split(",") if m.strip(" \t").startswith("ot=")]
    fields = dict(part.split(":") for part in ours[0].split(";")) if ours else {}
    return {"th_out": fields.get("th"), "rv_out": None, "tracestate_out": forwarded}


@pytest.mark.parametrize("vector", VECTORS["thresholds"], ids=lambda v: f"{v['p']}@{v['precision']}")
def test_threshold(vector: Mapping[str, Any]) -> None:
    t = threshold(Fraction(vector["p"]), vector["precision"])
    assert th_text(t) == vector["th"]
    assert probability_of(t) == vector["probability"]
    assert adjusted_count(t) == vector["adjusted_count"]


def test_there_are_as_many_vectors_as_the_specification_says() -> None:
    assert len(VECTORS["decisions"]) == 143
    assert len(VECTORS["thresholds"]) == 82
