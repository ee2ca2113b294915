"""What a body is that holds nothing of the signal it was sent as: sent to another signal's address, or in other words.

Protobuf's field numbers coincide, so spans parse as log records and metrics as both; unknown JSON keys are ignored, as
the protocol wants it. Either way a sender would be told 200 and lose everything. Only what is told apart by structure
is refused; a request that is merely empty, or odd, is taken.
"""

from __future__ import annotations

import re
from typing import Final, cast

from google.protobuf.message import DecodeError

from mapping.otlp.records import Decoded, LogGroup
from receiver.decode.prescan import first_record
from receiver.errors import BadRequest

REASON: Final = "wrong_address"
_LOOKED_AT: Final = 65_536  # bytes of JSON whose keys are looked at
_KEY: Final = re.compile(rb'"([A-Za-z_]{4,40})"\s{0,20}:')
_FIXED64, _SIZED = 1, 2  # wire types
_TRACE_ID, _SPAN_ID = 16, 8  # bytes
_NOUN: Final = {"traces": "spans", "logs": "log records"}
_PATH: Final = {"traces": "/v1/traces", "logs": "/v1/logs"}
_LIST_BEGINS: Final = re.compile(rb"\s{0,20}:\s{0,20}\[").match
_HAS_RECORDS: Final = {
    "traces": re.compile(rb'"spans"\s{0,20}:\s{0,20}\[\s{0,20}\{').search,
    "logs": re.compile(rb'"logRecords"\s{0,20}:\s{0,20}\[\s{0,20}\{').search,
}
_METRICS: Final = "these are metrics, which are not taken"
_PROFILES: Final = "these are profiles, which are not taken"

# Keys that only records have.
_OF_RECORDS: Final = frozenset(
    {
        b"traceId", b"trace_id", b"spanId", b"span_id", b"timeUnixNano", b"time_unix_nano", b"observedTimeUnixNano",
        b"startTimeUnixNano", b"body", b"severityText", b"severityNumber", b"kind", b"logRecords", b"log_records",
    }
)  # fmt: skip
# Keys of OTLP/JSON as it is not, or no longer, spelled -> how it is.
_SPELLED: Final = {
    b"resource_spans": "resourceSpans",
    b"scope_spans": "scopeSpans",
    b"resource_logs": "resourceLogs",
    b"scope_logs": "scopeLogs",
    b"log_records": "logRecords",
    b"instrumentationLibrarySpans": "scopeSpans",
    b"instrumentation_library_spans": "scopeSpans",
    b"instrumentationLibraryLogs": "scopeLogs",
    b"instrumentation_library_logs": "scopeLogs",
}
# The same for keys of records.
_SPELLED_IN_RECORDS: Final = {
    b"trace_id": "traceId",
    b"span_id": "spanId",
    b"time_unix_nano": "timeUnixNano",
    b"start_time_unix_nano": "startTimeUnixNano",
    b"end_time_unix_nano": "endTimeUnixNano",
}
_SIGNALS: Final = {
    b"resourceSpans": "traces",
    b"resource_spans": "traces",
    b"resourceLogs": "logs",
    b"resource_logs": "logs",
}


def check_json(plain: bytes, signal: str) -> str:
    """What to tell the sender of a JSON body without a record that is no fault of OTLP/JSON: keys that it does not know
    are ignored, as the protocol wants it, so the answer is 200. "" when the body is just empty.

    Raises BadRequest 400 when its records are of another signal or format.
    """
    keys = set(_KEY.findall(plain[:_LOOKED_AT]))
    sent_as = next((found for key, found in _SIGNALS.items() if key in keys), signal)
    right_keys = keys & {key for key, found in _SIGNALS.items() if found == signal}
    if sent_as != signal and not right_keys and keys & _OF_RECORDS:
        raise _refusal(f"these are {_NOUN[sent_as]}: send them to {_PATH[sent_as]}")
    if not right_keys and keys & {b"resourceMetrics", b"resource_metrics"}:
        raise _refusal(_METRICS)
    if not right_keys and keys & {b"resourceProfiles", b"resource_profiles"}:
        raise _refusal(_PROFILES)
    if not keys & set(_SIGNALS) and (other := _other_format(keys)):
        raise _refusal(other)
    if wrong := _misspelled(keys, _SPELLED):
        return f"nothing was taken: {wrong}"
    if not keys & set(_SIGNALS) and b'"' in plain[:_LOOKED_AT]:
        right = next(key.decode() for key, found in _SIGNALS.items() if found == signal)
        return f'nothing was taken: a request in OTLP/JSON has the key "{right}"'
    return ""


def hint_refused(plain: bytes) -> str:
    """Why no record of a JSON body was usable, where the spelling of its keys tells; "" for all others."""
    return _misspelled(set(_KEY.findall(plain[:_LOOKED_AT])), _SPELLED_IN_RECORDS)


def _misspelled(keys: set[bytes], spelled: dict[bytes, str]) -> str:
    wrong = [f'"{key.decode()}", which is "{right}"' for key, right in spelled.items() if key in keys]
    return f"OTLP/JSON has no key {', and no '.join(wrong)}" if wrong else ""


def beside_json(plain: bytes, signal: str) -> str:
    """What to tell the sender of a JSON body that holds another signal too, which is not taken; "" for all others."""
    other, key = ("logs", b'"resourceLogs"') if signal == "traces" else ("traces", b'"resourceSpans"')
    at = plain.find(key)
    while at >= 0:
        if plain[at - 1 : at] != b"\\" and _LIST_BEGINS(plain, at + len(key)) is not None:  # else it is in a text
            if _HAS_RECORDS[other](plain) is None:  # envelopes without a record in them lose nothing
                return ""
            return f"{_NOUN[other]} are not taken here: send them to {_PATH[other]}"
        at = plain.find(key, at + 1)
    return ""


def hint_json(plain: bytes) -> str:
    """What a body that is no JSON object, or more than one, seems to be; "" when that cannot be told."""
    start = plain[:_LOOKED_AT].lstrip()
    keys = set(_KEY.findall(start))
    if start.startswith(b"[") and keys & set(_SIGNALS):
        return "it looks like an array of requests: send each by itself"
    if (other := _other_format(keys)) and not keys & set(_SIGNALS):
        return other
    if start.startswith(b"{") and len(re.findall(rb"(?m)^\s{0,20}\{", start[:_LOOKED_AT])) > 1 and keys & set(_SIGNALS):
        return "it looks like several requests, one a line: send each by itself"
    return ""


def check_protobuf(plain: bytes, signal: str, decoded: Decoded) -> None:
    """Return when the records may be of this signal. Raises BadRequest 400 when they are of another."""
    if decoded.accepted and (signal == "traces" or not _is_without_times(decoded)):
        return  # nothing else has what makes a span valid
    try:
        record = first_record(plain)
    except DecodeError:
        return
    fields = _fields(record)
    types = {number: wire_type for number, (wire_type, _) in fields.items()}
    if signal == "logs":
        if types.get(1) == _SIZED:  # where a log record has its time
            if len(fields[1][1]) == _TRACE_ID and types.get(2) == _SIZED and len(fields[2][1]) == _SPAN_ID:
                raise _refusal(f"these are spans: send them to {_PATH['traces']}")
            raise _refusal("these are no log records; metrics and profiles are not taken")
    elif types.get(1) == _FIXED64 or types.get(11) == _FIXED64:  # where a span has its trace id and its events
        raise _refusal(f"these are log records: send them to {_PATH['logs']}")
    elif (
        types.get(1) == _SIZED
        and len(fields[1][1]) != _TRACE_ID
        and _SIZED in (types.get(5), types.get(7), types.get(9))
        and _FIXED64 not in (types.get(7), types.get(8))  # where a span has its times
    ):
        raise _refusal("these are no spans; metrics and profiles are not taken")


def _is_without_times(decoded: Decoded) -> bool:
    """Whether some first log record has no time at all, as spans and metrics seem to have none when read as logs."""
    groups = cast("list[LogGroup]", decoded.groups)
    firsts = (group.records[0].record for group in groups if group.records)
    return any(not record.time_unix_nano and not record.observed_time_unix_nano for record in firsts)


def _fields(record: bytes) -> dict[int, tuple[int, bytes]]:
    """The first field of each number of a message: its wire type, and what it holds when that is 2."""
    fields: dict[int, tuple[int, bytes]] = {}
    position = 0
    try:
        while position < len(record) and len(fields) < 32:
            tag, position = _varint(record, position)
            wire_type, content = tag & 7, b""
            if wire_type == 0:
                _, position = _varint(record, position)
            elif wire_type == 2:
                length, position = _varint(record, position)
                content = record[position : position + min(length, 64)]
                position += length
            elif wire_type in (1, 5):
                position += 8 if wire_type == 1 else 4
            else:
                break
            fields.setdefault(tag >> 3, (wire_type, content))
    except IndexError:
        pass
    return fields


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value, position


def _other_format(keys: set[bytes]) -> str:
    if b"localEndpoint" in keys or b"remoteEndpoint" in keys or b"binaryAnnotations" in keys:
        return "it looks like Zipkin's JSON; a Collector turns it into OTLP"
    if b"traceID" in keys and keys & {b"processes", b"processID", b"operationName"}:
        return "it looks like Jaeger's JSON; a Collector turns it into OTLP"
    return ""


def _refusal(message: str) -> BadRequest:
    return BadRequest(400, message, reason=REASON)
