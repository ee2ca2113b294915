"""Real exporters against a real receiver. Those that must be downloaded run with `pytest -m exporters`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import otlp_http


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "exporters: downloads other exporters from PyPI or npm; run with -m exporters")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "exporters" in config.getoption("-m"):
        return
    for item in items:
        if item.get_closest_marker("exporters"):
            item.add_marker(pytest.mark.skip(reason="downloads exporters; run with -m exporters"))


@pytest.fixture
def server() -> Iterator[otlp_http.RunningReceiver]:
    with otlp_http.receiver() as running:
        yield running
