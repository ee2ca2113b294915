"""Requests that a destination of whole requests will never take: kept as files that `weighbridge map` and curl read.

`<sink>-<position>.bin` is the body as received, `.headers.json` beside it has path, headers and the reason. They are
the senders' own bytes, *unmasked*: the folder is readable by its owner only, and bounded, the oldest go first.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exporter.durable import sync_folder, write_file
from exporter.source import RawRequest

log = logging.getLogger(__name__)
_SIDECAR = ".headers.json"


class RefusedRequests:
    """One folder for all sinks. Blocking; calls from several threads must not overlap for one sink."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, sink: str, reason: str, request: RawRequest, refused: int, max_bytes: int) -> None:
        """Durable when this returns; the same request again replaces itself.

        refused: records of it that the destination did not take. max_bytes: for this sink's bodies together.
        """
        if len(request.body) > max_bytes:
            log.error("sink %s: a refused request of %d bytes is too large to be kept", sink, len(request.body))
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._make_room(sink, max_bytes - len(request.body))
        headers = [["Content-Type", request.content_type]]
        if request.content_encoding:
            headers.append(["Content-Encoding", request.content_encoding])
        about = {
            "dead_lettered_unix_ns": time.time_ns(),
            "sink": sink,
            "reason": reason[:1000],
            "tenant": request.tenant,
            "records": request.records,
            "refused": refused,
            "path": f"/v1/{request.signal}",
            "headers": headers,
        }
        stem = f"{sink}-{request.position:016x}"
        write_file(self.folder / f"{stem}.bin", request.body)
        write_file(
            self.folder / f"{stem}{_SIDECAR}", json.dumps(about).encode()
        )  # last: an entry exists when this file does
        sync_folder(self.folder)

    def read(self) -> Iterator[dict[str, Any]]:
        """What is known about each, oldest first, with its `id` and the `file` of its body."""
        entries = []
        for path in self.folder.glob(f"*{_SIDECAR}"):
            try:
                about = json.loads(path.read_bytes())
            except (OSError, ValueError):  # removed meanwhile, or torn by a power cut before it was durable
                continue
            stem = path.name.removesuffix(_SIDECAR)
            entries.append({"id": stem, **about, "file": str(path.with_name(stem + ".bin"))})
        yield from sorted(entries, key=lambda entry: entry["dead_lettered_unix_ns"])

    def request(self, about: dict[str, Any]) -> RawRequest:
        """The request of an entry that `read` gave. Raises OSError when it is gone."""
        headers = dict(about["headers"])
        return RawRequest(
            int(about["id"].rpartition("-")[2], 16),
            0,  # nothing is after it: it is in no spool any more
            about["path"].removeprefix("/v1/"),
            about["tenant"],
            headers["Content-Type"],
            headers.get("Content-Encoding", ""),
            Path(about["file"]).read_bytes(),
            about["records"],
        )

    def remove(self, about: dict[str, Any]) -> None:
        """Forget an entry: it has been delivered after all."""
        body = Path(about["file"])
        body.with_name(about["id"] + _SIDECAR).unlink(missing_ok=True)
        body.unlink(missing_ok=True)

    def _make_room(self, sink: str, max_bytes: int) -> None:
        kept = sorted(self.folder.glob(f"{sink}-{'[0-9a-f]' * 16}.bin"))  # by position: oldest first
        size = sum(path.stat().st_size for path in kept)
        removed = 0
        while kept and size > max_bytes:
            oldest = kept.pop(0)
            size -= oldest.stat().st_size
            oldest.with_name(oldest.name.removesuffix(".bin") + _SIDECAR).unlink(missing_ok=True)
            oldest.unlink()
            removed += 1
        if removed:
            log.error("sink %s: %d refused requests deleted, there are too many to keep", sink, removed)
