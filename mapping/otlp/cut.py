"""A part of a decoded request: some of its records, numbered in the order of the wire, with what stands above them."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from mapping.otlp.records import Decoded
from mapping.otlp.wire import Logs, Traces


def cut(decoded: Decoded, numbers: Container[int], *, keep: bool) -> Decoded:
    """The request with these records alone, or (keep: False) without them; nothing of it counts as refused."""
    groups: list[Any] = []
    number = accepted = 0
    for group in decoded.groups:
        records: list[Any] = []
        for record in group.records:
            if (number in numbers) is keep:
                records.append(record)
            number += 1
        if records:
            accepted += len(records)
            groups.append(group._replace(records=records))
    size = decoded.size * accepted // max(1, decoded.accepted)
    return Decoded(decoded.signal, groups, accepted, {}, size)


def singles(decoded: Decoded) -> Iterator[Decoded]:
    """A request for each record, in order."""
    size = decoded.size // max(1, decoded.accepted)
    for group in decoded.groups:
        for record in group.records:
            one: Any = record
            alone: list[Any] = [group._replace(records=[one])]
            yield Decoded(decoded.signal, alone, 1, {}, size)


def encoded(decoded: Decoded) -> bytes:
    """The records as an OTLP request in protobuf."""
    request = (Traces if decoded.signal == "traces" else Logs)()
    for group in decoded.groups:
        if decoded.signal == "traces":
            above = request.resource_spans.add()
            scope = above.scope_spans.add()
            scope.spans.extend([record.span for record in group.records])  # type: ignore[union-attr]
        else:
            above = request.resource_logs.add()
            scope = above.scope_logs.add()
            scope.log_records.extend([record.record for record in group.records])  # type: ignore[union-attr]
        above.resource = group.resource.raw
        scope.scope = group.scope.raw
        scope.schema_url = group.schema_url.encode()
    body: bytes = request.SerializeToString()
    return body
