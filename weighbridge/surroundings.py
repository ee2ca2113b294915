"""What settings need on this machine before the bridge can run: files that can be read, directories to write to.

Looked at by `weighbridge check`, at start and at SIGHUP; other commands need none of it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from receiver.auth import parse_keys
from receiver.settings import TlsSettings
from receiver.tls import Tls
from weighbridge.settings import Settings, SettingsError

# librdkafka's options that name files it reads.
_KAFKA_FILES = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.keystore.location")


def refuse_unusable(settings: Settings) -> None:
    """Raises SettingsError for what is missing or cannot be used: the first of it, and how much more."""
    _refuse(list(_complaints(settings)))


def refuse_unusable_sinks(settings: Settings) -> None:
    """The same for the sinks alone, which otherwise wait for what never comes; the other parts refuse to start."""
    _refuse(list(_sinks(settings)))


def _refuse(complaints: list[str]) -> None:
    if complaints:
        more = len(complaints) - 1
        raise SettingsError(complaints[0] + (f" (and {more} more)" if more else ""))


def _complaints(settings: Settings) -> Iterator[str]:
    if settings.receiver.tls is not None:
        yield from _tls("receiver.tls", settings.receiver.tls)
    if (keys_file := settings.receiver.auth.keys_file) is not None:
        yield from _keys("receiver.auth.keys_file", keys_file)
    yield from _directory("spool.directory", settings.spool.directory)
    yield from _sinks(settings)


def _tls(path: str, tls: TlsSettings) -> Iterator[str]:
    files = {
        "certificate_file": tls.certificate_file,
        "private_key_file": tls.private_key_file,
        "client_ca_file": tls.client_ca_file,
    }
    unreadable = [why for name, file in files.items() if file is not None for why in _file(f"{path}.{name}", file)]
    yield from unreadable
    if not unreadable:
        try:
            Tls(tls)
        except OSError as error:
            yield f"{path}: {error.strerror if error.errno and error.strerror else error}"


def _keys(path: str, file: Path) -> Iterator[str]:
    unreadable = list(_file(path, file))
    yield from unreadable
    if not unreadable:
        try:
            if not parse_keys(file.read_text(encoding="utf-8-sig")):
                yield f"{path}: {file} has no key in it; write `tenant:key`, one a line"
        except UnicodeDecodeError:
            yield f"{path}: {file} is no text"
        except ValueError as error:
            yield f"{path}: {file}: {error}"


def _sinks(settings: Settings) -> Iterator[str]:
    for index, sink in enumerate(settings.exporter.sinks):
        yield from _sink(f"exporter.sinks.{index}", sink)


def _sink(path: str, sink: Any) -> Iterator[str]:
    match sink.type:
        case "clickhouse":
            if sink.engine_path is not None:
                if importlib.util.find_spec("chdb") is None:
                    yield (
                        f"{path}.dsn: the embedded store needs the Python package `chdb-core`, which is not installed "
                        "(the small image has none); name a server, http://user:password@host:8123/database"
                    )
                yield from _directory(f"{path}.dsn", sink.engine_path)
        case "jsonlines":
            if sink.path != "-":
                yield from _written(f"{path}.path", Path(sink.path))
        case "kafka":
            for option in _KAFKA_FILES:
                value = sink.options.get(option)
                file = value.get_secret_value() if isinstance(value, SecretStr) else value
                if isinstance(file, str) and file != "probe" and not Path(file).is_dir():  # probe: look where CAs lie
                    yield from _file(f"{path}.options.{option}", Path(file))


def _file(path: str, file: Path) -> Iterator[str]:
    try:
        with file.open("rb") as opened:
            if not opened.read(1):
                yield f"{path}: {file} is empty"
    except OSError as error:
        yield f"{path}: {file}: {error.strerror}"


def _written(path: str, file: Path) -> Iterator[str]:
    """Of a file that is appended to, or made."""
    if file.is_dir():
        yield f"{path}: {file} is a directory; name a file in it"
    elif file.exists():
        if not os.access(file, os.W_OK):
            yield f"{path}: {file} cannot be written by this user"
    else:
        yield from _directory(path, file.parent)


def _directory(path: str, directory: Path) -> Iterator[str]:
    """Of a directory that is written to, and made where it is not there yet."""
    there = directory.absolute()
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        yield f"{path}: {there} is no directory" + ("" if there.exists() else ", but a link to what is not there")
    elif not os.access(there, os.W_OK | os.X_OK):
        making = "" if there == directory.absolute() else f"{directory} cannot be made: "
        yield f"{path}: {making}{there} cannot be written by this user; change its owner, or name another directory"
