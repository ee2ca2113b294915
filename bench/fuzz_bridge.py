"""Random damage against the whole bridge, restarts included: `python -m bench.fuzz_bridge [SECONDS] [SEED]`.

Requests of every signal, encoding and coding are damaged in their bytes, texts and numbers and sent over raw sockets to
the program as an operator starts it, with the embedded store and JSON lines as sinks. Every minute it is killed and
started again over the same spool. At fault is: an answer of 5xx other than 503, a 503 for a fault of ours, no answer in
WAIT_S, a bridge that ends by itself or is not done with its spool in DRAIN_S. The input that did it is kept as a file.
"""

from __future__ import annotations

import contextlib
import gzip
import random
import socket
import sys
import tempfile
import time
from pathlib import Path

import orjson

from bench import traffic
from bench.bridge_abuse import Bridge
from bench.receiver_abuse import JSON, PROTOBUF, post

WAIT_S = 60.0  # not a promise: far above what 47 MB of JSON take on a busy machine
DRAIN_S = 120.0
RESTART_S = 60.0
TEXTS = [
    "password", "password" + " " * 3000, "\x00", "\ud7ff", "{" * 2000, "a=b " * 2000, "9999-12-31T23:59:59Z", "<nil>",
    "Bearer " + "x" * 500, '{"a":' * 300, "=1+1", "../../x", "%" * 500, "http://u:p@h/?token=x", "k." * 300, "é" * 300,
]  # fmt: skip
NUMBERS = [0, -1, 1, 255, 256, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 10**30, 99999999999]


def documents() -> list[tuple[str, bytes]]:
    """Path and JSON of good requests."""
    ids = {"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}
    attributes = [
        {"key": key, "value": {"stringValue": value}}
        for key, value in (
            ("http.request.method", "GET"), ("url.full", "http://h/a?b=c"), ("http.route", "/a"), ("user.id", "u"),
            ("http.request.header.authorization", "Bearer abc"), ("http.request.body", '{"a": {"password": "x"}}'),
        )
    ]  # fmt: skip
    attributes.append({"key": "list", "value": {"arrayValue": {"values": [{"intValue": "5"}, {"doubleValue": 0.5}]}}})
    now = str(time.time_ns())
    span = {
        **ids,
        "name": "GET /a",
        "kind": 2,
        "startTimeUnixNano": now,
        "endTimeUnixNano": now,
        "attributes": attributes,
    }
    log = {**ids, "timeUnixNano": now, "severityNumber": 9, "attributes": attributes, "body": {"stringValue": "a text"}}
    access = {**log, "body": {"stringValue": '{"method":"GET","path":"/a","status":200,"duration":0.5,"timestamp":1}'}}
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    spans = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span, {**span, "kind": 3}]}]}]}
    logs = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [log, access]}]}]}
    return [("/v1/traces", orjson.dumps(spans)), ("/v1/logs", orjson.dumps(logs))]


def damaged(value: object, dice: random.Random) -> object:
    """The JSON value with, here and there, another number, text, type or nesting."""
    if dice.random() < 0.03:
        return dice.choice([None, True, [], {}, dice.choice(TEXTS), dice.choice(NUMBERS[:10]), [value] * 3])
    if isinstance(value, dict):
        return {damaged_key(key, dice): damaged(item, dice) for key, item in value.items()}
    if isinstance(value, list):
        return [damaged(item, dice) for item in value] * dice.choice([1, 1, 1, 1, 30])
    if isinstance(value, str) and dice.random() < 0.1:
        return dice.choice([dice.choice(TEXTS), str(dice.choice(NUMBERS)), value * 50, value[: len(value) // 2]])
    return value


def damaged_key(key: str, dice: random.Random) -> str:
    return dice.choice(TEXTS) if dice.random() < 0.005 else key


def damaged_bytes(body: bytes, dice: random.Random) -> bytes:
    out = bytearray(body)
    for _ in range(dice.choice([0, 1, 1, 3, 20])):
        at = dice.randrange(len(out) + 1)
        match dice.randrange(4):
            case 0:
                out[at : at + 1] = bytes([dice.choice([0, 1, 6, 7, 10, 0x0B, 0x7F, 0x80, 0xFF, dice.randrange(256)])])
            case 1:
                del out[at : at + dice.randrange(1, 50)]
            case 2:
                out[at:at] = out[at : at + dice.randrange(1, 200)] * dice.choice([1, 5])
            case _:
                out[at:at] = dice.randbytes(dice.randrange(1, 9))
    return bytes(out)


def request(dice: random.Random) -> bytes:
    """One damaged request, whole."""
    if dice.random() < 0.5:
        path, text = dice.choice(documents())
        body = orjson.dumps(damaged(orjson.loads(text), dice))
        media = JSON
    else:
        path, body, media = "/v1/traces", traffic.request(dice.randrange(1000), 5), PROTOBUF
    if dice.random() < 0.7:
        body = damaged_bytes(body, dice)
    if dice.random() < 0.05:
        path = dice.choice(["/v1/logs", "/v1/traces"])
    encoding = ""
    if dice.random() < 0.3:
        encoding, body = "gzip", gzip.compress(body, 1)
        if dice.random() < 0.2:
            body = damaged_bytes(body, dice)
    raw = post(body, media, encoding, path)
    if dice.random() >= 0.05:
        return raw
    head, blank, body = raw.partition(b"\r\n\r\n")
    return damaged_bytes(head, dice) + blank + body


def answer(port: int, raw: bytes) -> bytes:
    """What is answered; b"" when a damaged head makes the bridge wait for more, or close."""
    whole = raw.startswith(b"POST /v1/") and raw.count(b"\r\n", 0, 400) >= 5
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as wire:
        try:
            wire.sendall(raw)
            wire.settimeout(WAIT_S if whole else 0.5)
            return wire.recv(4096)
        except OSError:
            return b""


def is_fault(got: bytes) -> bool:
    return got[9:10] == b"5" and (got[9:12] != b"503" or b"internal error" in got)


def main(seconds: float, seed: int) -> None:
    dice = random.Random(seed)
    ends, sent, restarts = time.monotonic() + seconds, 0, 0
    answers: dict[bytes, int] = {}
    with tempfile.TemporaryDirectory() as place:
        bridge = Bridge(Path(place))
        bridge.start()
        try:
            restart_at = time.monotonic() + RESTART_S
            while time.monotonic() < ends:
                raw = request(dice)
                Path("fuzz-input.bin").write_bytes(raw)  # the last one is there when the line below fails
                started = time.monotonic()
                got = answer(bridge.port, raw)
                sent += 1
                answers[got[9:12]] = answers.get(got[9:12], 0) + 1
                if is_fault(got):
                    raise SystemExit(f"fuzz-input.bin was answered {got[:300]!r}")
                if time.monotonic() - started > WAIT_S:
                    raise SystemExit("fuzz-input.bin waited too long")
                if time.monotonic() > restart_at:
                    bridge.kill()
                    bridge.start()
                    restarts += 1
                    drain(bridge)
                    restart_at = time.monotonic() + RESTART_S
            drain(bridge)
            obeyed, ended = bridge.stop()
        finally:
            with contextlib.suppress(OSError):
                bridge.kill()
        log = (Path(place) / "bridge.log").read_text()
    Path("fuzz-input.bin").unlink(missing_ok=True)
    print(f"{sent} requests, {restarts} restarts, answers {answers}; SIGTERM after {obeyed:.2f} s, ended {ended:.2f} s")
    print(f"tracebacks in the log: {log.count('Traceback')}")
    for line in sorted({line.split(" ", 2)[-1][:160] for line in log.splitlines() if " error " in line})[:20]:
        print("  ", line)


def drain(bridge: Bridge) -> None:
    deadline = time.monotonic() + DRAIN_S
    while bridge.backlog() > 0:
        if time.monotonic() > deadline:
            raise SystemExit(f"{bridge.backlog():.0f} requests are not delivered after {DRAIN_S:.0f} s")
        time.sleep(0.2)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 300.0, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
