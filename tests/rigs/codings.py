"""Every form in which a body may be compressed, as senders do it."""

from __future__ import annotations

import gzip
import importlib
import sys
import zlib
from collections.abc import Callable
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

snappy: Any = importlib.import_module("cramjam").snappy
lz4: Any = importlib.import_module("lz4.frame")


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def zstd_without_size(body: bytes) -> bytes:
    packer = zstd.ZstdCompressor()
    return packer.compress(body) + packer.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "gzip in capitals": ("GZip", gzip.compress),
    "zstd": ("zstd", zstd.compress),
    "zstd without content size": ("zstd", zstd_without_size),
    "deflate": ("deflate", zlib.compress),
    "deflate raw": ("deflate", raw_deflate),
    "zlib": ("zlib", zlib.compress),
    "snappy": ("snappy", lambda body: bytes(snappy.compress_raw(body))),
    "snappy framed": ("snappy", lambda body: bytes(snappy.compress(body))),
    "x-snappy-framed": ("x-snappy-framed", lambda body: bytes(snappy.compress(body))),
    "lz4": ("lz4", lz4.compress),
    "identity": ("identity", bytes),
    "empty": ("", bytes),
    "gzip of gzip": ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
    "gzip of deflate": ("deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
    "identity in a list": ("identity, gzip", gzip.compress),
}
