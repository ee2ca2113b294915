"""`weighbridge why ID`: what the bridge still knows of an event, a trace, a request, and that it knows nothing."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from hashlib import blake2b

import pytest

from bridge import BridgeProcess, eventually
from events import event
from exporter.deadletter import DeadLetters
from otlp_requests import INTERNAL, SERVER, log, logs, span, traces
from weighbridge.commands.why_masks import said_of_masks

KEPT, DROPPED, DEAD = (bytes((number,)) * 16 for number in (0xEE, 0x11, 0x77))


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BridgeProcess]:
    folder = tmp_path_factory.mktemp("bridge")
    away = {"name": "away", "type": "otlphttp", "endpoint": "http://127.0.0.1:9"}  # so that the spool keeps everything
    process = BridgeProcess(
        folder,
        exporter={"sinks": [{"name": "store", "type": "clickhouse", "dsn": f"chdb://{folder}/store"}, away]},
        sampling={"rules": [{"name": "a tenth", "rate": 10}]},
    )
    process.start()
    yield process
    assert process.stop() == 0


def send(bridge: BridgeProcess, trace_id: bytes, kind: int = SERVER, name: str = "GET /x") -> bytes:
    body = traces(
        span(
            {"http.request.method": "GET", "url.path": "/x"} if kind == SERVER else {},
            kind=kind,
            name=name,
            number=secrets.randbits(63),
            trace_id=trace_id,
            end_unix_ns=time.time_ns(),
        )
    ).SerializeToString()
    assert bridge.post("/v1/traces", body)[0] == 200
    return body


def test_a_stored_event_tells_its_batch_and_its_rule(bridge: BridgeProcess) -> None:
    body = send(bridge, KEPT)
    eventually(lambda: bridge.query(f"SELECT event_id FROM api_events WHERE trace_id = '{KEPT.hex()}'"), "it is stored")
    ((row),) = bridge.query(f"SELECT event_id, batch_id FROM api_events WHERE trace_id = '{KEPT.hex()}'")
    by_trace = bridge.command("why", KEPT.hex()).stdout
    for said in (row["event_id"], f"in batch {row['batch_id']}", "kept by rule a tenth", "weight 10", "received 20"):
        assert said in by_trace
    assert row["event_id"] in bridge.command("why", f"00-{KEPT.hex()}-{'1' * 16}-01").stdout
    by_event = bridge.command("why", row["event_id"]).stdout
    assert f"in batch {row['batch_id']}" in by_event
    scope = blake2b(b"traces\0", digest_size=16).digest()
    digest = blake2b(body, digest_size=16, person=scope).hexdigest()
    by_digest = bridge.command("why", digest).stdout
    assert f"digest {digest}" in by_digest
    assert row["event_id"] in by_digest


def test_what_was_sampled_out_or_skipped_is_told_while_the_spool_has_it(bridge: BridgeProcess) -> None:
    send(bridge, DROPPED)
    send(bridge, DROPPED, INTERNAL, "middleware - query")
    line = log({"message": "the coupon is gone", "password": "hunter2"}, trace_id=DROPPED, span_id=b"12345678")
    assert bridge.post("/v1/logs", logs(line).SerializeToString())[0] == 200
    said = eventually(
        lambda: (out := bridge.command("why", DROPPED.hex()).stdout).count("digest") == 3 and out,
        "all are in the spool",
    )
    (of_log,) = (text for text in said.splitlines() if text.lstrip().startswith("log "))
    assert "sampled out by rule a tenth (sampled_out, p = 0.1" in of_log
    assert of_log.endswith("; masked: body.password")
    assert "hunter2" not in said
    assert "store store: nothing" in said
    assert "sampled out by rule a tenth" in said
    assert "by its id this trace is kept wherever the rate is at least 93.33 %" in said


def test_what_was_masked_is_named_by_its_place_in_store_and_spool(bridge: BridgeProcess) -> None:
    """Of headers, queries, bodies and attributes: where, and never what."""
    secret = "s3cr3t-Value-4711"
    body = {"card": {"cvc": secret}, "items": [{"token": secret}, {"token": secret}], "note": "fine"}
    attributes = {
        "http.request.method": "POST",
        "url.full": f"https://shop.example/x?token={secret}&page=2",
        "http.request.header.authorization": [f"Bearer {secret}"],
        "http.request.header.accept": ["text/html"],
        "http.request.body": json.dumps(body),
        "app.password": secret,
    }
    masked = bytes((0xEF,)) * 16
    sent = span(attributes, kind=SERVER, name="POST /x", number=77, trace_id=masked, end_unix_ns=time.time_ns())
    assert bridge.post("/v1/traces", traces(sent).SerializeToString())[0] == 200
    eventually(lambda: bridge.query(f"SELECT 1 FROM api_events WHERE trace_id = '{masked.hex()}'"), "it is stored")
    said = bridge.command("why", masked.hex()).stdout
    places = (
        "uri, request_headers.authorization, request_body.card.cvc, request_body.items.token, metadata.app.password"
    )
    assert said.count(f"; masked: {places}\n") == 2, said  # the row, and the record in the spool
    assert secret not in said


def test_places_of_masks_are_bounded_and_each_is_named_once() -> None:
    many = {"metadata": json.dumps({f"k{number}": "[REDACTED]" for number in range(100)})}
    assert said_of_masks(many).count("metadata.k") == 12
    assert said_of_masks(many).endswith(" and more")
    assert said_of_masks({"body": "[REDACTED] was here", "uri": "/x", "request_headers": {}}) == "; masked: body"
    assert said_of_masks({"body": '{"[REDACTED]": 1}'}) == "; masked: body"
    assert said_of_masks({"body": "{broken [REDACTED]"}) == "; masked: body"
    assert said_of_masks({"body": "nothing", "metadata": None}) == ""


def test_a_dead_letter_tells_who_refused_it(bridge: BridgeProcess) -> None:
    letters = DeadLetters(bridge.directory / "spool" / "deadletter.jsonl")
    dead = event(trace_id=DEAD.hex())
    letters.add("store", "Code: 27. Cannot parse", [dead])
    for identity in (DEAD.hex(), dead.transaction_id):
        assert f"{dead.transaction_id} was refused by sink store: Code: 27" in bridge.command("why", identity).stdout


def test_what_never_came_and_what_is_no_id(bridge: BridgeProcess) -> None:
    assert "It never came" in bridge.command("why", secrets.token_hex(16)).stdout
    wrong = bridge.command("why", "4711", check=False)
    assert (wrong.returncode, "is no id" in wrong.stderr) == (2, True)
