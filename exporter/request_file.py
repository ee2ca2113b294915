"""A request kept for people, in two files: `NAME.bin` is its body as received, `NAME.headers.json` says the rest.

Beside path and headers, the latter has what whoever keeps it wants to know of it. `weighbridge map` and curl read them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from exporter.durable import sync_folder, write_file

BODY = ".bin"
BESIDE = ".headers.json"


def write_request(
    body_file: Path, signal: str, content_type: str, content_encoding: str, body: bytes, about: Mapping[str, object]
) -> None:
    """Durable when this returns; the same file again replaces itself. Raises OSError."""
    headers = [["Content-Type", content_type]]
    if content_encoding:
        headers.append(["Content-Encoding", content_encoding])
    body_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    said = json.dumps({"path": f"/v1/{signal}", "headers": headers, **about})
    write_file(body_file, body)
    write_file(beside(body_file), said.encode())  # last: an entry exists when this file does
    sync_folder(body_file.parent)


def read_requests(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and what is known of each request in a folder, by name, with the `file` of its body."""
    for path in sorted(folder.glob(f"*{BESIDE}")):
        try:
            about = json.loads(path.read_bytes())
        except (OSError, ValueError):  # removed meanwhile, or torn by a power cut before it was durable
            continue
        if isinstance(about, dict):
            name = path.name.removesuffix(BESIDE)
            yield name, {**about, "file": str(path.with_name(name + BODY))}


def remove_request(body_file: Path) -> None:
    """Both files; that they were there is no condition."""
    beside(body_file).unlink(missing_ok=True)
    body_file.unlink(missing_ok=True)


def beside(body_file: Path) -> Path:
    """The file that says the rest."""
    return body_file.with_suffix(BESIDE)
