"""Requests that could not be mapped: each kept in two files that `weighbridge map` reads, until it is sent again.

`<position>.bin` is the body as received, `.headers.json` beside it says path, headers, tenant, records and the reason.
Sent again, a request goes through the spool like a new one, marked so that sinks of whole requests, which had it, and
the memory of resent requests let it pass; the books of the sinks that counted its records as failed take that back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.durable import sync_folder
from exporter.pipeline import Pipeline
from exporter.request_file import BODY, read_requests, remove_request, write_request
from exporter.totals import Counts
from mapping.otlp.records import Decoded
from receiver.spool import Entry, SpoolFailed, SpoolFull, Stored

log = logging.getLogger(__name__)

# Of the folder, unless the settings say otherwise: what comes beyond is counted and not kept, so that what is there
# stays until it is looked at.
MAX_BYTES = 256 << 20
MAX_REQUESTS = 10_000
# Ends the Content-Type of a request that went into the spool a second time.
RETURNED = "; weighbridge=returned"


def keep(
    directory: Path, stored: Stored, reason: str, records: int, sinks: Sequence[str], max_bytes: int = MAX_BYTES
) -> Path | None:
    """Where its body is now, durably; beside it what its headers said. The same request again replaces itself.

    None when there is no room for it.

    sinks: which count its records as failed. max_bytes: of all bodies in the folder. Blocks for disk writes. Raises
    OSError.
    """
    path = directory / f"{stored.position:016x}{BODY}"
    entry = stored.entry
    requests, size = held(directory)
    if not path.exists() and (requests >= MAX_REQUESTS or size + len(entry.body) > max_bytes):
        return None
    about = {
        "tenant": entry.tenant,
        "received_unix_ns": entry.received_unix_ns,
        "dead_lettered_unix_ns": time.time_ns(),
        "reason": f"cannot be mapped: {reason}"[:1000],
        "records": records,
        "sinks": list(sinks),
    }
    content_type = entry.content_type.removesuffix(RETURNED)
    write_request(path, entry.signal, content_type, entry.content_encoding, entry.body, about)
    return path


def held(directory: Path) -> tuple[int, int]:
    """Requests that are kept, and the bytes of their bodies."""
    sizes = []
    for path in directory.glob(f"*{BODY}"):
        with contextlib.suppress(FileNotFoundError):
            sizes.append(path.stat().st_size)
    return len(sizes), sum(sizes)


def read(directory: Path) -> Iterator[dict[str, Any]]:
    """What is known about each, oldest first, with its `id`, `position` and the `file` of its body."""
    for name, about in read_requests(directory):
        try:
            position = int(name, 16)
        except ValueError:  # not ours
            continue
        if "sinks" in about:  # else of an earlier version, which did not say whose they were
            yield {"id": f"unmappable-{position:016x}", "position": position, **about}


class Returns:
    """Sends requests that could not be mapped through the spool again."""

    def __init__(
        self,
        directory: Path,
        decode: Callable[[Entry], Awaitable[Decoded]],
        append: Callable[[Entry, Decoded], Awaitable[object]],
        pipelines: Mapping[str, object],
    ) -> None:
        """append: returns when the request is in the spool. pipelines: by sink, those that run."""
        self._directory = directory
        self._decode = decode
        self._append = append
        self._pipelines = pipelines
        self._busy = asyncio.Lock()

    async def replay(self, wanted: Callable[[Mapping[str, Any]], bool]) -> int:
        """How many records went into the spool again. A request that some sink has yet to read stays where it is."""
        records = 0
        async with self._busy:
            for about in await asyncio.to_thread(lambda: list(filter(wanted, read(self._directory)))):
                try:
                    records += await self._return(about)
                except (SpoolFull, SpoolFailed, OSError) as error:
                    log.warning("requests that could not be mapped are not sent again: %s", error)
                    break
                except Exception as error:
                    log.warning("%s is not sent again: %s", about["id"], error)
        return records

    async def _return(self, about: Mapping[str, Any]) -> int:
        mapping = {name: pipe for name, pipe in self._pipelines.items() if isinstance(pipe, Pipeline)}
        if any(pipeline.cursor <= about["position"] for pipeline in mapping.values()):
            return 0
        headers = dict(about["headers"])
        entry = Entry(
            about["path"].removeprefix("/v1/"),
            about["tenant"],
            headers["Content-Type"] + RETURNED,
            headers.get("Content-Encoding", ""),
            about["received_unix_ns"],
            await asyncio.to_thread(Path(about["file"]).read_bytes),
        )
        decoded = await self._decode(entry)
        await self._append(entry, decoded)
        await asyncio.to_thread(self._forget, about)
        # In this order: killed in between, its records count as failed and as delivered, and no number is below zero.
        back: Counts = {about["tenant"]: {"received": -about["records"], "failed": -about["records"]}}
        named = [mapping[name] for name in about["sinks"] if name in mapping]
        await asyncio.gather(*(pipeline.change_books(back) for pipeline in named), return_exceptions=True)
        return decoded.accepted

    def _forget(self, about: Mapping[str, Any]) -> None:
        remove_request(Path(about["file"]))
        sync_folder(self._directory)
