"""The registry of metrics: all that is emitted is in it, and all that is in it is emitted."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import Sum
from opentelemetry.sdk.resources import Resource

from bridge_inside import asked, post, running
from otlp_requests import spans_request
from spool_tools import on_a_loop
from weighbridge.admin.metrics import metrics
from weighbridge.admin.registry import REGISTRY, table
from weighbridge.service import Bridge
from weighbridge.settings import Settings
from weighbridge.telemetry import _metrics_data

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("window", [False, True])
@on_a_loop
async def test_a_running_bridge_emits_what_is_registered_and_nothing_else(tmp_path: Path, window: bool) -> None:
    budget = {"events_per_second": 10, "window_s": "300ms"} if window else None
    async with running(tmp_path, **({"sampling": {"budget": budget}} if budget else {})) as (receiver, admin):
        await post(receiver, spans_request(random.Random(1), 5)[1])
        text = await asked(f"{admin}/metrics")
    found = {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")}
    assert found == {one.name: one.kind for one in REGISTRY.values() if not one.when or window}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, labels = line.rpartition(" ")[0].partition("{")
            used = set(re.findall(r'([a-z_]+)="', labels))
            assert used <= set(REGISTRY[name].labels), line


@on_a_loop
async def test_telemetry_has_them_with_kind_and_unit(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "spool": {"directory": str(tmp_path)},
        "exporter": {"sinks": [{"name": "none", "type": "blackhole"}]},
        "sampling": {"budget": {"events_per_second": 10, "window_s": "300ms"}},
    }
    bridge = Bridge(Settings.model_validate(given))
    await bridge.spool.open()
    data = _metrics_data(Resource({}), metrics(bridge), 0)
    await bridge.spool.close()
    [told] = data.resource_metrics[0].scope_metrics
    assert {one.name: (isinstance(one.data, Sum), one.unit, one.description) for one in told.metrics} == {
        one.name: (one.kind == "counter", one.unit, one.meaning) for one in REGISTRY.values()
    }


def test_the_page_of_metrics_is_made_of_the_registry() -> None:
    assert table() in (DOCS / "metrics.md").read_text(encoding="utf-8")


def test_every_metric_that_the_pages_name_is_registered() -> None:
    named = {
        name
        for page in DOCS.glob("*.md")
        for name in re.findall(r"`((?:weighbridge|otelcol)_[a-z_]+)`", page.read_text(encoding="utf-8"))
    }
    assert named
    assert named <= REGISTRY.keys()


def test_names_end_in_their_unit() -> None:
    endings = {"By": "bytes", "s": "seconds"}
    for one in REGISTRY.values():
        name = one.name.removesuffix("_total")
        assert (name != one.name) == (one.kind == "counter")
        assert all(name.endswith(word) == (one.unit == unit) for unit, word in endings.items()), one
