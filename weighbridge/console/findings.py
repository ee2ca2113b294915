"""Rows and groups -> the parts of answers that pages show: compared, summed up, told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from exporter.clickhouse.queries import Condition
from weighbridge.console.answers import Asked, Beside, Bin, Change, Group
from weighbridge.console.asked import Period

Where = Sequence[tuple[str, Sequence[Condition]]]  # as written, and what it means

_CHANGES: Final = 6
_LEAST_CHANGE: Final = 5.0  # failed calls by which something must differ to be told as a change


def asked_of(period: Period, where: Where = (), text: str = "") -> Asked:
    return Asked(
        since=period.span.since,
        until=period.span.until,
        step_s=period.step_s,
        where=[written for written, _ in where],
        text=text,
    )


def conditions_of(where: Where) -> list[Condition]:
    return [condition for _, conditions in where for condition in conditions]


def bins_of(rows: Sequence[Mapping[str, Any]]) -> list[Bin]:
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        found.setdefault(int(row["bucket"]), {})[row["kind"]] = row["events"]
    return [
        Bin(
            time=datetime.fromtimestamp(at, UTC),
            calls=kinds.get("call", 0),
            failed=kinds.get("failed", 0),
            actions=kinds.get("action", 0),
            logs=kinds.get("log", 0),
        )
        for at, kinds in sorted(found.items())
    ]


def tells_quota(header: str) -> bool:
    return any(word in header.lower() for word in ("ratelimit", "quota", "retry-after"))


def beside_of(row: Mapping[str, Any] | None) -> Beside:
    if row is None:
        return Beside(calls=0, failed=0, p50_ms=None, p95_ms=None)
    p50, p95 = (float(value) for value in row["q"])
    return Beside(
        calls=row["calls"],
        failed=row["failed"],
        p50_ms=None if math.isnan(p50) else p50,
        p95_ms=None if math.isnan(p95) else p95,
    )


def changes_of(groups: Mapping[str, Sequence[Group]]) -> list[Change]:
    """What differs most from the time before, the worse first."""
    found = []
    for by, kinds in groups.items():
        for group in kinds:
            more = group.failed - group.failed_before
            if abs(more) < max(_LEAST_CHANGE, 0.2 * max(group.failed, group.failed_before)):
                continue
            if by == "status_code" and group.value in ("0", "200"):
                continue
            kind = "better" if more < 0 else "new" if not group.calls_before else "worse"
            found.append(
                Change(
                    kind=kind,
                    by=by,
                    value=group.value,
                    failed=group.failed,
                    failed_before=group.failed_before,
                    said=_said(kind, group),
                )
            )
    found.sort(key=lambda change: (change.kind == "better", -abs(change.failed - change.failed_before)))
    return found[:_CHANGES]


def _said(kind: str, group: Group) -> str:
    failed, before = f"{group.failed:,.0f}", f"{group.failed_before:,.0f}"
    if kind == "new":
        return f"{failed} failed calls; it did not call in the time before" if group.calls else ""
    return f"{failed} failed calls, {before} in the time before"
