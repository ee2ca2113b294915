"""Whose events are erased: none of theirs is delivered any more, whatever brings it back, replay, retry or a sender.

`erased.jsonl` in the spool's directory has a line for each erasure. It holds no ids: hashes with a key of this spool.
`weighbridge erase` appends to it while the bridge runs; a writer looks whether it has changed before every attempt.

The command must know when no attempt is under way that began before: each sink holds a lock while it writes, shared
with nobody but the command, which takes it once, and so waits for the attempt.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from exporter.durable import replace_file, sync_folder
from exporter.sink import Batch
from mapping.event import Event

log = logging.getLogger(__name__)

NAME: Final = "erased.jsonl"
KEY: Final = "erased.key"
# An erasure holds for so long: longer than senders, collectors and dead letters repeat themselves.
HOLDS_S: Final = 90 * 86_400
_LOCK_PAUSE_S: Final = 0.01


class Erasure(NamedTuple):
    """Events of this user or company, of one tenant or of all (None), that began before or came before.

    before_unix_ns: of the start of an event. came_before_unix_ns: of its arrival, 0 where that does not matter.
    """

    token: str
    user: str  # hash, or "" where it is about a company
    company: str
    tenant: str | None
    before_unix_ns: int
    came_before_unix_ns: int
    until_unix_s: int

    def covers(self, tenant: str, start_unix_ns: int, received_unix_ns: int) -> bool:
        if self.tenant is not None and tenant != self.tenant:
            return False
        return start_unix_ns < self.before_unix_ns or received_unix_ns < self.came_before_unix_ns


class Erasures:
    """Of one sink's writer. directory: of the whole spool; lock: a file that is locked while the sink writes."""

    def __init__(self, directory: Path, lock: Path) -> None:
        self._path = directory / NAME
        self._key = directory / KEY
        self._lock_path = lock
        self._lock = -1
        self._writing = 0
        self._seen: tuple[int, int, int] | None = None
        self._secret = b""
        self._users: dict[str, list[Erasure]] = {}
        self._companies: dict[str, list[Erasure]] = {}

    async def write(self, batch: Batch, write: Callable[[Batch], Awaitable[Sequence[Event]]]) -> Sequence[Event]:
        """As `Sink.write`, without the events that are erased; those are among the ones left out."""
        await self._begin()
        try:
            erased = self.among(batch.events)
            if not erased:
                return await write(batch)
            gone = set(map(id, erased))
            kept = [event for event in batch.events if id(event) not in gone]
            left_out = await write(batch._replace(events=kept)) if kept else ()
            return [*left_out, *erased]
        finally:
            self._end()

    def among(self, events: Sequence[Event], *, companies_only: bool = False) -> list[Event]:
        """Those of the events that are erased."""
        self._look()
        users = {} if companies_only else self._users
        if not users and not self._companies:
            return []
        of = self._known(users)
        return [
            event
            for event in events
            if any(
                erasure.covers(event.tenant, event.start_unix_ns, event.received_unix_ns)
                for erasure in of(event.user_id, event.company_id)
            )
        ]

    def known(self) -> Callable[[str, str], list[Erasure]] | None:
        """What says which erasures a user and a company may be under, as the list is now; None when there are none."""
        self._look()
        return self._known(self._users) if self._users or self._companies else None

    def _known(self, users: Mapping[str, list[Erasure]]) -> Callable[[str, str], list[Erasure]]:
        hashed: dict[tuple[str, str], list[Erasure]] = {}

        def of(kind: str, identity: str, known: Mapping[str, list[Erasure]]) -> list[Erasure]:
            if not identity or not known:
                return []
            if (kind, identity) not in hashed:
                hashed[kind, identity] = known.get(hash_of(self._secret, kind, identity), [])
            return hashed[kind, identity]

        return lambda user, company: [*of("user", user, users), *of("company", company, self._companies)]

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def _begin(self) -> None:
        if self._lock < 0:
            self._lock_path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        while not self._writing:  # the command holds it for a moment
            try:
                fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_LOCK_PAUSE_S)
        self._writing += 1

    def _end(self) -> None:
        self._writing -= 1
        if not self._writing:
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _look(self) -> None:
        """Read the list where it has changed."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            self._seen, self._users, self._companies = None, {}, {}
            return
        seen = status.st_ino, status.st_size, status.st_mtime_ns
        if seen == self._seen:
            return
        self._secret = self._key.read_bytes()
        users: dict[str, list[Erasure]] = {}
        companies: dict[str, list[Erasure]] = {}
        for erasure in read(self._path):
            if erasure.user:
                users.setdefault(erasure.user, []).append(erasure)
            if erasure.company:
                companies.setdefault(erasure.company, []).append(erasure)
        self._seen, self._users, self._companies = seen, users, companies


def read(path: Path) -> list[Erasure]:
    """Those that hold now. A line that cannot be read is passed over, and said. Raises OSError."""
    found = []
    now = time.time()
    for line in path.read_bytes().splitlines():
        try:
            erasure = Erasure(**orjson.loads(line))
        except (ValueError, TypeError):
            log.error("a line of %s cannot be read: what it says is not kept to", path)
            continue
        if erasure.until_unix_s > now:
            found.append(erasure)
    return found


def hash_of(secret: bytes, kind: str, identity: str) -> str:
    """What stands in the list for an id."""
    return hmac.new(secret, f"{kind}\0{identity}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def add(directory: Path, users: Sequence[str], companies: Sequence[str], **terms: Any) -> str:
    """Put an erasure into the list, durably; its token. terms: the other fields of Erasure. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    key, path = directory / KEY, directory / NAME
    if not key.exists():
        replace_file(key, secrets.token_bytes(32))
    secret, token = key.read_bytes(), secrets.token_hex(8)
    made = [Erasure(token, hash_of(secret, "user", user), "", **terms) for user in users]
    made += [Erasure(token, "", hash_of(secret, "company", company), **terms) for company in companies]
    lines = [orjson.dumps(erasure._asdict()) + b"\n" for erasure in [*(read(path) if path.exists() else []), *made]]
    replace_file(path, lines)
    sync_folder(directory)
    return token


def wait_for_writers(locks: Sequence[Path]) -> None:
    """Return when every attempt that was under way has ended. New ones read the list again."""
    for path in locks:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        finally:
            os.close(descriptor)
