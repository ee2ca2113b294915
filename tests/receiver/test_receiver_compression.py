"""Long bodies are inflated piece by piece; the pieces are the body, and the limit is exact across them."""

from __future__ import annotations

import random
import time

import pytest

from codings import CODINGS
from receiver.decode import compression
from receiver.errors import BadRequest

PIECE = compression._PIECE
BLOCK = random.Random(5).randbytes(100_000)
LONG = {name: CODINGS[name] for name in CODINGS if name not in ("identity", "empty") and " of " not in name}


def body(size: int) -> bytes:
    return (BLOCK * (size // len(BLOCK) + 1))[:size]


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1, 3 * PIECE + 12345])
@pytest.mark.parametrize("coding", LONG)
def test_pieces_make_the_body_up_to_exactly_the_limit(coding: str, size: int) -> None:
    header, pack = LONG[coding]
    for plain in (body(size), bytes(size)):
        codings = compression.parse_codings(header)
        packed = pack(plain)
        assert compression.inflate(packed, codings, size) == plain
        with pytest.raises(BadRequest, match="longer than"):
            compression.inflate(packed, codings, size - 1)
        with pytest.raises(BadRequest):
            compression.inflate(packed[:-1], codings, size)


@pytest.mark.parametrize("coding", ["gzip", "zstd", "lz4"])
def test_long_members_one_after_the_other(coding: str) -> None:
    header, pack = CODINGS[coding]
    codings = compression.parse_codings(header)
    packed = pack(body(10)) + pack(bytes(2 * PIECE)) + pack(body(PIECE)) + pack(bytes(3 * PIECE + 5))
    plain = body(10) + bytes(2 * PIECE) + body(PIECE) + bytes(3 * PIECE + 5)
    assert compression.inflate(packed, codings, len(plain)) == plain
    with pytest.raises(BadRequest, match="longer than"):
        compression.inflate(packed, codings, len(plain) - 1)
    with pytest.raises(BadRequest, match="cut short"):
        compression.inflate(packed[:-1], codings, len(plain))


def test_a_bomb_costs_the_limit_and_no_more() -> None:
    packed = CODINGS["gzip"][1](bytes(200_000_000))
    started = time.process_time()
    with pytest.raises(BadRequest, match="longer than"):
        compression.inflate(packed, ("gzip",), 8 << 20)
    assert time.process_time() - started < 0.1  # 0.005 s; the whole of it takes 0.15 s
