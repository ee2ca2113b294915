"""Tests of what operators run. Those that need helm, promtool or debootstrap run with `make test-deploy`."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "tools: needs helm, promtool or debootstrap; run by `make test-deploy`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "tools" in config.getoption("-m"):
        return
    for item in items:
        if item.get_closest_marker("tools"):
            item.add_marker(pytest.mark.skip(reason="needs tools that are no Python packages; run by make test-deploy"))
