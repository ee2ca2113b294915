"""OTLP/HTTP: browsers, and who may send (spec/otlp-http.md §11)."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otlp_http import JSON, PROTOBUF, Answer, RunningReceiver, json_spans, receiver, request, spans
from receiver.auth import Keys
from receiver.counts import Key
from receiver.settings import ReceiverSettings

PREFLIGHT = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")
ACME, GLOBEX = "acme-key-1", "globex-key-1"


@pytest.fixture(scope="module")
def browsers() -> Iterator[RunningReceiver]:
    cors = {"allowed_origins": ["https://*.shop.example", "http://localhost:3000"], "allowed_headers": ["X-Key"]}
    with receiver(cors=cors, tenants={"acme": {"keys": [ACME]}}) as running:
        yield running


@pytest.fixture(scope="module")
def private() -> Iterator[RunningReceiver]:
    """A receiver of two tenants."""
    with receiver(tenants={"acme": {"keys": [ACME, "acme-key-2"]}, "globex": {"keys": [GLOBEX]}}) as running:
        yield running


def preflight(server: RunningReceiver, origin: str) -> Answer:
    return server.post(b"", None, method="OPTIONS", headers=(f"Origin: {origin}", *PREFLIGHT))


# -- CORS --------------------------------------------------------------------------------------------------


def test_cors_is_off_by_default_and_a_preflight_a_clean_4xx(server: RunningReceiver) -> None:
    answer = preflight(server, "https://www.shop.example")
    assert answer.status == 405
    assert answer.error.message
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_without_cors_a_post_with_origin_is_treated_as_any_other(server: RunningReceiver) -> None:
    assert server.post(spans(), headers=("Origin: https://www.shop.example",)).status == 200


@pytest.mark.parametrize("origin", ["https://www.shop.example", "https://a.b.shop.example", "http://localhost:3000"])
def test_a_preflight_of_an_allowed_origin_needs_no_credentials(browsers: RunningReceiver, origin: str) -> None:
    answer = preflight(browsers, origin)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert "content-type" in answer.headers["access-control-allow-headers"]
    assert "x-key" in answer.headers["access-control-allow-headers"]
    assert int(answer.headers["access-control-max-age"]) > 0


@pytest.mark.parametrize(
    "origin",
    ["https://shop.example", "https://www.shop.example.evil.example", "http://www.shop.example", "null", "https://x"],
)
def test_other_origins_are_not_allowed(browsers: RunningReceiver, origin: str) -> None:
    answer = preflight(browsers, origin)
    assert 400 <= answer.status < 500
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(spans(), headers=("Origin: http://localhost:3000", f"X-Moesif-Application-Id: {ACME}")), 200),
        (request(spans(), headers=("Origin: http://localhost:3000",)), 401),
        (request(b"\xff", headers=("Origin: http://localhost:3000", f"Authorization: Bearer {ACME}")), 400),
        (request(b"", path="/x", headers=("Origin: http://localhost:3000",)), 404),
    ],
)
def test_the_origin_is_allowed_on_every_answer_errors_included(
    browsers: RunningReceiver, raw: bytes, status: int
) -> None:
    answer = browsers.exchange(raw)
    assert answer.status == status
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert answer.headers["vary"] == "Origin"


def test_every_origin_may_be_allowed() -> None:
    with receiver(cors={"allowed_origins": ["*"]}) as server:
        assert preflight(server, "https://anything.example").status == 204


# -- authentication ----------------------------------------------------------------------------------------


def basic(user: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "header",
    [
        f"X-Moesif-Application-Id: {ACME}",
        f"x-moesif-application-id: {ACME}",
        f"X-MOESIF-APPLICATION-ID:  {ACME} ",
        f"Authorization: Bearer {ACME}",
        f"authorization: bearer {ACME}",
        "Authorization: Bearer acme-key-2",
        basic("acme", ACME),
        basic("", ACME),
    ],
)
def test_a_key_names_its_tenant_however_it_is_sent(private: RunningReceiver, header: str) -> None:
    assert private.post(spans(), headers=(header,)).status == 200
    assert private.last.tenant == "acme"
    assert private.post(spans(), headers=(f"Authorization: Bearer {GLOBEX}",)).status == 200
    assert private.last.tenant == "globex"


WRONG = [
    "X-Other: 1",
    "X-Moesif-Application-Id: wrong",
    "X-Moesif-Application-Id:",
    "Authorization: Bearer wrong",
    "Authorization: Bearer",
    "Authorization: Bearer " + ACME[:-1],
    "Authorization: Bearer " + ACME + "x",
    "Authorization: Basic",
    "Authorization: Basic !!!",
    "Authorization: Basic /////w==",
    "Authorization: Digest username=acme",
    "Authorization: " + ACME,
    "Authorization:",
    basic("globex", ACME),
    basic("acme", ""),
    "Authorization: Bearer \u00e9\u00ff",
]


@pytest.mark.parametrize("header", WRONG)
@pytest.mark.parametrize("media", [PROTOBUF, JSON])
def test_no_key_or_a_wrong_one_is_401_with_a_challenge(private: RunningReceiver, header: str, media: str) -> None:
    answer = private.post(spans() if media == PROTOBUF else json_spans(), media, headers=(header,))
    assert (answer.status, answer.type, answer.error.code) == (401, media, 16)
    assert "Bearer" in answer.headers["www-authenticate"]
    assert ACME not in answer.error.message


@pytest.mark.parametrize(
    ("body", "content_type", "encoding"),
    [(b"\xff", PROTOBUF, None), (b"", "text/plain", None), (b"", None, None), (b"", PROTOBUF, "br"), (b"", JSON, "x")],
)
def test_401_comes_first_whatever_the_body_and_type(
    private: RunningReceiver, body: bytes, content_type: str | None, encoding: str | None
) -> None:
    assert private.post(body, content_type, encoding=encoding).status == 401


def test_401_comes_before_the_body_is_read(private: RunningReceiver) -> None:
    head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nContent-Length: 1000\r\n"
    assert private.exchange(head.encode() + b"\r\n").status == 401
    assert private.exchange(head.encode() + b"Expect: 100-continue\r\n\r\n").status == 401


def test_refusals_are_counted_without_a_tenant(private: RunningReceiver) -> None:
    before = private.counts.refused_requests[Key("", "traces", "unauthenticated")]
    private.post(spans(), headers=("Authorization: Bearer wrong",))
    assert private.counts.refused_requests[Key("", "traces", "unauthenticated")] == before + 1


def test_keys_sent_to_a_receiver_without_tenants_are_ignored(server: RunningReceiver) -> None:
    """A sender set up for another collector may send its key along."""
    assert server.post(spans(), headers=("X-Moesif-Application-Id: anything",)).status == 200
    assert server.last.tenant == ""


def test_authentication_may_be_optional_and_a_wrong_key_is_still_refused() -> None:
    with receiver(tenants={"acme": {"keys": [ACME]}}, auth={"required": False}) as server:
        assert server.post(spans()).status == 200
        assert server.last.tenant == ""
        assert server.post(spans(), headers=(f"Authorization: Bearer {ACME}",)).status == 200
        assert server.last.tenant == "acme"
        assert server.post(spans(), headers=("Authorization: Bearer wrong",)).status == 401


def test_authentication_may_be_required_without_any_key() -> None:
    """Nobody may send until a key is configured."""
    with receiver(auth={"required": True}) as server:
        assert server.post(spans()).status == 401


# -- the keys file -----------------------------------------------------------------------------------------


def wait_until(condition: object, seconds: float = 5.0) -> bool:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(met)


def replace(path: Path, text: str) -> None:
    """As an editor or a secret manager does it: the file is never half written."""
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


def test_the_keys_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# our customers\n\nacme:{ACME}\ninitech: sha256:{hashlib.sha256(b'initech-key').hexdigest()}\n")
    with receiver(auth={"keys_file": file, "keys_reload_interval_s": 0.05}) as server:

        def status(key: str) -> int:
            return server.post(spans(), headers=(f"Authorization: Bearer {key}",)).status

        assert (status(ACME), status("initech-key"), status(GLOBEX)) == (200, 200, 401)
        assert server.intake.received[1].tenant == "initech"
        replace(file, f"\ufeffglobex:{GLOBEX}\n")  # a byte order mark, as some editors write
        assert wait_until(lambda: status(GLOBEX) == 200)
        assert server.last.tenant == "globex"
        assert status(ACME) == 401

        replace(file, "not a keys file\n")
        time.sleep(0.3)
        assert status(GLOBEX) == 200  # a bad file leaves the keys as they were
        file.unlink()
        time.sleep(0.2)
        assert status(GLOBEX) == 200
        replace(file, f"acme:{ACME}\n")
        assert wait_until(lambda: status(ACME) == 200)


@pytest.mark.parametrize(
    ("text", "line"),
    [("acme\n", 1), ("acme:\n", 1), (":key\n", 1), ("# x\na:k\nb:k\n", 3), ("a:sha256:abc\n", 1), ("a:sha256:zz\n", 1)],
)
def test_a_bad_keys_file_stops_the_start_and_names_the_line(tmp_path: Path, text: str, line: int) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"line {line}") as caught, receiver(auth={"keys_file": file}):
        pass
    assert "key\n" not in str(caught.value)


def test_a_missing_keys_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="keys"), receiver(auth={"keys_file": tmp_path / "keys"}):
        pass


# -- quotas ------------------------------------------------------------------------------------------------


def test_a_tenant_over_its_rate_gets_429_and_others_do_not() -> None:
    tenants = {"acme": {"keys": [ACME], "max_records_per_s": 10, "burst_s": 1}, "globex": {"keys": [GLOBEX]}}
    with receiver(tenants=tenants) as server:

        def send(key: str, count: int) -> Answer:
            return server.post(spans(count), headers=(f"Authorization: Bearer {key}",))

        assert send(ACME, 15).status == 200  # the request that goes into debt is taken
        answer = send(ACME, 1)
        assert (answer.status, answer.headers["retry-after"], answer.error.code) == (429, "1", 8)
        assert send(GLOBEX, 1000).status == 200
        assert wait_until(lambda: send(ACME, 1).status == 200)
        assert server.counts.refused_requests[Key("acme", "traces", "quota")] >= 1
        assert server.counts.accepted_records[Key("acme", "traces")] == 16


def half_sent(server: RunningReceiver, key: str, sent: int, total: int) -> socket.socket:
    """A connection with part of a body in flight."""
    wire = server.connect()
    head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nAuthorization: Bearer {key}\r\n"
    before = server.counts.in_flight_bytes
    wire.send(f"{head}Content-Length: {total}\r\n\r\n".encode() + bytes(sent))
    assert wait_until(lambda: server.counts.in_flight_bytes >= before + sent)
    return wire.socket


def test_a_tenant_over_its_bytes_in_flight_gets_429_and_others_do_not() -> None:
    tenants = {"acme": {"keys": [ACME], "max_in_flight_bytes": 50_000}, "globex": {"keys": [GLOBEX]}}
    with receiver(tenants=tenants) as server:
        with half_sent(server, ACME, 49_990, 60_000):
            assert server.post(spans(), headers=(f"Authorization: Bearer {ACME}",)).status == 429
            assert server.post(spans(), headers=(f"Authorization: Bearer {GLOBEX}",)).status == 200
        assert wait_until(lambda: server.counts.in_flight_bytes == 0)
        assert server.post(spans(), headers=(f"Authorization: Bearer {ACME}",)).status == 200


def test_all_of_us_over_max_in_flight_bytes_is_503_and_passes() -> None:
    with receiver(max_in_flight_bytes=100_000, tenants={"a": {"keys": [ACME]}, "g": {"keys": [GLOBEX]}}) as server:
        with half_sent(server, ACME, 49_990, 60_000), half_sent(server, GLOBEX, 49_990, 60_000):
            answer = server.post(spans(), headers=(f"Authorization: Bearer {GLOBEX}",))
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert wait_until(lambda: server.counts.in_flight_bytes == 0)
        assert server.post(spans(), headers=(f"Authorization: Bearer {GLOBEX}",)).status == 200


def test_one_tenant_leaves_half_of_the_room_to_others() -> None:
    """The noisy one is refused, nobody else is (spec/reliability.md §4 R25)."""
    tenants = {"acme": {"keys": [ACME]}, "globex": {"keys": [GLOBEX]}}
    with (
        receiver(max_in_flight_bytes=100_000, tenants=tenants) as server,
        half_sent(server, GLOBEX, 1_000, 2_000),
        half_sent(server, ACME, 45_000, 60_000),
    ):
        assert server.post(spans(20), headers=(f"Authorization: Bearer {ACME}",)).status == 503
        assert server.post(spans(20), headers=(f"Authorization: Bearer {GLOBEX}",)).status == 200


def test_a_request_larger_than_the_room_is_taken_when_it_comes_alone() -> None:
    with receiver(max_in_flight_bytes=1024) as server:
        assert server.post(spans(100)).status == 200


def test_a_bad_keys_file_is_complained_of_once_and_again_when_it_is_bad_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text("acme:good\n")
    keys = Keys(ReceiverSettings.model_validate({"auth": {"keys_file": file}}))
    file.write_text("acme:good\nnonsense\n")
    assert [keys.reload() for _ in range(4)] == [False] * 4
    assert [record.getMessage().rpartition("line ")[2] for record in caplog.records] == ["2: not tenant:key"]
    file.write_text("acme:other\n")
    assert [keys.reload() for _ in range(3)] == [False, True, False]
    assert keys.complaint == ""
    file.write_text("acme:good\nnonsense\n")
    assert [keys.reload() for _ in range(3)] == [False] * 3
    assert len(caplog.records) == 2
    assert keys.complaint == "keys file, line 2: not tenant:key"
    assert keys.tenant_of({"Authorization": "Bearer other"}) == "acme"


@pytest.mark.parametrize("text", ["", "# none\n", "\ufeff\n"])
def test_a_keys_file_without_a_key_leaves_the_keys_as_they_were(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text("acme:good\n")
    keys = Keys(ReceiverSettings.model_validate({"auth": {"keys_file": file}}))
    file.write_text(text)
    assert [keys.reload() for _ in range(4)] == [False] * 4
    assert keys.tenant_of({"Authorization": "Bearer good"}) == "acme"
    assert len(caplog.records) == 1
    assert keys.complaint == "keys file: no key in it"


def test_a_keys_file_that_is_being_written_is_not_read_yet(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("acme:good\n")
    keys = Keys(ReceiverSettings.model_validate({"auth": {"keys_file": file}}))
    with file.open("w") as being_written:
        assert not keys.reload()
        for line in ("globex:other\n", "initech:third\n", "acme:good\n"):
            being_written.write(line)
            being_written.flush()
            assert not keys.reload()
            assert keys.tenant_of({"Authorization": "Bearer good"}) == "acme"
    assert keys.reload()
    assert keys.tenant_of({"Authorization": "Bearer third"}) == "initech"
