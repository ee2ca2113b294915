"""Sink type `clickhouse`: the analytics store, a server or the embedded engine. The sink is in exporter/clickhouse/."""

from __future__ import annotations

from collections.abc import Callable

from exporter.clickhouse.engine.endpoint import Endpoint
from exporter.clickhouse.rows import event_day
from exporter.clickhouse.settings import Settings
from exporter.clickhouse.sink import ClickHouseSink

__all__ = ["Settings", "create", "event_day"]


def create(settings: Settings, endpoint: Callable[[], Endpoint | None] | None = None) -> ClickHouseSink:
    return ClickHouseSink(settings, endpoint)
