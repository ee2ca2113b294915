"""Who sends: the tenant of a request, from the key in its headers. Decided before a byte of the body is read."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from receiver.errors import BadRequest
from receiver.settings import ReceiverSettings

log = logging.getLogger(__name__)

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="weighbridge", Basic realm="weighbridge"'}


class Keys:
    """The keys of all tenants, from the settings and from a file.

    Only digests are kept, salted for this process: looking one up takes time that says nothing about the keys.
    """

    def __init__(self, settings: ReceiverSettings) -> None:
        """Raises OSError or ValueError when the keys file cannot be read."""
        self._salt = os.urandom(32)
        self._file = settings.auth.keys_file
        self._file_version: tuple[int, int, int] | None = None
        self._changing: tuple[int, int, int] | None = None  # the version at the last look, when it was a new one
        self.complaint = ""  # what is wrong with the file now, as logged; "" when its keys are in use
        self._configured = {
            _digest(key.get_secret_value()): name for name, tenant in settings.tenants.items() for key in tenant.keys
        }
        self._tenants: dict[bytes, str] = {}
        self._set(self._read_file())
        required = settings.auth.required
        self.required = bool(self._tenants) or self._file is not None if required is None else required
        self._open = not self.required and not self._tenants and self._file is None

    def tenant_of(self, headers: Mapping[str, str]) -> str:
        """The tenant whose key the request carries; "" when none is needed.

        Raises BadRequest 401 for no key, a wrong one, or one that cannot be read.
        """
        if self._open:
            return ""
        user, key = _read_credentials(headers)
        if not key:
            if self.required:
                raise BadRequest(
                    401, "no key; send X-Moesif-Application-Id or Authorization with Bearer or Basic", _CHALLENGE
                )
            return ""
        tenant = self._tenants.get(self._add_salt(_digest(key)))
        if tenant is None or (user and not hmac.compare_digest(user.encode(), tenant.encode())):
            raise BadRequest(401, "unknown key", _CHALLENGE)
        return tenant

    def reload(self) -> bool:
        """Read the keys file again if it changed; whether it did. A file that cannot be read, or in which there is no
        key any more, changes nothing: 401 for everyone is data lost.

        A new version is read at the second look that finds it, as a file may be written in place and be empty or cut
        short at the first.
        """
        if self._file is None:
            return False
        try:
            version = _version(self._file)
            if version == self._file_version:
                self.complaint = ""
                return False
            if version != self._changing:
                self._changing = version
                return False
            keys = self._read_file()
            if not keys:
                self._file_version = None
                raise ValueError("keys file: no key in it")
        except (OSError, ValueError) as error:
            if str(error) != self.complaint:  # once, not at every look
                self.complaint = str(error)
                log.warning("keys file not reloaded, the keys stay as they were: %s", error)
            return False
        self._set(keys)
        self.complaint = ""
        log.info("keys file reloaded")
        return True

    def _set(self, from_file: dict[bytes, str]) -> None:
        tenants = {**from_file, **self._configured}
        self._tenants = {self._add_salt(digest): name for digest, name in tenants.items()}

    def _add_salt(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._salt, digest_size=16).digest()

    def _read_file(self) -> dict[bytes, str]:
        if self._file is None:
            return {}
        version = _version(self._file)
        keys = parse_keys(self._file.read_text(encoding="utf-8-sig"))
        self._file_version = version
        return keys


def parse_keys(text: str) -> dict[bytes, str]:
    """SHA-256 of each key -> its tenant. Raises ValueError naming the line, never its content."""
    keys: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        tenant, colon, key = (part.strip() for part in line.partition(":"))
        if not colon or not tenant or not key:
            raise ValueError(f"keys file, line {number}: not tenant:key")
        if key.startswith("sha256:"):
            try:
                digest = bytes.fromhex(key.removeprefix("sha256:"))
            except ValueError:
                digest = b""
            if len(digest) != 32:
                raise ValueError(f"keys file, line {number}: sha256: needs 64 hex digits")
        else:
            digest = _digest(key)
        if keys.setdefault(digest, tenant) != tenant:
            raise ValueError(f"keys file, line {number}: the key of another tenant")
    return keys


def _read_credentials(headers: Mapping[str, str]) -> tuple[str, str]:
    """User ("" unless basic) and key as sent, "" for none. Raises BadRequest 401 for credentials of another form."""
    key = headers.get("X-Moesif-Application-Id", "").strip()
    if key:
        return "", key
    scheme, _, credentials = headers.get("Authorization", "").strip().partition(" ")
    credentials = credentials.strip()
    match scheme.lower():
        case "":
            return "", ""
        case "bearer":
            return "", credentials
        case "basic":
            try:
                user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
            except ValueError as error:  # not base64, or not of ASCII, or not of UTF-8
                raise BadRequest(401, "basic credentials are not base64 of user:password", _CHALLENGE) from error
            return user, password
    raise BadRequest(401, "Authorization is neither Bearer nor Basic", _CHALLENGE)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _version(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written or replaced."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
