"""HTTPS on the receiving port: renewed certificates, and clients that must show one."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from bridge import eventually
from otlp_http import PROTOBUF, RunningReceiver, receiver, spans
from receiver.counts import Key

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="makes its certificates with the openssl command"
)


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


def authority(directory: Path, name: str) -> tuple[Path, Path]:
    """A self-signed authority: certificate and key."""
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # without it Python 3.13 trusts no authority
    openssl(
        "req",
        "-x509",
        *curve,
        *usage,
        "-keyout",
        str(key),
        "-out",
        str(certificate),
        "-days",
        "2",
        "-subj",
        f"/CN={name}",
    )
    return certificate, key


def issue(directory: Path, name: str, ca: tuple[Path, Path]) -> tuple[Path, Path]:
    """A certificate for localhost signed by the authority, and its key."""
    certificate, key, request = directory / f"{name}.crt", directory / f"{name}.key", directory / f"{name}.csr"
    names = directory / f"{name}.ext"
    names.write_text(
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\n"
    )
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-new", *curve, "-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}")
    signed_by = ("-CA", str(ca[0]), "-CAkey", str(ca[1]), "-CAcreateserial")
    openssl(
        "x509", "-req", "-in", str(request), *signed_by, "-out", str(certificate), "-days", "2", "-extfile", str(names)
    )
    return certificate, key


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return authority(tmp_path_factory.mktemp("ca"), "test-authority")


def trusting(ca: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(ca[0]))


def post(server: RunningReceiver, context: ssl.SSLContext) -> int:
    connection = http.client.HTTPSConnection("localhost", server.port, context=context, timeout=60)
    try:
        connection.request("POST", "/v1/traces", spans(2), {"Content-Type": PROTOBUF})
        return connection.getresponse().status
    finally:
        connection.close()


def secure_connection(server: RunningReceiver, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("localhost", server.port), timeout=60)
    return context.wrap_socket(plain, server_hostname="localhost")


def common_name(server: RunningReceiver, context: ssl.SSLContext) -> str:
    """Whose certificate is served to a new connection."""
    with secure_connection(server, context) as secure:
        certificate: Any = secure.getpeercert()
    return str(dict(pair[0] for pair in certificate["subject"])["commonName"])


def test_https_is_served_with_http_1_1_and_tls_1_2_or_later(tmp_path: Path, ca: tuple[Path, Path]) -> None:
    certificate, key = issue(tmp_path, "first", ca)
    with receiver(tls={"certificate_file": certificate, "private_key_file": key}) as server:
        context = trusting(ca)
        assert post(server, context) == 200
        assert server.last.decoded.accepted == 2
        context.set_alpn_protocols(["h2", "http/1.1"])
        with secure_connection(server, context) as secure:
            assert secure.selected_alpn_protocol() == "http/1.1"
            assert secure.version() in ("TLSv1.2", "TLSv1.3")


def test_plain_http_on_the_tls_port_harms_nobody(tmp_path: Path, ca: tuple[Path, Path]) -> None:
    certificate, key = issue(tmp_path, "first", ca)
    with receiver(tls={"certificate_file": certificate, "private_key_file": key}) as server:
        for _ in range(5):
            with server.connect() as wire:
                wire.send(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n\r\n")
                assert wire.is_closed()
        assert post(server, trusting(ca)) == 200


def test_a_handshake_that_never_ends_is_given_up(tmp_path: Path, ca: tuple[Path, Path]) -> None:
    certificate, key = issue(tmp_path, "first", ca)
    tls = {"certificate_file": certificate, "private_key_file": key}
    with receiver(tls=tls, header_timeout_s=0.5) as server, server.connect() as wire:
        started = time.monotonic()
        assert wire.is_closed()
        assert time.monotonic() - started < 30


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path, ca: tuple[Path, Path]) -> None:
    certificate, key = issue(tmp_path, "first", ca)
    tls = {"certificate_file": certificate, "private_key_file": key, "reload_interval_s": 0.05}
    with receiver(tls=tls) as server:
        context = trusting(ca)
        assert common_name(server, context) == "first"
        (tmp_path / "next").mkdir()
        new_certificate, new_key = issue(tmp_path / "next", "second", ca)

        os.replace(new_certificate, certificate)  # the key still is the old one: the pair does not fit
        time.sleep(0.3)
        assert common_name(server, context) == "first"
        os.replace(new_key, key)
        deadline = time.monotonic() + 5
        while common_name(server, context) != "second" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert common_name(server, context) == "second"

        certificate.write_text("no certificate")
        time.sleep(0.3)
        assert common_name(server, context) == "second"
        assert post(server, context) == 200


def test_with_a_client_authority_only_its_clients_may_send(tmp_path: Path, ca: tuple[Path, Path]) -> None:
    certificate, key = issue(tmp_path, "server", ca)
    clients = authority(tmp_path, "client-authority")
    client = issue(tmp_path, "client", clients)
    stranger = issue(tmp_path, "stranger", authority(tmp_path, "another-authority"))
    tls = {"certificate_file": certificate, "private_key_file": key, "client_ca_file": clients[0]}
    with receiver(tls=tls) as server:
        known = trusting(ca)
        known.load_cert_chain(*client)
        assert post(server, known) == 200
        unknown = trusting(ca)
        unknown.load_cert_chain(*stranger)
        for context in (trusting(ca), unknown):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                post(server, context)
        assert len(server.intake.received) == 1


@pytest.mark.parametrize("missing", ["certificate_file", "private_key_file", "client_ca_file"])
def test_a_missing_file_stops_the_start(tmp_path: Path, ca: tuple[Path, Path], missing: str) -> None:
    certificate, key = issue(tmp_path, "server", ca)
    tls = {"certificate_file": certificate, "private_key_file": key, missing: tmp_path / "absent.pem"}
    with pytest.raises(FileNotFoundError), receiver(tls=tls):
        pass


def test_handshakes_that_fail_are_counted_and_told(
    tmp_path: Path, ca: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = issue(tmp_path, "server", ca)
    tls = {"certificate_file": str(certificate), "private_key_file": str(key)}
    with receiver(tls=tls) as server, caplog.at_level(logging.WARNING):
        counted = server.counts.refused_requests
        with socket.create_connection(("127.0.0.1", server.port), 20) as wire:
            wire.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(OSError):
                wire.recv(1000)
        eventually(lambda: counted[Key("", "", "plain_on_tls")] == 1, "plain HTTP is counted")
        with socket.create_connection(("127.0.0.1", server.port), 20) as wire, pytest.raises(ssl.SSLError):
            ssl.create_default_context().wrap_socket(wire, server_hostname="localhost")  # it does not trust us
        eventually(lambda: counted[Key("", "", "tls_handshake")] == 1, "the handshake is counted")
        with socket.create_connection(("127.0.0.1", server.port), 20):
            pass  # a probe that only looks whether the port is open
        assert post(server, trusting(ca)) == 200
        assert counted[Key("", "", "tls_handshake")] == 1
    said = [record.getMessage() for record in caplog.records if record.name == "receiver.peers"]
    assert len(said) == 2
