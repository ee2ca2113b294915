"""Where a store answers and who may ask, and the three small files an engine keeps beside its data.

engine.json       where the running engine listens: {"port", "pid", "version"}; replaced atomically, removed at stop
writer.password   both made on first use, mode 0600: whoever may read them may ask
reader.password
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from exporter.durable import write_file

WRITER = "writer"
READER = "reader"
DEFAULT_DATABASE = "analytics"


class Endpoint(NamedTuple):
    """What a ClickHouse HTTP client needs to connect. Its text form hides the password."""

    host: str
    port: int
    user: str
    password: str
    database: str
    secure: bool = False

    def __repr__(self) -> str:
        scheme = "https" if self.secure else "http"
        return f"{scheme}://{self.user}:***@{self.host}:{self.port}/{self.database}"


class Published(NamedTuple):
    """The content of engine.json."""

    port: int
    pid: int
    version: str


def password(data: Path, user: str) -> str:
    """The password of `user` for the data in this folder, made on first use and readable by its owner alone."""
    path = data / f"{user}.password"
    if not path.exists():
        temporary = data / f".{user}.password.{os.getpid()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(32))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was quicker: its password counts
            os.link(temporary, path)
        temporary.unlink()
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return path.read_text(encoding="utf-8").strip()


def publish(data: Path, published: Published) -> None:
    """Name the running engine in engine.json, in one step."""
    write_file(data / "engine.json", json.dumps(published._asdict()).encode(), sync=False)


def read_published(data: Path) -> Published | None:
    """The engine that says it runs on this data, None where none does or the file cannot be understood.

    It may have died without a word: connect to find out.
    """
    try:
        fields = json.loads((data / "engine.json").read_text(encoding="utf-8"))
        return Published(int(fields["port"]), int(fields["pid"]), str(fields["version"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def withdraw(data: Path) -> None:
    """Remove engine.json if it is this process's own."""
    found = read_published(data)
    if found is not None and found.pid == os.getpid():
        (data / "engine.json").unlink(missing_ok=True)
