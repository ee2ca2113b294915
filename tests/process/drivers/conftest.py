"""Drivers against the store's port for tools, and a server of object storage (`make drivers`): they are
downloaded, and need a compiler, so that they are not part of `make test`."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "drivers: builds with Go and Java and downloads drivers; run with -m drivers")


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if "drivers" in config.getoption("-m") else True
