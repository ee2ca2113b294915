"""`weighbridge check --live`: every destination is tried with its real credentials, and none is changed.

A server is asked who it is and what the user may do there, Moesif for its configuration, Kafka for its topics, an OTLP
endpoint gets a request without records, a file or folder is opened. What goes wrong is told in words: first by the
destination, and where it says nothing, by a look at name, port and certificate on the way there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import click
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from pydantic import SecretStr

from exporter.clickhouse.client import connect
from exporter.clickhouse.engine.endpoint import Endpoint, read_published
from exporter.clickhouse.errors import CLIENT_ERRORS, sink_error
from exporter.clickhouse.schema import Place
from exporter.clickhouse.sink import OLDEST_SERVER
from exporter.errors import SinkError, Unauthorised
from exporter.http_address import without_secrets
from exporter.http_answer import error_of
from weighbridge.commands.errors import CommandFailed
from weighbridge.commands.plain_text import visible
from weighbridge.settings import Settings

# For one destination, whatever it does; the ways to it have their own limits below that.
MOST_S = 30.0
ANSWER_S = 10.0  # for one answer
LOOK_S = 3.0  # for a name, a connection or a handshake, when a destination said nothing
_RIGHTS = ("SELECT", "INSERT", "ALTER", "CREATE TABLE", "CREATE VIEW")  # on the database; docs/operations.md


class Found(NamedTuple):
    """What became of one destination."""

    name: str
    well: bool
    said: str


class Wrong(Exception):
    """A destination would not take events; the text says why and what to do."""


def run_live(settings: Settings) -> None:
    """Prints a line for each destination. Raises CommandFailed when one of them would take nothing."""
    found = asyncio.run(_try_all(settings))
    width = max(len(one.name) for one in found)
    for one in found:
        click.echo(f"{one.name:<{width}}  {'ok   ' if one.well else 'WRONG'}  {visible(one.said)}")
    wrong = [one.name for one in found if not one.well]
    if wrong:
        raise CommandFailed(f"not in order: {', '.join(wrong)}")


async def _try_all(settings: Settings) -> list[Found]:
    tries = [(sink.name, _WAYS[sink.type](sink)) for sink in settings.exporter.sinks]
    telemetry = settings.telemetry
    if telemetry.otlp_endpoint:
        tries.append(("telemetry", _post_nothing(telemetry.otlp_endpoint, ["metrics"], telemetry.headers)))
    return list(await asyncio.gather(*(_try(name, trying) for name, trying in tries)))


async def _try(name: str, trying: Awaitable[str]) -> Found:
    try:
        async with asyncio.timeout(MOST_S):
            return Found(name, True, await trying)
    except (Wrong, SinkError) as error:
        return Found(name, False, str(error))
    except TimeoutError:
        return Found(name, False, f"no answer within {MOST_S:.0f} s")


# -- one way to each kind of destination ---------------------------------------------------------------------


async def _clickhouse(sink: Any) -> str:
    if sink.engine_path is not None:
        return await asyncio.to_thread(_embedded, sink.engine_path)
    return await asyncio.to_thread(_server, sink.server, Place.of(sink))


def _server(server: Endpoint, place: Place) -> str:
    where = f"{server.host}:{server.port}"
    try:
        client = connect(server._replace(database=""), connect_timeout=int(LOOK_S), send_receive_timeout=int(ANSWER_S))
    except CLIENT_ERRORS as error:
        refusal = sink_error(error, about_rows=False)
        if isinstance(refusal, Unauthorised):
            raise Wrong(f"{where} does not let user {server.user!r} in: {refusal}") from error
        raise Wrong(_look(server.host, server.port, secure=server.secure) or f"{where}: {refusal}") from error
    try:
        return _state_of(client, where, place, server.user)
    except CLIENT_ERRORS as error:
        raise Wrong(f"{where}: {sink_error(error, about_rows=False)}") from error
    finally:
        client.close()


def _state_of(client: Client, where: str, place: Place, user: str) -> str:
    if not client.min_version(OLDEST_SERVER):
        raise Wrong(f"{where}: ClickHouse {client.server_version} is too old: {OLDEST_SERVER} or newer is needed")
    clusters = "SELECT count() FROM system.clusters WHERE cluster = {c:String}"
    if place.cluster and not _number(client, clusters, c=place.cluster):
        raise Wrong(f"{where} knows no cluster {place.cluster!r}; SHOW CLUSTERS there lists those it knows")
    there = _number(client, f"EXISTS DATABASE {place.database}")
    rights = _RIGHTS if there else ("CREATE DATABASE", *_RIGHTS)
    missing = [right for right in rights if not _may(client, right, place.database)]
    if missing:
        raise Wrong(f"{where}: user {user!r} may not {', '.join(missing)} on {place.database}.*; GRANT it there")
    if not there or not _number(client, f"EXISTS TABLE {place.table}"):
        return f"ClickHouse {client.server_version} at {where}; {place.table} will be made at the first start"
    events = _number(client, f"SELECT count() FROM {place.table}")  # noqa: S608 a name from the settings
    return f"ClickHouse {client.server_version} at {where}; {place.table} has {events:,} events"


def _may(client: Client, right: str, database: str) -> bool:
    """Whether the user has a right; yes where the server cannot say."""
    try:
        return bool(_number(client, f"CHECK GRANT {right} ON {database}.*"))
    except (ClickHouseError, ValueError):
        return True


def _number(client: Client, sql: str, **parameters: str) -> int:
    return int(str(client.command(sql, parameters=parameters)))


def _embedded(path: Path) -> str:
    published = read_published(path.absolute())
    if published is not None and not _look("127.0.0.1", published.port, secure=False):
        return f"the engine of a running bridge (process {published.pid}) has {path}"
    with tempfile.TemporaryDirectory(prefix="weighbridge-check-") as folder:
        # In a process of its own: on a CPU that the engine is not built for it ends by a signal.
        trial = "import sys, chdb; c = chdb.connect(sys.argv[1]); print(c.query('SELECT version()', 'TSV'), end='')"
        command = [sys.executable, "-P", "-c", trial, str(Path(folder) / "trial")]
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=MOST_S, cwd=folder
        )
    if done.returncode < 0:
        raise Wrong(f"the engine cannot run here: it ends by signal {-done.returncode} (x86-64 without AVX2?)")
    if done.returncode:
        raise Wrong(f"the engine cannot run here: {done.stderr.strip().splitlines()[-1][:300]}")
    place = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    free = shutil.disk_usage(place).free
    return f"the engine {done.stdout.strip()} runs here; {path} can be written, {free / 1e9:.0f} GB are free"


async def _moesif(sink: Any) -> str:
    base = sink.base_url.rstrip("/")
    key = {"X-Moesif-Application-Id": sink.application_id.get_secret_value()}
    status, headers = await _asked("GET", f"{base}/v1/config", key)
    error = error_of(status, headers)
    if isinstance(error, Unauthorised):
        raise Wrong(f"{without_secrets(base)} does not know this application_id ({status})")
    if error is not None:
        raise Wrong(f"{without_secrets(base)}: {error}; is base_url right?")
    return f"{without_secrets(base)} knows this application"


async def _otlphttp(sink: Any) -> str:
    return await _post_nothing(sink.endpoint, sink.signals, sink.headers)


async def _post_nothing(endpoint: str, signals: list[str], headers: dict[str, SecretStr]) -> str:
    """A request without records, as an exporter would send it: an empty body of protobuf."""
    shown = without_secrets(endpoint)
    plain = {name: value.get_secret_value() for name, value in headers.items()}
    for signal in signals:
        url = f"{endpoint.rstrip('/')}/v1/{signal}"
        status, answered = await _asked("POST", url, {**plain, "Content-Type": "application/x-protobuf"})
        if status in (401, 403):
            raise Wrong(f"{shown} does not let us in ({status}): look at `headers`")
        if status == 404:
            raise Wrong(f"{shown} has no /v1/{signal} (404): the address ends before /v1, or it takes no {signal}")
        error = error_of(status, answered)
        if error is not None:
            raise Wrong(f"{shown}/v1/{signal}: {error}")
    return f"{shown} takes {' and '.join(signals)}"


async def _asked(method: str, url: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, headers=headers, data=b"" if method == "POST" else None) as answer,
        ):
            return answer.status, dict(answer.headers)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        seen = await asyncio.to_thread(_look, parts.hostname or "", port, secure=parts.scheme == "https")
        raise Wrong(seen or f"no answer from {parts.hostname}:{port} ({type(error).__name__})") from error


async def _kafka(sink: Any) -> str:
    from exporter.sinks.kafka_topics import topics

    try:
        known = await asyncio.to_thread(topics, sink, ANSWER_S)
    except SinkError as error:
        for broker in sink.brokers:
            host, _, port = broker.rpartition(":")
            seen = await asyncio.to_thread(_look, host, int(port or 9092), secure=False)
            if seen:
                raise Wrong(seen) from error
        raise Wrong(f"{error}; look at `options` (security.protocol, sasl.*, ssl.*)") from error
    wanted = dict.fromkeys(sink.topic_of(kind) for kind in ("", "log", "action"))
    missing = [topic for topic in wanted if topic not in known]
    if missing:
        raise Wrong(
            f"the brokers have no topic {', '.join(missing)}; make it, or let them make it at the first message"
        )
    return f"{', '.join(sink.brokers)} have {', '.join(wanted)}"


async def _jsonlines(sink: Any) -> str:
    return "standard output" if sink.path == "-" else await asyncio.to_thread(_file, Path(sink.path))


def _file(path: Path) -> str:
    try:
        if path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
        else:
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as error:
        raise Wrong(f"{path} cannot be written: {error.strerror}") from error
    return f"{path} can be written, {shutil.disk_usage(path.parent).free / 1e9:.0f} GB are free"


async def _blackhole(sink: Any) -> str:
    return "takes everything and keeps nothing"


_WAYS: dict[str, Callable[[Any], Awaitable[str]]] = {
    "blackhole": _blackhole,
    "clickhouse": _clickhouse,
    "jsonlines": _jsonlines,
    "kafka": _kafka,
    "moesif": _moesif,
    "otlphttp": _otlphttp,
}


# -- what is wrong on the way there --------------------------------------------------------------------------


def _look(host: str, port: int, *, secure: bool) -> str:
    """Why nobody can be talked to there; "" when name, port and certificate are in order."""
    where = f"{host}:{port}"
    try:
        socket.getaddrinfo(host, port)
    except OSError:
        return f"the name {host} is not known here"
    try:
        connection = socket.create_connection((host, port), LOOK_S)
    except ConnectionRefusedError:
        return f"nobody listens on {where} (connection refused)"
    except TimeoutError:
        return f"{where} does not answer within {LOOK_S:.0f} s: a firewall, or the wrong address"
    except OSError as error:
        return f"{where} cannot be reached: {error.strerror or error}"
    with connection, suppress(TimeoutError):
        if secure:
            try:
                with ssl.create_default_context().wrap_socket(connection, server_hostname=host):
                    pass
            except ssl.SSLCertVerificationError as error:
                return f"the certificate of {where} is not accepted: {error.verify_message}"
            except ssl.SSLError:
                return f"{where} does not speak TLS; http:// instead of https://?"
            except OSError as error:
                return f"{where} ends the TLS handshake: {error.strerror or error}"
    return ""
