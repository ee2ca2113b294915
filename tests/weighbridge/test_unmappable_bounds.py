"""The folder of requests that cannot be mapped is bounded, and what is in it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from receiver.spool import Entry, Stored
from weighbridge import unmappable


def stored(position: int, body: bytes = b"x" * 100) -> Stored:
    return Stored(position, position + 1, Entry("traces", "", "application/json", "", 1, body))


@pytest.mark.parametrize(("max_bytes", "max_requests"), [(350, 10_000), (1_000_000, 3)])
def test_what_comes_beyond_the_bound_is_not_kept(
    max_bytes: int, max_requests: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unmappable, "MAX_REQUESTS", max_requests)
    kept = [unmappable.keep(tmp_path, stored(position), "no", 1, ["store"], max_bytes) for position in range(10)]
    assert [path is not None for path in kept] == [True] * 3 + [False] * 7
    assert unmappable.held(tmp_path) == (3, 300)
    assert unmappable.keep(tmp_path, stored(1), "no", 1, ["store"], max_bytes), "the same again replaces itself"
    assert unmappable.held(tmp_path) == (3, 300)
