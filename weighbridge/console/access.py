"""Who may look: tokens, the sessions they are exchanged for, and how often one may be tried.

The bridge makes a token of its own at its first start (`token_of`), a file for its owner only. A session is a cookie
that names the token by a digest and ends at a time, signed with a key that follows from the file: it outlives restarts,
and ends when its token is taken out of the settings or the file is replaced.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal, NamedTuple

from exporter.clickhouse.looks import Scope
from weighbridge.admin.tokens import TokenSettings

FILE: Final = "console.token"  # in the spool's directory
SESSION_S: Final = 7 * 86_400  # a working week; then the link or the token again
# Wrong tokens from one address in a minute; a person mistypes a few times, a program needs billions.
_TRIES: Final = 10
_TRIES_S: Final = 60.0
_MOST_ADDRESSES: Final = 4096  # that are remembered; the longest known are forgotten first


class Who(NamedTuple):
    """Who asks, and what they may see and do."""

    name: str
    role: Literal["read", "operate"] = "read"
    scope: Scope = Scope()

    @property
    def may_operate(self) -> bool:
        return self.role == "operate"


def token_of(directory: Path) -> tuple[str, bool]:
    """The bridge's own token, and whether it was made just now. Raises OSError."""
    path = directory / FILE
    try:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        found = path.read_text(encoding="ascii", errors="replace").strip()
        if found:
            return found, False
    except FileNotFoundError:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    token = secrets.token_urlsafe(32)
    new = path.with_name(f"{FILE}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    return token, True


class Access:
    """Tells who a token or a session belongs to."""

    def __init__(self, own: str, tokens: Iterable[TokenSettings] = (), now: Callable[[], float] = time.time) -> None:
        """own: the bridge's own token, which may do everything. now: seconds since the epoch."""
        self._now = now
        self._key = hashlib.sha256(b"weighbridge console sessions\0" + own.encode()).digest()
        self._known = {_digest(own): Who("operator", "operate")}
        for one in tokens:
            scope = Scope(one.tenant, one.company)
            self._known[_digest(one.token.get_secret_value())] = Who(one.name, one.role, scope)

    def of_token(self, token: str) -> Who | None:
        """Looked up by digest, so that how long it takes tells nothing about the token."""
        return self._known.get(_digest(token.strip()))

    def session(self, token: str) -> str:
        """The cookie's value for a token that is known."""
        inside = f"{_digest(token.strip())}.{int(self._now()) + SESSION_S}"
        return f"{inside}.{self._signed(inside)}"

    def of_session(self, cookie: str) -> Who | None:
        inside, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._signed(inside).encode(), signature.encode(errors="replace")):
            return None
        digest, _, ends = inside.partition(".")
        return self._known.get(digest) if int(ends) > self._now() else None

    def _signed(self, text: str) -> str:
        return hmac.new(self._key, text.encode(errors="replace"), hashlib.sha256).hexdigest()


class Tries:
    """How often an address has been wrong lately."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> int:
        """Whole seconds until it may try again; 0 when it may now."""
        wrong = self._wrong.get(address)
        if wrong is None or len(wrong) < _TRIES:
            return 0
        left = wrong[0] + _TRIES_S - self._now()
        return max(0, int(left + 0.999))

    def note(self, address: str) -> None:
        """It was wrong just now."""
        wrong = self._wrong.setdefault(address, deque(maxlen=_TRIES))
        self._wrong.move_to_end(address)
        wrong.append(self._now())
        while len(self._wrong) > _MOST_ADDRESSES:
            self._wrong.popitem(last=False)

    def forget(self, address: str) -> None:
        """It was right."""
        self._wrong.pop(address, None)


def _digest(token: str) -> str:
    return hashlib.sha256(b"weighbridge console token\0" + token.encode(errors="replace")).hexdigest()[:32]
