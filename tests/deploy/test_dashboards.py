"""The dashboards: as generated, every PromQL known to Prometheus and the registry, every SQL answered by the engine."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge import BridgeProcess
from deploy.dashboards import BRIDGE, CLICKHOUSE, DATA, PROMETHEUS, WIDTH, dashboards
from weighbridge.admin.registry import REGISTRY

FILES = {path.stem: json.loads(path.read_text()) for path in dashboards()}
# As Grafana's ClickHouse data source replaces them.
MACROS = {
    r"\$__timeFilter\((\w+)\)": r"\1 >= now() - INTERVAL 6 HOUR AND \1 <= now()",
    r"\$__timeInterval\((\w+)\)": r"toStartOfInterval(toDateTime(\1), INTERVAL 60 second)",
    r"\$__fromTime": "toDateTime(now() - INTERVAL 6 HOUR)",
    r"\$__toTime": "toDateTime(now())",
}


def targets(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in FILES[name]["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target


def test_the_files_are_what_the_command_writes() -> None:
    """Mend it with: python -m deploy.dashboards"""
    assert {path.name: path.read_text() for path in dashboards()} == {
        path.name: text for path, text in dashboards().items()
    }


@pytest.mark.parametrize(("name", "kind"), [("bridge", PROMETHEUS), ("data", CLICKHOUSE)])
def test_a_dashboard_can_be_imported_as_it_is(name: str, kind: str) -> None:
    """Its data source is a variable; panels have numbers of their own and do not lie on one another."""
    found = FILES[name]
    variables = {variable["name"]: variable for variable in found["templating"]["list"]}
    assert variables["source"]["query"] == kind
    assert {json.dumps(panel["datasource"]) for panel in found["panels"]} == {
        json.dumps({"type": kind, "uid": "${source}"})
    }
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in found["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= WIDTH
        taken |= cells
    assert sum(len(panel.asks) for panel in (BRIDGE if name == "bridge" else DATA)) == len(list(targets(name)))


def test_the_bridges_dashboard_asks_for_metrics_that_are_told() -> None:
    asked = {
        word for _, target in targets("bridge") for word in re.findall(r"\b(?:weighbridge|otelcol)_\w+", target["expr"])
    }
    assert asked
    assert asked <= set(REGISTRY)
    for title, target in targets("bridge"):
        for labels in re.findall(r"by \(([\w, ]+)\)", target["expr"]):
            (metric,) = re.findall(r"weighbridge_\w+", target["expr"])
            assert set(labels.split(", ")) <= set(REGISTRY[metric].labels), title


@pytest.mark.tools
@pytest.mark.process
def test_prometheus_reads_every_question(tmp_path: Path) -> None:
    rules = [
        {"record": f"r{number}", "expr": target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")}
        for number, (_, target) in enumerate(targets("bridge"))
    ]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "questions", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.tools
@pytest.mark.process
def test_the_store_answers_every_question(bridge: BridgeProcess) -> None:
    """With the traffic of the shop in it: each panel has something to show."""
    assert bridge.command("demo", "--requests", "120").returncode == 0
    empty = []
    for title, target in targets("data"):
        sql = target["rawSql"]
        for macro, meaning in MACROS.items():
            sql = re.sub(macro, meaning, sql)
        assert "$" not in sql
        rows = bridge.query(sql)
        if not rows:
            empty.append(title)
        elif target["queryType"] == "timeseries":
            assert "time" in rows[0], title  # what Grafana draws over
    assert empty == []
