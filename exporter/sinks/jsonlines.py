"""Sink: files of JSON lines, one event a line, as `weighbridge map` prints them, with the `tenant` of the key that they
came with. `path: "-"` is standard output.

Delivery: a batch is on disk (fdatasync) before it counts, exactly once also over restarts: a batch in doubt is looked
for in the newest two files, and only what is missing is added. Standard output: at least once, unsynced.
Order: as delivered. Rights needed: to write the file's folder.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import orjson
from pydantic import Field

from exporter.durable import sync_folder
from exporter.errors import Retryable
from exporter.settings import SinkSettings
from exporter.sink import Batch, Sink
from exporter.sinks.json_line import dumps, encode_all, event_dict
from exporter.threads import in_thread
from mapping.event import Event


class Settings(SinkSettings):
    """Files of JSON lines."""

    type: Literal["jsonlines"] = "jsonlines"
    path: str = Field(description="The file that is written; `-` for standard output.")
    max_bytes: int = Field(
        256 << 20, ge=1 << 16, description="Size in bytes at which the file is set aside as <path>.<UTC time>."
    )
    keep_files: int = Field(0, ge=0, description="Files set aside that are kept, oldest deleted first; 0 keeps all.")


class JsonLinesSink(Sink):
    """Appends to one file. Only one process may write it."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self._settings = settings
        self._path = Path(settings.path)
        self._descriptor = -1
        self._doubted: tuple[int, set[str]] = (0, set())  # a batch in doubt, and what of it was there before

    async def open(self) -> None:
        if self._settings.path != "-":
            await self._run_in_thread(self._open)

    async def write(self, batch: Batch, *, in_doubt: bool) -> Sequence[Event]:
        if self._settings.path == "-":
            await self._run_in_thread(lambda: self._print(batch.events))
        else:
            await self._run_in_thread(lambda: self._append(batch, in_doubt))
        return ()

    async def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    async def _run_in_thread(self, call: Callable[[], None]) -> None:
        running = asyncio.ensure_future(in_thread(call))
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])  # a write is whole before anybody else may write or close
            raise
        except OSError as error:
            raise Retryable(f"{self._settings.path}: {error.strerror or error}") from error

    # -- below: in a thread, one call at a time ------------------------------------------------------------

    def _open(self) -> None:
        """Open the file; a line torn by a crash is cut off, its batch will be written again."""
        if self._descriptor >= 0:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            _cut_torn_line(descriptor)
            if new:
                sync_folder(self._path.parent)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _there(self, batch: Batch) -> set[str]:
        """Which events of a batch in doubt are there. Those of its pieces are looked for together with the whole's."""
        batch_id, there = self._doubted
        if not batch.part or batch_id != batch.batch_id:
            there = self._find({event.transaction_id for event in batch.events})
            if not batch.part:
                self._doubted = batch.batch_id, there
        return there

    def _append(self, batch: Batch, in_doubt: bool) -> None:
        self._open()
        lines = self._lines(batch.events)
        if in_doubt:
            there = self._there(batch)
            lines = [line for line, event in zip(lines, batch.events, strict=True) if event.transaction_id not in there]
        if os.fstat(self._descriptor).st_size >= self._settings.max_bytes:
            self._set_aside()
        before = os.fstat(self._descriptor).st_size
        try:
            view = memoryview(b"".join(lines))
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fdatasync(self._descriptor)
        except OSError:
            # After a failed sync the descriptor may report success for bytes that are lost: never use it again.
            descriptor, self._descriptor = self._descriptor, -1
            try:
                os.ftruncate(descriptor, before)
            finally:
                os.close(descriptor)
            raise

    def _print(self, events: Sequence[Event]) -> None:
        sys.stdout.buffer.write(b"".join(self._lines(events)))
        sys.stdout.buffer.flush()

    def _lines(self, events: Sequence[Event]) -> list[bytes]:
        return encode_all(events, _line)

    def _find(self, wanted: set[str]) -> set[str]:
        """Which of these transaction ids are in the newest two files: a batch in doubt is never further back."""
        found: set[str] = set()
        for path in [self._path, *self._aside()[-1:]]:
            with path.open("rb") as file:
                for line in file:
                    if (own := _transaction_id(line)) in wanted:
                        found.add(own)
        return found

    def _aside(self) -> list[Path]:
        """The files set aside, oldest first."""
        return sorted(self._path.parent.glob(f"{self._path.name}.*Z"))

    def _set_aside(self) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._path.rename(self._path.with_name(f"{self._path.name}.{stamp}"))
        os.close(self._descriptor)
        self._descriptor = -1
        self._open()
        if self._settings.keep_files:
            for old in self._aside()[: -self._settings.keep_files]:
                old.unlink()


def _line(event: Event) -> bytes:
    """With the tenant, so that what is one's of theirs can be found again."""
    named = {"tenant": event.tenant} if event.tenant else {}
    return dumps({**event_dict(event), **named}) + b"\n"


def _transaction_id(line: bytes) -> str:
    """Of the event itself: what its bodies hold may look the same. "" for a line that somebody else wrote."""
    try:
        return str(orjson.loads(line)["transaction_id"])
    except (ValueError, KeyError, TypeError):
        return ""


def _cut_torn_line(descriptor: int) -> None:
    end = size = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 65_536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)


def create(settings: Settings) -> JsonLinesSink:
    return JsonLinesSink(settings)
