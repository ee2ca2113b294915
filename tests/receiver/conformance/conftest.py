"""One receiver for each file of this suite. A test that changes it or needs other settings starts its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import otlp_http


@pytest.fixture(scope="module")
def server() -> Iterator[otlp_http.RunningReceiver]:
    with otlp_http.receiver() as running:
        yield running
