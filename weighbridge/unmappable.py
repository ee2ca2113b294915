"""Requests that could not be mapped, each kept in two files that `weighbridge map` reads."""

from __future__ import annotations

import json
from pathlib import Path

from receiver.spool import Stored


def keep(directory: Path, stored: Stored) -> Path:
    """Where its body is now; beside it what its headers said. Blocks for a disk write."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / f"{stored.position:016x}.bin"
    entry = stored.entry
    headers = [["Content-Type", entry.content_type]]
    if entry.content_encoding:
        headers.append(["Content-Encoding", entry.content_encoding])
    said = json.dumps({"path": f"/v1/{entry.signal}", "headers": headers})
    path.with_suffix(".headers.json").write_text(said, encoding="utf-8")
    path.write_bytes(entry.body)
    return path
