"""OTLP/HTTP: Content-Encoding (spec/otlp-http.md §5)."""

from __future__ import annotations

import gzip
import zlib

import pytest

from codings import CODINGS
from otlp_http import (
    JSON,
    PROTOBUF,
    RunningReceiver,
    chunked,
    json_logs,
    json_span,
    json_spans,
    logs,
    spans,
)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(
    ("body", "media", "path"),
    [
        (spans(50), PROTOBUF, "/v1/traces"),
        (json_spans(json_span()).encode(), JSON, "/v1/traces"),
        (logs(50), PROTOBUF, "/v1/logs"),
        (json_logs({}).encode(), JSON, "/v1/logs"),
    ],
    ids=["spans", "json spans", "logs", "json logs"],
)
def test_known_codings_are_undone(server: RunningReceiver, coding: str, body: bytes, media: str, path: str) -> None:
    name, pack = CODINGS[coding]
    assert server.post(pack(body), media, path=path, encoding=name).rejected == 0
    assert server.last.decoded.accepted == (1 if media == JSON else 50)


@pytest.mark.parametrize("body", [spans(50), gzip.compress(spans(50))], ids=["plain", "gzip"])
@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_chunked_bodies_may_be_compressed(server: RunningReceiver, body: bytes, size: int) -> None:
    raw = chunked(body, size)
    if body[:2] == b"\x1f\x8b":
        raw = raw.replace(b"Transfer-Encoding", b"Content-Encoding: gzip\r\nTransfer-Encoding", 1)
    assert server.exchange(raw).rejected == 0
    assert server.last.decoded.accepted == 50


@pytest.mark.parametrize("coding", ["br", "compress", "gzip2", "gzip;q=1", "aws-chunked", "*", "x" * 3000, "gzip, br"])
def test_an_unknown_coding_is_415_and_says_what_is_known(server: RunningReceiver, coding: str) -> None:
    answer = server.post(spans(), encoding=coding)
    assert (answer.status, answer.type) == (415, PROTOBUF)
    assert "gzip" in answer.headers["accept-encoding"]
    assert len(answer.body) < 1000


def test_a_body_is_never_decoded_as_plain_under_an_unknown_coding(server: RunningReceiver) -> None:
    before = len(server.intake.received)
    assert server.post(spans(), encoding="br").status == 415
    assert len(server.intake.received) == before


def test_the_header_may_be_given_twice(server: RunningReceiver) -> None:
    packed = gzip.compress(gzip.compress(spans()))
    answer = server.post(packed, encoding="gzip", headers=("Content-Encoding: gzip",))
    assert answer.status in (200, 400)  # 400 by aiohttp, which refuses some headers when repeated


@pytest.mark.parametrize("coding", [name for name in CODINGS if name not in ("identity", "empty")])
def test_bytes_of_another_form_are_400(server: RunningReceiver, coding: str) -> None:
    name, _ = CODINGS[coding]
    for body in (b"not compressed at all, really", b"\x01", b"\xff" * 100):
        answer = server.post(body, encoding=name)
        assert (answer.status, answer.error.code, answer.type) == (400, 3, PROTOBUF)
    assert server.is_well()


CHECKED = ["gzip", "zstd", "deflate", "deflate raw", "snappy", "snappy framed", "lz4", "gzip of gzip"]


@pytest.mark.parametrize("coding", CHECKED)
def test_a_body_cut_anywhere_is_400(server: RunningReceiver, coding: str) -> None:
    name, pack = CODINGS[coding]
    packed = pack(spans(50))
    for cut in (1, 2, 4, 8, len(packed) // 2, len(packed) - 3):
        assert server.post(packed[:-cut], encoding=name).status == 400, cut


@pytest.mark.parametrize("coding", ["gzip", "deflate", "deflate raw", "zstd", "lz4"])
def test_a_cut_is_400_even_where_a_whole_message_has_come(server: RunningReceiver, coding: str) -> None:
    """Decompressors do not complain at the end of their input; what they gave so far may parse."""
    name, pack = CODINGS[coding]
    packed = pack(spans(1))
    assert server.post(packed[:-1], encoding=name).status == 400


def test_a_wrong_gzip_checksum_or_length_is_400(server: RunningReceiver) -> None:
    packed = bytearray(gzip.compress(spans(50)))
    for place in (-8, -5, -4, -1):
        wrong = bytearray(packed)
        wrong[place] ^= 1
        assert server.post(bytes(wrong), encoding="gzip").status == 400, place


def test_a_wrong_zlib_checksum_is_400(server: RunningReceiver) -> None:
    packed = bytearray(zlib.compress(spans(50)))
    packed[-1] ^= 1
    assert server.post(bytes(packed), encoding="deflate").status == 400


@pytest.mark.parametrize("coding", ["gzip", "zstd", "lz4"])
def test_several_members_are_their_concatenation(server: RunningReceiver, coding: str) -> None:
    name, pack = CODINGS[coding]
    assert server.post(pack(spans(2)) + pack(b"") + pack(spans(3)), encoding=name).rejected == 0
    assert server.last.decoded.accepted == 5


@pytest.mark.parametrize("coding", ["gzip", "zstd", "deflate", "deflate raw", "lz4"])
def test_anything_else_after_the_end_is_400(server: RunningReceiver, coding: str) -> None:
    name, pack = CODINGS[coding]
    for tail in (b"x", bytes(20), b"garbage" * 10):
        assert server.post(pack(spans()) + tail, encoding=name).status == 400


def test_the_time_of_compression_makes_no_other_body(server: RunningReceiver) -> None:
    """Python's exporter compresses again what it sends again; a resend is recognised by its bytes."""
    body = spans(3)
    for mtime in (1, 2, 1_790_000_000):
        assert server.post(gzip.compress(body, mtime=mtime), encoding="gzip").status == 200
    one, two, three = (received.body for received in server.intake.received[-3:])
    assert one == two == three
    assert gzip.decompress(one) == body


@pytest.mark.parametrize("coding", ["gzip", "zstd", "deflate", "snappy", "lz4"])
def test_nothing_compressed_is_an_empty_request(server: RunningReceiver, coding: str) -> None:
    name, pack = CODINGS[coding]
    assert server.post(pack(b""), encoding=name).rejected == 0
    assert server.last.decoded.accepted == 0


def test_no_body_at_all_is_an_empty_request_under_any_coding(server: RunningReceiver) -> None:
    assert server.post(b"", encoding="gzip").rejected == 0


def test_more_than_three_stacked_codings_are_refused(server: RunningReceiver) -> None:
    assert server.post(spans(), encoding="gzip, gzip, gzip, gzip").status == 400


def test_thousands_of_empty_members_are_refused_quickly(server: RunningReceiver) -> None:
    assert server.post(gzip.compress(b"") * 10_000, encoding="gzip").status == 400


@pytest.mark.parametrize(
    "header",
    [", ".join(["identity"] * 40), "," * 300, "identity" + " " * 4000 + ", identity", ", ".join(["none"] * 9)],
    ids=["forty", "commas", "blanks", "nine"],
)
def test_a_header_of_many_names_is_refused_for_good_or_taken(server: RunningReceiver, header: str) -> None:
    """Never a 503, which clients repeat: what is stored of the header is bounded."""
    answer = server.post(json_spans(json_span()).encode(), JSON, encoding=header)
    assert answer.status in (200, 400)
    if answer.status == 200:
        assert len(server.last.content_encoding) <= 200


def test_what_is_stored_of_long_headers_is_short_and_means_the_same(server: RunningReceiver) -> None:
    body = gzip.compress(json_spans(json_span()).encode())
    padded = "identity" + " " * 3000 + ", x-GZIP"
    assert server.post(body, f"application/json; x={'y' * 3000}", encoding=padded).status == 200
    assert (server.last.content_type, server.last.content_encoding) == (JSON, "gzip")
    assert server.post(body, "application/json; charset=utf-8", encoding="x-gzip").status == 200
    assert (server.last.content_type, server.last.content_encoding) == ("application/json; charset=utf-8", "x-gzip")
