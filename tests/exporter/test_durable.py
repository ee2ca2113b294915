"""Files that are replaced in one step: whole and private, the old one until the new one is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.durable import replace_file, write_file


def test_a_file_is_replaced_whole_in_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "spool" / "state.jsonl"
    replace_file(path, b"one\n")
    replace_file(path, iter([b"two\n", b"three\n"]))
    assert path.read_bytes() == b"two\nthree\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["state.jsonl"]


@pytest.mark.parametrize("sync", [True, False])
def test_what_fails_on_the_way_leaves_the_old_file(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "state"
    write_file(path, b"old", sync=sync)

    def torn() -> Iterator[bytes]:
        yield b"new"
        raise OSError("the source cannot be read")

    with pytest.raises(OSError, match="cannot be read"):
        write_file(path, torn(), sync=sync)
    assert path.read_bytes() == b"old"
    write_file(path, b"next", sync=sync)  # over what the failed one left
    assert path.read_bytes() == b"next"
    assert os.listdir(tmp_path) == ["state"]
