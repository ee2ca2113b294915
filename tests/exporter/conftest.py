"""Fixtures of sinks and the store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from engine_process import EngineProcess


@pytest.fixture
def client(clean: EngineProcess) -> Iterator[Client]:
    """A client of an empty database of the store's name."""
    clean.client().command("CREATE DATABASE analytics ENGINE = Atomic")
    client = clean.client(database="analytics")
    yield client
    client.close()
