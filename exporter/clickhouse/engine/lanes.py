"""Connections to the embedded engine: one that writes, several that read. This is the only file that imports chdb.

Every connection has its own session and is used by one thread at a time. A process that has opened the engine must
never fork (a child hangs on its first statement, spec/store.md §1.4) and must not exit while a statement runs, which is
a SIGSEGV.
"""

from __future__ import annotations

import fcntl
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from exporter.clickhouse.engine.askers import Asker
from exporter.clickhouse.engine.endpoint import read_published
from exporter.clickhouse.engine.settings import EngineSettings

_LOOK_S = 0.25  # between looks at whether somebody who waits for a connection is still there
_CODE = re.compile(r"Code: (\d+)")
_MOST_STREAMS = 3  # long answers at the same time: each holds a piece in memory
# A piece is a block: so many bytes of the columns it reads, and at most so many rows. Memory is some five times that.
_STREAM_LIMITS: Mapping[str, object] = {
    "preferred_block_size_bytes": 24 << 20,
    "max_block_size": 65_536,
    "date_time_output_format": "'iso'",  # of texts: 2026-11-20T18:00:00.000000Z
    "output_format_json_quote_64bit_integers": 0,
    "output_format_parquet_compression_method": "'zstd'",
}
# JSON columns as text, which drivers of the native protocol read of every version; the others read objects only.
_DRIVER_SETTINGS: Mapping[str, object] = {"output_format_native_write_json_as_string": 1}
_STACK = "Stack trace"  # of the engine's own code: pages that tell nobody anything


class EngineError(Exception):
    """The engine refused a statement. `code` is ClickHouse's error number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Locked(Exception):
    """Another process holds the data."""


class Answer(NamedTuple):
    """The bytes of a result and what it took."""

    body: bytes
    rows_read: int
    rows_written: int
    elapsed_s: float
    form: str = "TabSeparated"


class Piece(NamedTuple):
    """A part of a long answer, whole in its format: some rows, or a file of its own where the format has a footer."""

    data: bytes
    rows: int


def wait_for_lock(data: Path, wait_s: float, stopping: Callable[[], bool]) -> None:
    """Return once nobody else holds the data. Raises Locked after `wait_s`, or when `stopping`.

    The engine itself takes an flock on its file `status`, and reports a failure on stderr only.
    """
    deadline = time.monotonic() + wait_s
    status = data / "status"
    while True:
        try:
            descriptor = os.open(status, os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if stopping() or time.monotonic() >= deadline:
                holder = read_published(data)
                who = f" (process {holder.pid})" if holder else ""
                raise Locked(f"{data} is in use by another process{who}; waited {wait_s:g} s") from None
        else:
            return
        finally:
            os.close(descriptor)
        time.sleep(0.05)


class Connection:
    """One session with the engine. Not thread safe: its lane lends it to one thread at a time.

    A statement that fails half way through its answer leaves that half behind, and the handle would put it in front of
    the next answer (seen with chdb-core 26.9.0). So a handle is never used again after an error.
    """

    def __init__(self, target: str, prologue: Sequence[str] = ()) -> None:
        self._target = target
        self._prologue = prologue
        self._handle: Any = None
        self.mark = ""  # a comment that tells this connection's statements apart (askers.py)
        self._open()

    def _open(self) -> None:
        import chdb

        old = self._handle
        self._failed = True  # until the limits below are in force
        self._handle = chdb.connect(self._target)  # before the old one goes: the last one to close ends the engine
        self._database = ""
        self._settings: dict[str, str] = {}
        if old is not None:
            old.close()
        for statement in self._prologue:
            self._handle.query(statement, "TabSeparated")
        self._failed = False

    def _sound(self) -> Any:
        if self._failed:
            try:
                self._open()
            except Exception as error:
                raise _engine_error(error) from None
        return self._handle

    def use(self, database: str) -> None:
        """Make `database` the one that bare table names mean. Raises EngineError (81) when it does not exist."""
        self._sound()
        if database and database != self._database:
            self.execute("USE `" + database.replace("\\", "\\\\").replace("`", "\\`") + "`")
            self._database = database

    def configure(self, settings: Mapping[str, str]) -> None:
        """Make these the session's settings, all others the engine's own. Raises EngineError (115) for unknown names.

        A SETTINGS clause would not do: at the end of CREATE TABLE it means the table's settings.
        """
        self._sound()
        for name in self._settings.keys() - settings.keys():
            self.execute(f"SET {name} = DEFAULT")
            del self._settings[name]
        for name, value in settings.items():
            if self._settings.get(name) != value:
                self.execute(f"SET {name} = {quote(value)}")
                self._settings[name] = value

    def execute(self, sql: str, parameters: Mapping[str, str] | None = None, form: str = "TabSeparated") -> Answer:
        """Run one statement; results come in `form` unless the statement has a FORMAT."""
        handle = self._sound()
        try:
            result = handle.query(f"{sql}\n{self.mark}" if self.mark else sql, form, params=dict(parameters or {}))
        except Exception as error:
            self._failed = True
            raise _engine_error(error) from None
        return Answer(bytes(result.bytes()), int(result.rows_read()), 0, float(result.elapsed()), form)

    def insert(self, statement: str, form: str, data: bytes) -> Answer:
        """Insert `data`, which is in the format `form`. It is all there, on disk, when this returns."""
        handle = self._sound()
        try:
            inserter = handle.send_insert(statement, form)
            try:
                inserter.append(data)
                result = inserter.finish()
            finally:
                inserter.close()
        except Exception as error:
            self._failed = True
            raise _engine_error(error) from None
        return Answer(b"", 0, int(result.rows_written), float(result.elapsed))

    def pieces(
        self, sql: str, parameters: Mapping[str, str] | None = None, form: str = "TabSeparated"
    ) -> Generator[Piece]:
        """The answer in pieces, none of which is kept: memory stays that of one, however long the answer is.

        To be run to its end or closed. Raises EngineError, also between two pieces.
        """
        handle = self._sound()
        sql = f"{sql}\n{self.mark}" if self.mark else sql
        self._failed = True  # until the end is seen: what a cancelled statement leaves behind is nobody's answer
        try:
            answer = handle.send_query(sql, form, params=dict(parameters or {}))
            try:
                while (piece := answer.fetch()) is not None and (data := bytes(piece.bytes())):
                    yield Piece(data, int(piece.rows_read()))
            finally:
                answer.close()
        except RuntimeError as error:
            raise _engine_error(error) from None
        self._failed = False

    def close(self) -> None:
        self._handle.close()


class Lanes:
    """All connections of the process. `open` once, `close` once when nothing runs any more."""

    def __init__(self, data: Path, settings: EngineSettings) -> None:
        self._data = data
        self._settings = settings
        self._writing = threading.Lock()
        self._writer: Connection | None = None
        self._readers: queue.Queue[Connection] = queue.Queue()
        self._tools: queue.Queue[Connection] = queue.Queue()
        self._drivers: queue.Queue[Connection] = queue.Queue()
        self._streaming = threading.Semaphore(_MOST_STREAMS)
        self._stopping = threading.Lock()
        self._stopper: Connection | None = None
        self.version = ""

    def open(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """Open the engine on its data with its limits. Raises Locked or EngineError.

        stopping: asked while somebody else holds the data; an engine whose parent has died must not queue for it.
        """
        settings = self._settings
        limits = {
            "max_server_memory_usage": settings.max_memory_bytes,
            "mark_cache_size": settings.mark_cache_bytes,
            "index_mark_cache_size": settings.index_mark_cache_bytes,
            "primary_index_cache_size": settings.primary_index_cache_bytes,
        }
        target = f"{self._data}?" + "&".join(f"{name}={value}" for name, value in limits.items())
        deadline = time.monotonic() + settings.lock_wait_s
        while True:
            wait_for_lock(self._data, max(0.0, deadline - time.monotonic()), stopping)
            try:
                self._writer = Connection(target)
                break
            except RuntimeError as error:
                # Between our look and the engine's own lock somebody else may have taken it; anything else is final.
                if time.monotonic() >= deadline or not _is_locked(self._data):
                    raise _engine_error(error) from None
        self.version = self._writer.execute("SELECT version()").body.decode().strip()
        self._stopper = Connection(str(self._data))
        for _ in range(settings.readers):
            self._readers.put(self._reader({}))
            if settings.users:
                self._tools.put(self._reader({}))
                self._drivers.put(self._reader(_DRIVER_SETTINGS))

    def _reader(self, more: Mapping[str, object]) -> Connection:
        settings = self._settings
        return self._limited(
            {
                **more,
                "max_execution_time": settings.reader_max_execution_s,
                "max_result_bytes": settings.reader_max_result_bytes,
                "result_overflow_mode": "'throw'",
            }
        )

    def _limited(self, limits: Mapping[str, object]) -> Connection:
        """A connection that only reads, within limits that it cannot change."""
        all_of_them = {
            "max_threads": 1,
            "max_memory_usage": self._settings.reader_max_memory_bytes,
            **limits,
            "allow_introspection_functions": 0,
            "allow_ddl": 0,
            "readonly": 1,  # last: nothing can be changed after it
        }
        return Connection(str(self._data), [f"SET {name} = {value}" for name, value in all_of_them.items()])

    @contextmanager
    def writer(self) -> Iterator[Connection]:
        """The writing connection, alone: inserts and the checks between them never overlap."""
        with self._writing:
            if self._writer is None:
                raise EngineError(236, "The engine is stopping")  # ABORTED
            yield self._writer

    @contextmanager
    def reader(self, asker: Asker | None = None) -> Iterator[Connection]:
        """A read-only connection; waits for one to become free, as long as the asker does."""
        with self._borrowed(self._readers, asker) as connection:
            yield connection

    @contextmanager
    def tool(self, asker: Asker | None = None, *, native: bool) -> Iterator[Connection]:
        """As `reader`, for tools: dashboards are not to keep the command line waiting.

        native: one that reads blocks of the native protocol.
        """
        with self._borrowed(self._drivers if native else self._tools, asker) as connection:
            yield connection

    @contextmanager
    def _borrowed(self, connections: queue.Queue[Connection], asker: Asker | None) -> Iterator[Connection]:
        deadline = time.monotonic() + self._settings.reader_max_execution_s
        while True:
            if asker is not None and asker.gone():
                raise EngineError(394, "Code: 394. The asker has gone")
            try:
                connection = connections.get(timeout=max(0.0, min(_LOOK_S, deadline - time.monotonic())))
                break
            except queue.Empty:
                if time.monotonic() >= deadline:
                    raise EngineError(202, "Code: 202. Too many simultaneous queries") from None
        connection.mark = asker.mark if asker else ""
        try:
            yield connection
        finally:
            connection.mark = ""
            connections.put(connection)

    def stop(self, mark: str) -> None:
        """End the statements with this mark that run now. Returns before they have ended."""
        with self._stopping:
            if self._stopper is not None:
                self._stopper.execute(f"KILL QUERY WHERE endsWith(query, {quote(mark)}) ASYNC")

    @contextmanager
    def streamer(self, asker: Asker | None = None) -> Iterator[Connection]:
        """A read-only connection for one answer of any length, in pieces; a few at a time.

        Raises EngineError when too many are under way.
        """
        if not self._streaming.acquire(blocking=False):
            raise EngineError(202, "Too many exports at the same time")
        try:
            connection = self._limited(_STREAM_LIMITS)
            connection.mark = asker.mark if asker else ""
            try:
                yield connection
            finally:
                connection.close()
        finally:
            self._streaming.release()

    def close(self) -> None:
        """Close every connection; waits for the ones that are lent."""
        lent = (self._readers, self._tools, self._drivers) if self._settings.users else (self._readers,)
        for connections in lent:
            for _ in range(self._settings.readers):
                connections.get().close()
        with self._stopping:
            if self._stopper is not None:
                self._stopper.close()
                self._stopper = None
        with self._writing:
            if self._writer is not None:
                self._writer.close()
                self._writer = None


def quote(text: str) -> str:
    """`text` as a string literal of SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _is_locked(data: Path) -> bool:
    try:
        wait_for_lock(data, 0, lambda: False)
    except Locked:
        return True
    return False


def _engine_error(error: Exception) -> EngineError:
    text, stack, _ = str(error).partition(_STACK)
    if stack:
        text = text.rstrip().rstrip(".,")
    found = _CODE.search(text)
    if found is None:
        return EngineError(1002, text or type(error).__name__)  # UNKNOWN_EXCEPTION
    return EngineError(int(found[1]), text[found.start() :].strip())
