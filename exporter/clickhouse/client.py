"""Connections of the stock ClickHouse client to an Endpoint; for the sink and for readers."""

from __future__ import annotations

import functools
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.httputil import get_pool_manager

from exporter.clickhouse.engine.endpoint import Endpoint

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def connect(endpoint: Endpoint, **options: Any) -> Client:
    """A client that keeps no session. Raises the client's ClickHouseError when nobody answers."""
    if endpoint.host in _LOOPBACK:
        options["pool_mgr"] = _direct()  # else HTTP_PROXY would send even this machine's own traffic away
    return clickhouse_connect.get_client(
        host=endpoint.host,
        port=endpoint.port,
        username=endpoint.user,
        password=endpoint.password,
        secure=endpoint.secure,
        autogenerate_session_id=False,
        **options,
    )


@functools.cache
def _direct() -> Any:
    """One pool of connections for the process, as the client itself keeps one for other hosts."""
    return get_pool_manager()
