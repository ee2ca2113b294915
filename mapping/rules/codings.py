"""What captured bytes say as text: compression, base64 and charsets undone as far as they can be, else why not.

Masks work on text. What is no text after this (br, lz4, snappy, images, archives, protobuf, unknown charsets) cannot be
masked, so it must not be kept: `Unread` says what it was.
"""

from __future__ import annotations

import binascii
import codecs
import re
import sys
import zlib
from ast import literal_eval
from base64 import b64decode
from collections.abc import Callable
from typing import Final, NamedTuple

from mapping.event import MAX_BODY_BYTES as MAX_BODY_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd  # pragma: no cover
else:
    from backports import zstd

UNREADABLE: Final = "[UNREADABLE]"  # what stands for a value, or a part of a body, that cannot be read
_MOST_LAYERS: Final = 4  # codings in one another, base64 of gzip of UTF-16 among them; more is nobody's body
_MOST_PARTS: Final = 64  # of a multipart body; those after are left out
_SAMPLE_BYTES: Final = 4096  # from which a charset without a mark is guessed


NO_ROOM: Final = "no room"  # reason: bodies before it took all that one request may inflate


class Unread(NamedTuple):
    """Bytes that cannot be read."""

    reason: str  # the coding or kind: br, lz4, png, protobuf, binary, …
    size: int  # bytes as captured


# How bytes begin that are no text. Those of _INFLATERS can be undone.
_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy"),
    (b"\x1f\x9d", "compress"),
    (b"\x1f\xa0", "compress"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf", "7z"),
    (b"\x89PNG", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"RIFF", "riff"),
    (b"%PDF-", "pdf"),
    (b"\xd0\xcf\x11\xe0", "ole"),
    (b"OggS", "ogg"),
    (b"wOFF", "woff"),
    (b"wOF2", "woff"),
    (b"\x7fELF", "elf"),
    (b"PAR1", "parquet"),
    (b"Obj\x01", "avro"),
    (b"SQLite format 3", "sqlite"),
)
_ZLIB: Final = (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda")
# Types whose bytes are no text although they may look like it.
_BINARY_TYPE: Final = re.compile(
    r"(?:image|audio|video|font)/(?!svg)|protobuf|/grpc(?!\+json|-web\+json)|msgpack|messagepack|cbor|bson|avro|thrift"
    r"|/pdf|/(?:x-)?(?:zip|gzip|7z|tar|bzip2|rar)|/vnd\.(?:ms-|openxml)|java-serialized|java-archive|x-amz-ion|parquet"
).search
_TEXT_CODING: Final = re.compile(r"\+(?:json|xml)").search
_CODINGS: Final = frozenset(("br", "lz4", "snappy", "compress", "x-compress", "gzip", "x-gzip", "zstd", "deflate"))
# Charsets that are decoded; others are read only where they are ASCII or UTF-8. By the names of `codecs`.
_CHARSETS: Final = re.compile(
    r"iso8859-\d{1,2}|cp\d{3,4}|mac-[a-z]+|koi8-[rut]|shift_jis(?:_2004|x0213)?|euc_(?:jp|kr|jis_2004|jisx0213)"
    r"|iso2022_[a-z0-9_]+|big5(?:hkscs)?|gb2312|gbk|gb18030|hz|johab|tis-620|utf-(?:7|16|32)(?:-[lb]e)?"
).fullmatch
_CHARSET: Final = re.compile(r"charset\s*+=\s*+\"?'?([\w.:\-]{1,40})", re.ASCII).search
_BOUNDARY: Final = re.compile(r"boundary\s*+=\s*+(?:\"([^\"\r\n]{1,200})\"|([^\s;,\"]{1,200}))", re.IGNORECASE).search
_FIRST_LINE: Final = re.compile(rb"--([^\r\n]{1,200})\r?\n").match
_HEADER_END: Final = re.compile(rb"\r?\n\r?\n").search
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_CONTROLS: Final = bytes(code for code in (*range(32), 127) if chr(code) not in "\t\n\f\r\x1b\x1e")  # of no text
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c\x1d\x1f\x7f-\x84\x86-\x9f]")
# Letters of Latin-1 and its like, as bytes of UTF-8 that is none: 0xC0 and above, at most one byte in eight. Below are
# the marks of MessagePack and CBOR.
_LATIN: Final = re.compile("[\udcc0-\udcff]")
_ODD: Final = re.compile("[\udc80-\udcff]")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_\-]{4,80}+(?:\r?\n?[A-Za-z0-9+/_\-]{1,80}+)*+={0,2}\s{0,2}").fullmatch
_LEAST_ODD: Final = 4  # in a text: fewer are a cut word, a lone bad byte or a stray control, not another coding
_ODD_SHARE: Final = 16  # of a text at most one character in so many is a control or U+FFFD
_LEAST_BASE64: Final = 16  # characters; shorter ones are words
_LONG_BASE64: Final = 20  # from here on what has capitals, small letters and digits is no word
_DIGESTS: Final = (32, 40, 56, 64, 96, 128)  # hex digits of ids and hashes
_HEX: Final = re.compile(r"[0-9a-f]+|[0-9A-F]+|[0-9a-f]{8}-[0-9a-f\-]+").fullmatch
_MIXED: Final = re.compile(r"(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])(?=[^0-9]*[0-9])").match
# How base64 begins of gzip, zlib, zstd, JSON, PNG, JPEG, PDF and ZIP: what is told from two characters, then looked at.
CODED_BEGINNINGS: Final = frozenset(("H4", "eJ", "eN", "eA", "KL", "ey", "ew", "W3", "Wy", "iV", "/9", "JV", "UE"))
_CODED: Final = re.compile(
    r"H4sI|eJ[wxyz]|eN[oprqs]|eA[EFH]|KLUv|ey[IAJK]|ewo|ew0K|W3s|Wy[IJK]|iVBORw0|/9j/|JVBERi|UEsDB"
).match

Take = Callable[[int], bool]  # takes so many bytes of what one request may inflate; False when nothing was left


def readable(
    raw: bytes, content_type: str = "", content_encoding: str = "", take: Take | None = None, layer: int = 0
) -> bytes | Unread:
    """The text in some bytes, in UTF-8, or in its own bytes where they are ASCII but for letters; at most one byte more
    than is kept.

    content_type, content_encoding: the captured headers, in lower case; both may be missing or wrong. take: asked
    before inflating; without it nothing is inflated.
    """
    kind = _kind(raw)
    if kind in _INFLATERS:
        return _inflated(raw, kind, content_type, content_encoding, take, layer)
    if kind:
        return Unread(kind, len(raw))
    if _BINARY_TYPE(content_type) and not _TEXT_CODING(content_type):
        return Unread(_name_of(content_type), len(raw))
    found = _text(raw, content_type)
    if found is not None:
        return found
    if b"--" in raw[:202] and (parts := _multipart(raw, content_type, layer)) is not None:
        return parts
    coding = next((name.strip() for name in content_encoding.split(",")[::-1] if name.strip() in _CODINGS), "")
    if coding == "deflate":  # without the header of zlib, as some servers send it
        return _inflated(raw, "raw deflate", content_type, content_encoding, take, layer)
    return Unread(coding or "binary", len(raw))


def readable_text(
    text: str, content_type: str = "", content_encoding: str = "", take: Take | None = None, layer: int = 0
) -> str | bytes | Unread:
    """The same of a text: itself, or what the bytes say of which it is base64, hex digits, or Python's print."""
    if text[:2] in ("b'", 'b"') and text.rstrip()[-1:] in ("'", '"'):
        printed = _printed(text)
        if printed is not None:
            return readable(printed, content_type, content_encoding, take, layer + 1)
        return Unread("binary", len(text)) if "\\x" in text[:_SAMPLE_BYTES] else text
    if text[:5] == "%PDF-" or text[:3] == "\xff\xd8\xff":
        return Unread("pdf" if text[0] == "%" else "jpeg", len(text))
    if _CONTROL.search(text) is not None or "\ufffd" in text:
        # Bytes that someone decoded, as Latin-1 or with replacements.
        try:
            raw = text.encode("latin-1")
        except UnicodeEncodeError:
            return Unread("binary", len(text)) if garbled(text) else text
        return readable(raw, content_type, content_encoding, take, layer)
    if layer >= _MOST_LAYERS or len(text) < _LEAST_BASE64:
        return text
    if text[:2] == "--" and _transfers(text):
        parts = _multipart(text.encode("utf-8", "surrogatepass"), content_type, layer)
        return text if parts is None else parts
    plain = _bytes_in(text)
    if plain is None:
        return text
    named = bool(_kind(plain) or _BINARY_TYPE(content_type)) or any(plain.startswith(mark) for mark, _ in _MARKS)
    found = readable(plain, content_type, content_encoding, take, layer + 1)
    if named or not isinstance(found, Unread):
        return found
    if _HEX(text) is not None:
        return text if "-" in text or len(text) in _DIGESTS or text.isdigit() else found
    return found if len(text) >= _LONG_BASE64 and _MIXED(text) is not None else text


def garbled(text: str) -> bool:
    """True for what is left of bytes that someone decoded as if they were text."""
    odd = len(_CONTROL.findall(text)) + text.count("\ufffd")
    return odd * _ODD_SHARE > len(text) and (odd >= _LEAST_ODD or "\0" in text)


def coded(text: str) -> bool:
    """True for a text that begins as base64 of something compressed, of JSON, of a picture or a document does."""
    return _CODED(text) is not None and len(text) >= _LEAST_BASE64 and _BASE64(text) is not None


def holds_coded(text: str) -> bool:
    """True for JSON text that may hold such a text among its values."""
    return (
        '"H4sI' in text
        or '"ey' in text
        or '"eJ' in text
        or '"KLUv' in text
        or '"iVBOR' in text
        or '"/9j/' in text
        or '"JVBERi' in text
        or '"UEsDB' in text
        or '"data:' in text
    )


def _kind(raw: bytes) -> str:
    for magic, kind in _MAGIC:
        if raw.startswith(magic):
            return kind
    return "deflate" if raw[:2] in _ZLIB and _zlib_begins(raw) else ""


def _zlib_begins(raw: bytes) -> bool:
    """False for text that only begins like zlib: `x^2`."""
    try:
        zlib.decompressobj().decompress(raw[:64], 1)
    except zlib.error:
        return False
    return True


def _inflated(
    raw: bytes, kind: str, content_type: str, content_encoding: str, take: Take | None, layer: int
) -> bytes | Unread:
    if take is None or layer >= _MOST_LAYERS:
        return Unread(kind, len(raw))
    if not take(0):
        return Unread(NO_ROOM, len(raw))
    try:
        plain = _INFLATERS[kind](raw)
    except (zlib.error, zstd.ZstdError, EOFError, ValueError):
        return Unread(kind, len(raw))
    take(len(plain))
    found = readable(plain, content_type, "", take, layer + 1)
    return Unread(f"{kind}, {found.reason}", len(raw)) if isinstance(found, Unread) else found


def _unzlib(raw: bytes, bits: int) -> bytes:
    return zlib.decompressobj(bits).decompress(raw, MAX_BODY_BYTES + 1)


_INFLATERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": lambda raw: _unzlib(raw, 31),
    "deflate": lambda raw: _unzlib(raw, 15),
    "raw deflate": lambda raw: _unzlib(raw, -15),
    "zstd": lambda raw: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 25}).decompress(
        raw, MAX_BODY_BYTES + 1
    ),
}


def _text(raw: bytes, content_type: str) -> bytes | None:
    """The bytes as text, None when they are none."""
    raw = raw[: 4 * MAX_BODY_BYTES + 4]  # UTF-32 takes four bytes for one
    for mark, charset in _MARKS:
        if raw.startswith(mark):
            return _decoded(raw, charset)
    charset = _declared(content_type)
    if charset and (decoded := _decoded(raw, charset)) is not None:
        return decoded
    if b"\0" in raw:
        return _without_a_mark(raw)
    raw = raw[: MAX_BODY_BYTES + 1]
    if raw.translate(None, _CONTROLS) != raw:
        return None
    if raw.isascii():
        return raw
    text = raw.decode("utf-8", "surrogateescape")
    odd = len(_ODD.findall(text))
    if odd > 3 or (odd and _ODD.search(text[-3:]) is None):  # a character may have been cut at the end
        return raw if odd * 8 <= len(text) and odd == len(_LATIN.findall(text)) else None
    return raw


def _declared(content_type: str) -> str:
    """The charset of a type, "" for none, for UTF-8 and for one that is not decoded."""
    found = _CHARSET(content_type) if "charset" in content_type else None
    if found is None:
        return ""
    try:
        name = codecs.lookup(found[1]).name
    except LookupError:
        return ""
    return name if _CHARSETS(name) is not None else ""


def _decoded(raw: bytes, charset: str) -> bytes | None:
    if charset in ("utf-16", "utf-32") and not any(raw.startswith(mark) for mark, name in _MARKS if name == charset):
        return None  # without a mark it is guessed
    try:
        text = codecs.getincrementaldecoder(charset)().decode(raw)  # the last character may have been cut
    except (UnicodeDecodeError, LookupError):
        return None
    return None if _CONTROL.search(text) is not None else text.encode("utf-8", "surrogatepass")


def _without_a_mark(raw: bytes) -> bytes | None:
    """UTF-16 or UTF-32 without a mark, of which most is ASCII."""
    for charset, width in (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2)):
        whole = raw[: len(raw) - len(raw) % width]
        try:
            sample = whole[:_SAMPLE_BYTES].decode(charset, "replace" if len(whole) > _SAMPLE_BYTES else "strict")
        except UnicodeDecodeError:
            continue
        if 2 * sum(char < "\x80" for char in sample) > len(sample) and _CONTROL.search(sample) is None:
            return _decoded(whole, charset)
    return None


def _multipart(raw: bytes, content_type: str, layer: int) -> bytes | None:
    """A multipart body with what cannot be read in it left out; None when it is no such body."""
    named = _BOUNDARY(content_type)
    first = _FIRST_LINE(raw[:256])
    mark = (named[1] or named[2]).encode("utf-8", "replace") if named is not None else first[1] if first else b""
    if first is not None and first[1].lower() == mark.lower():
        mark = first[1]  # the captured type is in lower case
    if not mark or not raw.startswith(b"--" + mark):
        return None
    pieces = raw[: MAX_BODY_BYTES + 1].split(b"--" + mark)
    shown = [_part(piece, layer) for piece in pieces[1 : _MOST_PARTS + 1]]
    return b"--" + mark + (b"--" + mark).join(shown)


def _part(piece: bytes, layer: int) -> bytes:
    end = _HEADER_END(piece)
    if end is None:
        return piece if _text(piece, "") is not None else b"\r\n"
    head, body, last = piece[: end.end()], piece[end.end() :].removesuffix(b"\n").removesuffix(b"\r"), b"\r\n"
    if _text(head, "") is None:
        return b"\r\n" + UNREADABLE.encode() + last
    said = head.decode("utf-8", "replace").lower()
    kind = said.partition("content-type:")[2].partition("\n")[0]
    found: bytes | Unread | None
    if "multipart/" in kind:
        found = _multipart(body, "", layer + 1) if layer < _MOST_LAYERS else None
    elif "content-transfer-encoding: base64" in said:
        sent = _of_base64(body.decode("latin-1"))
        found = readable(sent, kind) if sent is not None else None
    else:
        found = readable(body, kind, layer=layer + 1)
    if found is None or isinstance(found, Unread):
        found = UNREADABLE.encode()
    return head + found + last


def _transfers(text: str) -> bool:
    return "ncoding: base64" in text or "ncoding:base64" in text


def _bytes_in(text: str) -> bytes | None:
    """The bytes of which a text is hex digits or base64 as a whole."""
    text = text.strip()
    if not len(text) % 2 and _HEX(text[:64]) is not None and _HEX(text) is not None and "-" not in text:
        try:
            return bytes.fromhex(text)
        except ValueError:
            return None
    return _of_base64(text)


def _of_base64(text: str) -> bytes | None:
    if _BASE64(text) is None:
        return None
    plain = text.replace("\r", "").replace("\n", "").strip().rstrip("=")
    if len(plain) % 4 == 1:  # cut by whoever captured it
        plain = plain[:-1]
    plain = plain.replace("-", "+").replace("_", "/")
    try:
        return b64decode(plain + "=" * (-len(plain) % 4))
    except (binascii.Error, ValueError):
        return None


def _printed(text: str) -> bytes | None:
    """The bytes that Python printed, as far as they are kept."""
    try:
        value = literal_eval(text.strip()) if len(text) <= 4 * MAX_BODY_BYTES else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, bytes) else None


def _name_of(content_type: str) -> str:
    return content_type.partition(";")[0].strip()[:80]
