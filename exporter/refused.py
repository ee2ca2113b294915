"""Requests that a destination of whole requests will never take: kept as files that `weighbridge map` and curl read.

`<sink>-<position>.bin` is the body as received, `.headers.json` beside it has path, headers and the reason. They are
the senders' own bytes, *unmasked*: the folder is readable by its owner only, and bounded, the oldest go first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exporter.request_file import BODY, read_requests, remove_request, write_request
from exporter.source import RawRequest

log = logging.getLogger(__name__)


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
        self._make_room(sink, max_bytes - len(request.body))
        about = {
            "dead_lettered_unix_ns": time.time_ns(),
            "sink": sink,
            "reason": reason[:1000],
            "tenant": request.tenant,
            "records": request.records,
            "refused": refused,
        }
        write_request(
            self.folder / f"{sink}-{request.position:016x}{BODY}",
            request.signal,
            request.content_type,
            request.content_encoding,
            request.body,
            about,
        )

    def read(self) -> Iterator[dict[str, Any]]:
        """What is known about each, oldest first, with its `id` and the `file` of its body."""
        entries = [{"id": name, **about} for name, about in read_requests(self.folder)]
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
        remove_request(Path(about["file"]))

    def _make_room(self, sink: str, max_bytes: int) -> None:
        kept = sorted(self.folder.glob(f"{sink}-{'[0-9a-f]' * 16}{BODY}"))  # by position: oldest first
        size = sum(path.stat().st_size for path in kept)
        removed = 0
        while kept and size > max_bytes:
            oldest = kept.pop(0)
            size -= oldest.stat().st_size
            remove_request(oldest)
            removed += 1
        if removed:
            log.error("sink %s: %d refused requests deleted, there are too many to keep", sink, removed)
