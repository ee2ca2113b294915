"""A request body -> Decoded: media type, inflate, JSON to protobuf, bounds, decode. Pure: no socket, no clock.

The HTTP handler, the replay from the spool and `weighbridge map` all come through here, so a request means the same
to each of them.
"""

from __future__ import annotations

from typing import NamedTuple

from mapping.otlp.decode import DecodeError, Decoder
from mapping.otlp.records import Decoded
from receiver.answers import Media
from receiver.decode import compression, otlp_json, prescan, wrong_address
from receiver.errors import BadRequest as BadRequest

_LOOKED_AT = 4096  # bytes that tell what a body is
_MEDIA_TYPES = {media.value: media for media in Media}


class DecodeLimits(NamedTuple):
    """What one request may cost. Defaults: receiver/settings.py."""

    max_body_bytes: int  # as sent, and again after inflation
    max_records: int
    max_elements: int


def decode_request(
    decoder: Decoder, signal: str, content_type: str, content_encoding: str, raw: bytes, limits: DecodeLimits
) -> Decoded:
    """What the body says, with the records that were refused alone counted in `refused`.

    signal: "traces" or "logs"; content_type and content_encoding as in the headers, "" when absent; raw as sent.
    Raises BadRequest: 415 for another media type or coding, 413 over a limit, 400 when nothing in it is usable.
    """
    media = parse_media_type(content_type)
    codings = compression.parse_codings(content_encoding)
    plain = compression.inflate(raw, codings, limits.max_body_bytes)
    return decode_plain(decoder, signal, media, plain, limits)


def decode_plain(decoder: Decoder, signal: str, media: Media, plain: bytes, limits: DecodeLimits) -> Decoded:
    """As decode_request, for a body that is already inflated."""
    bounds = prescan.Limits(limits.max_records, limits.max_elements)
    refused = otlp_json.Refused()
    if media is Media.JSON:
        wire = _wire_of_json(plain, signal, bounds, refused)
    else:
        wire = plain
        prescan.check(plain, signal, bounds)
    try:
        decoded = decoder.traces(wire) if signal == "traces" else decoder.logs(wire)
    except DecodeError as error:
        raise BadRequest(400, _with_hint(str(error), plain)) from error
    if media is not Media.JSON:
        wrong_address.check_protobuf(plain, signal, decoded)
    elif not (decoded.accepted or decoded.refused or refused.count):
        decoded.message = wrong_address.check_json(plain, signal)
    if media is Media.JSON and (beside := wrong_address.beside_json(plain, signal)):
        decoded.message = "; ".join(filter(None, (decoded.message, beside)))
    if refused.count:
        decoded.refused += refused.count
        decoded.message = "; ".join(filter(None, (refused.message(), decoded.message)))
    if decoded.refused and not decoded.accepted:
        # Nothing was usable: a partial success would read as delivered in most clients' logs.
        hint = wrong_address.hint_refused(plain) if media is Media.JSON else ""
        raise BadRequest(400, "; ".join(filter(None, (f"no usable record: {decoded.message}", hint))))
    return decoded


def _wire_of_json(plain: bytes, signal: str, bounds: prescan.Limits, refused: otlp_json.Refused) -> bytes:
    try:
        return otlp_json.transcode(plain, signal, bounds, refused)
    except BadRequest as error:
        hint = wrong_address.hint_json(plain) if error.status == 400 else ""
        if not hint:
            if error.status == 400 and (seems := _seems(plain)):
                raise BadRequest(400, f"{error.message}; {seems}") from error
            raise
        raise BadRequest(400, f"{error.message}; {hint}", reason=wrong_address.REASON) from error


def parse_media_type(content_type: str) -> Media:
    """The encoding a Content-Type names, compared without case and parameters (RFC 9110 §8.3.1).

    Raises BadRequest 415.
    """
    media = _MEDIA_TYPES.get(content_type)
    if media is None:
        media = _MEDIA_TYPES.get(content_type.partition(";")[0].strip().lower())
    if media is None:
        shown = f"Content-Type {content_type[:60]!r}" if content_type else "no Content-Type"
        raise BadRequest(415, f"{shown}; send {' or '.join(_MEDIA_TYPES)}")
    return media


def _seems(plain: bytes) -> str:
    """What bytes that should be JSON or protobuf seem to be, and what they need; "" when that cannot be told."""
    if not plain.strip():
        return "it is empty"
    if plain.startswith(compression.MAGIC):
        return "it looks compressed, which needs Content-Encoding, as gzip or zstd"
    if plain[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "it looks like UTF-16; JSON is sent as UTF-8"
    if plain[:1] == b"\n" and b"\0" in plain[:_LOOKED_AT]:
        return f"it looks like protobuf, which needs Content-Type {Media.PROTOBUF.value}"
    return ""


def _with_hint(message: str, plain: bytes) -> str:
    if plain.startswith(compression.MAGIC):
        return f"{message}; {_seems(plain)}"
    if plain[:1] in (b"{", b"["):
        return f"{message}; it looks like JSON, which needs Content-Type {Media.JSON.value}"
    if plain[:1] == b"\0" and len(plain) == 5 + int.from_bytes(plain[1:5]):
        return f"{message}; it looks like a message of gRPC, which is not spoken here"
    return message
