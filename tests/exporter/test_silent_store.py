"""A store that accepts connections and says nothing is away after seconds, for whoever asks from a terminal."""

from __future__ import annotations

import socket
import time

import pytest

from exporter.clickhouse.reader import StoreError, StoreReader
from exporter.clickhouse.settings import Settings


def test_a_command_waits_seconds_for_a_store_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.clickhouse.reader._OPEN_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        reader = StoreReader(Settings(name="store", type="clickhouse", dsn=f"http://127.0.0.1:{port}/analytics"))
        began = time.monotonic()
        with pytest.raises(StoreError, match=rf"ClickHouse on 127\.0\.0\.1:{port} does not answer"):
            reader.open()
        assert time.monotonic() - began < 60, "an answer to a question may take two minutes, the first may not"
