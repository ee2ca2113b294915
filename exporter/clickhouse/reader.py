"""Reading the store from another process: the command line's connection.

The embedded store is read through the running bridge's engine, which it has published beside the data; where none
runs, an engine is started for as long as the reader is open.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError
from urllib3 import Timeout

from exporter.clickhouse.client import connect
from exporter.clickhouse.engine.endpoint import READER, Endpoint, password, read_published
from exporter.clickhouse.engine.frames import Cut
from exporter.clickhouse.engine.lanes import EngineError, Piece
from exporter.clickhouse.engine.supervisor import command, environment
from exporter.clickhouse.errors import CLIENT_ERRORS, why
from exporter.clickhouse.queries import Statement
from exporter.clickhouse.settings import Settings
from exporter.clickhouse.stream import engine_pieces, server_pieces

_TIMEOUT_S = 120  # for the answer to a question
# For the first answer, which says who is there: a store that accepts and says nothing is away.
_OPEN_S = 10
_POLL_S = 0.2
_TOO_LONG, _TOO_MUCH_MEMORY, _UNKNOWN = 159, 241, 47  # ClickHouse's codes
_NEW_COLUMNS = re.compile(r"\b(?:trace_hash|call_place)\b")  # which an older bridge has not made
# What ClickHouse says of a view without its parameters helps nobody: of one of them, and of none.
_NOT_SET = 456
_CALLS = re.compile(r"\bapi_calls\b")
_CALLS_ALONE = re.compile(r"\bapi_calls\b(?!\s*[(.])")
_ANSWER_S = 10  # beyond the time for the question: for its answer to come over
_PAGE_MEMORY_BYTES = 2_000_000_000  # of a page's question to a server; the embedded engine has limits of its own


class StoreError(Exception):
    """The store cannot be reached, or refused the question. One line, for the terminal."""


class Result(NamedTuple):
    """The answer: names of the columns, and rows of Python values (datetimes know that they are UTC)."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class StoreReader:
    """A read-only connection to the store of one clickhouse sink, in a `with` statement; one thread at a time."""

    user = READER  # of the embedded engine

    def __init__(self, settings: Settings, timeout_s: float = _TIMEOUT_S, *, own_engine: bool = True) -> None:
        """timeout_s: for the answer to a question. own_engine: start one where none runs, for as long as this is open;
        without it this is the reader of a page, which nobody waits for beyond its time."""
        self._settings = settings
        self._timeout_s = timeout_s
        self._own_engine = own_engine
        self._endpoint: Endpoint | None = None  # of the embedded engine, where the store is one
        self._engine: subprocess.Popen[bytes] | None = None
        self._client: Client | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Connect. Raises StoreError."""
        path, server = self._settings.engine_path, self._settings.server
        try:
            if server is not None:
                self._client = self._connect(server)
            elif path is not None:
                self._client = self._connect_embedded(path.absolute())
        except json.JSONDecodeError as error:
            raise StoreError(f"the engine of the store in {path} said what nobody understands") from error
        except (ClickHouseError, OSError, ValueError, LookupError) as error:  # the last two: what answers is another
            raise StoreError(self._away(error)) from error

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> Result:
        """The answer to one SELECT with {name:Type} parameters. Raises StoreError."""
        client = self._connected
        try:
            answer = client.query(sql, parameters=dict(parameters or {}))
            names = answer.column_names
            if not names:  # an empty answer has no header: ask for it alone
                with contextlib.suppress(ClickHouseError):  # SHOW cannot be asked so
                    question = f"SELECT * FROM (\n{sql.strip().rstrip(';')}\n) LIMIT 0"  # noqa: S608 - as the caller wrote it
                    names = client.query(question, parameters=dict(parameters or {})).column_names
        except (ClickHouseError, OSError) as error:
            raise StoreError(_without_time(sql, error) or self._said(error)) from error
        except ValueError as error:  # of the client: a parameter or an answer that it cannot write or read
            raise StoreError(f"the question or its answer cannot be read: {_one_line(error)}") from error
        return Result(tuple(names), [tuple(row) for row in answer.result_rows])

    def rows(self, sql: str) -> list[tuple[str, ...]]:
        """The rows of a SELECT, every value as text. Raises StoreError."""
        return [tuple(map(str, row)) for row in self.query(sql).rows]

    def run(self, statement: Statement) -> Result:
        """The answer to one of `exporter.clickhouse.queries`. Raises StoreError."""
        return self.query(statement.sql, statement.parameters)

    def pieces(self, sql: str, form: str) -> Iterator[Piece]:
        """The answer to one SELECT in a format of ClickHouse, however long it is, a piece at a time.

        Texts are cut between rows; a piece of Parquet from the embedded store is a file of its own, from a server the
        pieces are one. Raises StoreError, also between pieces.
        """
        client = self._connected
        try:
            if self._endpoint is not None:
                yield from engine_pieces(self._endpoint, f"{sql}\nFORMAT {form}")
            else:
                yield from server_pieces(client, sql, form)
        except EngineError as error:
            raise StoreError(_one_line(error)) from error
        except (*CLIENT_ERRORS, HTTPException, Cut) as error:
            raise StoreError(self._said(error)) from error

    @property
    def _connected(self) -> Client:
        if self._client is None:
            raise StoreError("not connected")
        return self._client

    def _said(self, error: Exception) -> str:
        code = getattr(error, "code", None)
        if code == _UNKNOWN and _NEW_COLUMNS.search(str(error).partition(": In scope ")[0]):
            return "the store is of an earlier version; a bridge of this one brings it up to date when it starts"
        limit = self._limit(code)
        return self._away(error) if _no_answer(error) else f"{limit}{_one_line(error)}"

    def _limit(self, code: object) -> str:
        """Which limit a question met, by the name of its setting; "" when it met none."""
        engine = self._settings.engine
        if self._settings.server is not None:
            return f"the question took longer than {self._timeout_s:g} s: " if code == _TOO_LONG else ""
        if code == _TOO_LONG:
            return (
                f"the question took longer than {engine.reader_max_execution_s:g} s (engine.reader_max_execution_s): "
            )
        if code == _TOO_MUCH_MEMORY:
            most = f"{engine.reader_max_memory_bytes / 1e6:.0f} MB (engine.reader_max_memory_bytes)"
            return f"the question needs more memory than {most}; ask about less time: "
        return ""

    def _away(self, error: Exception) -> str:
        """Which store gave no answer, or none that is ClickHouse's, and the reason in a few words."""
        server = self._settings.server
        whose = f"ClickHouse on {server.host}:{server.port}" if server else f"the store in {self._settings.engine_path}"
        if _no_answer(error):
            return f"{whose} does not answer: {why(error)}"
        if getattr(error, "code", None) is None:
            return f"{whose} does not answer as ClickHouse does: {_one_line(error)[:100]}"
        return f"{whose} refuses: {_one_line(error)}"

    def close(self) -> None:
        """Disconnect, and stop the engine if this reader started it. May be called twice."""
        if self._client is not None:
            with contextlib.suppress(ClickHouseError, OSError):
                self._client.close()
            self._client = None
        if self._engine is not None:
            engine, self._engine = self._engine, None
            if engine.stdin is not None:
                engine.stdin.close()
            if engine.stdout is not None:
                engine.stdout.close()
            engine.wait()

    def _connect_embedded(self, data: Path) -> Client:
        if not data.is_dir():
            raise StoreError(f"there is no store in {data}")
        deadline = time.monotonic() + self._settings.engine.lock_wait_s
        while True:
            client = self._running(data) or (self._own(data) if self._own_engine else None)
            if client is not None:
                return client
            if not self._own_engine:
                raise StoreError(f"the engine of the store in {data} does not run now")
            if time.monotonic() > deadline:
                raise StoreError(f"another process holds the store in {data} and does not answer")
            time.sleep(_POLL_S)

    def _running(self, data: Path) -> Client | None:
        """A connection to the engine that says it runs, None when it does not answer."""
        found = read_published(data)
        if found is None:
            return None
        try:
            return self._connect(self._reader(data, found.port))
        except (ClickHouseError, OSError) as error:
            if getattr(error, "code", None) is None:
                return None  # nobody there: it died, or is stopping
            raise

    def _own(self, data: Path) -> Client | None:
        """A connection to an engine of our own, None when another process holds the data."""
        limits = self._settings.engine.model_copy(update={"lock_wait_s": 0.0, "endpoint": "", "users": {}})
        engine = subprocess.Popen(
            command(data, limits),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,  # a Ctrl-C on the terminal is for the one who asked, not for the engine
        )
        self._engine = engine
        said = json.loads((engine.stdout and engine.stdout.readline()) or b'{"error": "it ended without a word"}')
        if "error" in said:
            self.close()
            if "in use by another process" in said["error"]:
                return None
            raise StoreError(f"the store in {data} cannot be opened: {_one_line(said['error'])}")
        return self._connect(self._reader(data, int(said["port"])))

    def _reader(self, data: Path, port: int) -> Endpoint:
        self._endpoint = Endpoint("127.0.0.1", port, self.user, password(data, self.user), self._settings.database)
        return self._endpoint

    def _connect(self, endpoint: Endpoint) -> Client:
        limits: dict[str, Any] = {
            "readonly": 2,
            "max_execution_time": self._timeout_s,
            "cancel_http_readonly_queries_on_client_close": 1,  # as the embedded engine does
        }
        if not self._own_engine:
            limits["max_memory_usage"] = _PAGE_MEMORY_BYTES
        server = self._settings.server is not None  # it stops the question itself, and says so
        read_s = self._timeout_s + (_ANSWER_S if server or self._own_engine else 0)
        return connected(endpoint, limits if server else None, read_s, database=endpoint.database)


def connected(
    endpoint: Endpoint,
    settings: dict[str, Any] | None = None,
    read_s: float = _TIMEOUT_S + _ANSWER_S,
    **options: Any,
) -> Client:
    """A client for questions of a person. Raises the client's ClickHouseError, OSError."""
    client: Any = connect(
        endpoint,
        **options,
        settings=settings,
        compress=False,
        send_receive_timeout=_OPEN_S,
        tz_mode="aware",
        # Text such as "(for url http://...)" is of no use on a terminal.
        show_clickhouse_errors="scrub",
    )
    client.timeout = Timeout(connect=_OPEN_S, read=read_s)
    return cast("Client", client)


def _no_answer(error: Exception) -> bool:
    """Whether nobody answered, as opposed to a store that says no, and to something else on its port."""
    unheard = isinstance(error, (OperationalError, OSError)) and getattr(error, "code", None) is None
    return unheard and "received HTTP status" not in str(error)


def _without_time(sql: str, error: Exception) -> str:
    """What to write where a question of the view `api_calls` names no time; "" where something else was refused."""
    code = getattr(error, "code", None)
    if code is None or not (_CALLS if code == _NOT_SET else _CALLS_ALONE).search(sql):
        return ""
    return "api_calls is asked about a time: FROM api_calls(since = now() - INTERVAL 1 DAY, until = now())"


def _one_line(error: object) -> str:
    """The engine's message without the statement, which it likes to repeat."""
    return " ".join(str(error).split()).partition(": In scope ")[0][:500]
