"""Grafana dashboards: one of the bridge, from Prometheus, and one of the data, from ClickHouse.

    python -m deploy.dashboards        writes deploy/helm/weighbridge/files/dashboards/*.json

The first asks for metrics of docs/metrics.md, the second is SQL with the macros of Grafana's ClickHouse data source.
Both have their data source as a variable, so they are imported as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "helm" / "weighbridge" / "files" / "dashboards"
WIDTH, HEIGHT = 24, 8  # of Grafana's grid: the whole width, the usual height of a panel
PROMETHEUS, CLICKHOUSE = "prometheus", "grafana-clickhouse-datasource"


class Panel(NamedTuple):
    """One picture: its questions by legend."""

    title: str
    asks: dict[str, str]  # legend -> PromQL or SQL
    unit: str = "short"  # as Grafana names it
    kind: str = "timeseries"
    width: int = 8
    about: str = ""


_ONE = 'instance=~"$instance"'

BRIDGE = (
    Panel(
        "Received",
        {
            "spans": f"sum(rate(otelcol_receiver_accepted_spans_total{{{_ONE}}}[$__rate_interval]))",
            "log records": f"sum(rate(otelcol_receiver_accepted_log_records_total{{{_ONE}}}[$__rate_interval]))",
        },
        "cps",
        about="Records acknowledged a second: on disk.",
    ),
    Panel(
        "Refused requests, by reason",
        {
            "{{reason}}": "sum by (reason) (rate(weighbridge_receiver_refused_requests_total"
            f"{{{_ONE}}}[$__rate_interval]))"
        },
        "reqps",
    ),
    Panel(
        "Delivered, by sink and outcome",
        {
            "{{sink}} {{outcome}}": "sum by (sink, outcome) (rate(weighbridge_sink_records_total"
            f"{{{_ONE}}}[$__rate_interval]))"
        },
        "cps",
    ),
    Panel(
        "Oldest undelivered, by sink",
        {"{{sink}}": f"max by (sink) (weighbridge_sink_backlog_oldest_age_seconds{{{_ONE}}})"},
        "s",
    ),
    Panel("Backlog, by sink", {"{{sink}}": f"sum by (sink) (weighbridge_sink_backlog_bytes{{{_ONE}}})"}, "bytes"),
    Panel(
        "Spool",
        {
            "used, {{instance}}": f"weighbridge_spool_bytes{{{_ONE}}}",
            "room, {{instance}}": f"weighbridge_spool_room_bytes{{{_ONE}}}",
        },
        "bytes",
        about="Without room senders are answered 503.",
    ),
    Panel(
        "Attempts that failed, by sink",
        {"{{sink}}": f"sum by (sink) (rate(weighbridge_sink_retries_total{{{_ONE}}}[$__rate_interval]))"},
        "cps",
    ),
    Panel("Sync of the spool", {"{{instance}}": f"weighbridge_spool_sync_seconds{{{_ONE}}}"}, "s"),
    Panel(
        "Free disk",
        {"{{place}}, {{instance}}": f"weighbridge_disk_free_bytes{{{_ONE}}} / weighbridge_disk_bytes{{{_ONE}}}"},
        "percentunit",
    ),
    Panel(
        "Needs a person",
        {
            "dead letters": f"sum(weighbridge_dead_letters{{{_ONE}}})",
            "not mappable": f"sum(weighbridge_unmappable_requests{{{_ONE}}})",
            "quarantined": f"sum(weighbridge_spool_quarantined_requests_total{{{_ONE}}})",
            "unexplained": f"sum(abs(weighbridge_sink_residue_records{{{_ONE}}}))",
            "lost on the way in": f"sum(abs(weighbridge_intake_residue_records{{{_ONE}}}))",
        },
        kind="stat",
        width=24,
    ),
    Panel(
        "Sampling: kept or why not",
        {"{{reason}}": f"sum by (reason) (rate(weighbridge_sampling_records_total{{{_ONE}}}[$__rate_interval]))"},
        "cps",
        width=12,
    ),
    Panel(
        "Sampling: weights against what came",
        {"{{rule}}": f"max by (rule) (abs(weighbridge_sampling_audit_z{{{_ONE}}}))"},
        width=12,
        about="In standard errors; more than five for long is an alarm.",
    ),
)

_INCOMING = "direction = 'incoming' AND hop != 'inner' AND NOT unseen AND $__timeFilter(minute)"
_FAILED = "status_code >= 400 OR error_type != ''"
_CALLS = "api_calls(since = $__fromTime, until = $__toTime) WHERE entry"

DATA = (
    Panel(
        "Calls by customers",
        {
            "calls": "SELECT $__timeInterval(minute) AS time, sum(calls) AS all_calls, "
            f"sumIf(calls, {_FAILED}) AS failed "
            f"FROM api_minutes WHERE {_INCOMING} GROUP BY time ORDER BY time"
        },
        width=12,
        about="Exact, whatever sampling dropped.",
    ),
    Panel(
        "Failed, by status",
        {
            "failed": "SELECT $__timeInterval(minute) AS time, toString(status_code) AS status, sum(calls) AS failed "
            f"FROM api_minutes WHERE {_INCOMING} AND ({_FAILED}) GROUP BY time, status ORDER BY time"
        },
        width=12,
    ),
    Panel(
        "Duration",
        {
            "duration": "SELECT $__timeInterval(event_time) AS time, "
            "quantileTDigestWeighted(0.5)(assumeNotNull(duration_ms), weight) AS p50, "
            "quantileTDigestWeighted(0.95)(assumeNotNull(duration_ms), weight) AS p95 FROM api_events "
            "WHERE event_type = 'api_call' AND direction = 'incoming' AND hop != 'inner' AND duration_ms IS NOT NULL "
            "AND $__timeFilter(event_time) GROUP BY time ORDER BY time"
        },
        "ms",
        width=12,
    ),
    Panel(
        "Calls by plan",
        {
            "plans": "SELECT $__timeInterval(minute) AS time, if(plan = '', '(none)', plan) AS of_plan, "
            f"sum(calls) AS all_calls FROM api_minutes WHERE {_INCOMING} GROUP BY time, of_plan ORDER BY time"
        },
        width=12,
    ),
    Panel(
        "Customers with most failures",
        {
            "customers": "SELECT company_id, sum(weight) AS calls, sumIf(weight, status_code >= 400) AS failed, "
            "groupUniqArrayIf(3)(user_id, status_code >= 400) AS users, "
            f"maxIf(event_time, status_code >= 400) AS last FROM {_CALLS} "
            "GROUP BY company_id HAVING failed > 0 ORDER BY failed DESC LIMIT 20"
        },
        kind="table",
        width=12,
    ),
    Panel(
        "Endpoints",
        {
            "endpoints": "SELECT service, method, endpoint, sum(weight) AS calls, "
            "round(100 * sumIf(weight, status_code >= 500) / calls, 2) AS server_errors_percent, "
            "round(quantileTDigestWeighted(0.95)(ifNull(duration_ms, 0), weight)) AS p95_ms "
            f"FROM {_CALLS} GROUP BY service, method, endpoint ORDER BY calls DESC LIMIT 50"
        },
        kind="table",
        width=12,
    ),
    Panel(
        "Newest errors in logs",
        {
            "logs": "SELECT event_time, service, severity, body, trace_id, user_id FROM api_events "
            "WHERE event_type = 'log' AND severity_number >= 17 AND $__timeFilter(event_time) "
            "ORDER BY event_time DESC LIMIT 100"
        },
        kind="table",
        width=24,
    ),
)


def dashboard(name: str, title: str, source: str, panels: tuple[Panel, ...]) -> dict[str, Any]:
    """As Grafana imports it."""
    variables: list[dict[str, Any]] = [
        {"name": "source", "label": "Data source", "type": "datasource", "query": source, "hide": 0}
    ]
    if source == PROMETHEUS:
        variables.append(
            {
                "name": "instance",
                "label": "Bridge",
                "type": "query",
                "datasource": _source(source),
                "query": {"query": "label_values(weighbridge_spool_bytes, instance)", "refId": "instances"},
                "refresh": 2,
                "includeAll": True,
                "multi": True,
                "allValue": ".*",
                "current": {"text": "All", "value": "$__all"},
            }
        )
    return {
        "uid": f"weighbridge-{name}",
        "title": title,
        "tags": ["weighbridge"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables},
        "panels": list(_placed(source, panels)),
    }


def _placed(source: str, panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    across = down = 0
    for number, panel in enumerate(panels, start=1):
        if across + panel.width > WIDTH:
            across, down = 0, down + HEIGHT
        found.append(
            {
                "id": number,
                "title": panel.title,
                "description": panel.about,
                "type": panel.kind,
                "datasource": _source(source),
                "gridPos": {"x": across, "y": down, "w": panel.width, "h": HEIGHT},
                "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
                "options": {},
                "targets": [_target(source, panel.kind, *ask, ref) for ask, ref in zip(panel.asks.items(), "ABCDE")],  # noqa: B905
            }
        )
        across += panel.width
    return found


def _target(source: str, kind: str, legend: str, question: str, ref: str) -> dict[str, Any]:
    common = {"refId": ref, "datasource": _source(source)}
    if source == PROMETHEUS:
        return {**common, "expr": question, "legendFormat": legend, "range": kind != "stat", "instant": kind == "stat"}
    table = kind == "table"
    return {
        **common,
        "editorType": "sql",
        "rawSql": question,
        "queryType": "table" if table else "timeseries",
        "format": 1 if table else 0,
    }


def _source(kind: str) -> dict[str, str]:
    return {"type": kind, "uid": "${source}"}


def dashboards() -> dict[Path, str]:
    """Every file with what must be in it."""
    made = {
        "bridge": dashboard("bridge", "weighbridge: the bridge", PROMETHEUS, BRIDGE),
        "data": dashboard("data", "weighbridge: calls by customers", CLICKHOUSE, DATA),
    }
    return {FOLDER / f"{name}.json": json.dumps(of, indent=2) + "\n" for name, of in made.items()}


if __name__ == "__main__":
    for path, text in dashboards().items():
        path.write_text(text, encoding="utf-8")
