"""TLS of the receiving port: certificates that are read again when their files change, and mutual TLS."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from receiver.settings import TlsSettings

log = logging.getLogger(__name__)


class Tls:
    """A server context whose certificate can be renewed while it is in use; connections made before keep theirs."""

    def __init__(self, settings: TlsSettings, failed: Callable[[str, str], None] = lambda reason, detail: None) -> None:
        """failed: told of each handshake that fails, with a reason of receiver.peers.STRANGERS and what OpenSSL says.
        Raises OSError when a file is missing or no certificate with its key."""
        self._settings = settings
        self._failed = failed
        self._versions = self._file_versions()
        self.context = self._build()

    def reload(self) -> bool:
        """Use the files again if they changed; whether they did. Files that do not fit together leave all as it was.

        An authority that is removed from client_ca_file stays trusted until a restart: a context can only be added to.
        """
        try:
            versions = self._file_versions()
            if versions == self._versions:
                return False
            self._build()  # a trial: the context in use must not end with a certificate of another key
            self._load(self.context)
        except OSError as error:
            log.warning("certificates not reloaded, the old ones stay in use: %s", error)
            return False
        self._versions = versions
        log.info("certificates reloaded")
        return True

    def _build(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self._settings.client_ca_file is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        self._load(context)
        context.sslobject_class = _watch(self._failed)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        certificate, key = self._settings.certificate_file, self._settings.private_key_file
        try:
            context.load_cert_chain(certificate, key, password="")  # else OpenSSL asks the terminal for one
        except ssl.SSLError as error:
            raise OSError(f"{certificate} and {key} are not a PEM certificate and its key: {error.reason}") from error
        if self._settings.client_ca_file is not None:
            try:
                context.load_verify_locations(self._settings.client_ca_file)
            except ssl.SSLError as error:
                raise OSError(f"{self._settings.client_ca_file} holds no PEM certificate: {error.reason}") from error

    def _file_versions(self) -> list[tuple[int, int, int]]:
        files = (
            self._settings.certificate_file,
            self._settings.private_key_file,
            self._settings.client_ca_file,
        )
        return [_version(path) for path in files if path is not None]


def _watch(failed: Callable[[str, str], None]) -> type[ssl.SSLObject]:
    """A TLS connection that tells when its handshake fails: event loops drop such connections without a word."""

    class Watched(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
                raise  # it goes on, or the client went away
            except ssl.SSLError as error:
                why = error.reason or ""
                failed("plain_on_tls" if why == "HTTP_REQUEST" else "tls_handshake", why[:60])
                raise

    return Watched


def _version(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
