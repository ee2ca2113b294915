"""The bridge as its page shows it: the ledger, what waits, what was refused, in one sentence and in numbers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import orjson

from weighbridge.admin.ledger import intake, residue, sinks
from weighbridge.admin.parts import Parts
from weighbridge.commands.deadletter import letters
from weighbridge.console.answers import Bridge, DeadLetter, Ended, Sampled, SinkState, Taken

_MOST_LETTERS: Final = 100  # shown; the newest
_MOST_READ: Final = 20_000  # of the file, so that a page stays one when there are many
_LONGEST_LETTER: Final = 8000  # characters of one that a page shows
_LATE_S: Final = 60.0  # a record that waits longer is late: batches close after a second, spans are waited for 30
_DOUBTFUL_Z: Final = 4.0  # standard errors; the audit's own alarm, by chance once in 16,000


async def bridge_now(parts: Parts) -> Bridge:
    """As the lanes say it at once. Reads the dead letters in a thread."""
    await parts.refresh()
    report = parts.report()
    dead, cut = await asyncio.to_thread(lambda: _newest(letters(parts.settings)))
    spool = parts.spool
    oldest_s = (time.time_ns() - spool.oldest_received_unix_ns) / 1e9 if spool.oldest_received_unix_ns else 0.0
    ended = [Ended(**row) for row in sinks(parts)]
    found = {step: count for step, count in residue(parts).items() if count}
    states = [SinkState(sink=name, **facts) for name, facts in report.facts.items()]
    sampled = [_sampled(row) for row in report.sampled]
    kind, said, more = _verdict(ended, states, found, sampled, oldest_s, sorted(report.down.values()))
    return Bridge(
        kind=kind,
        said=said,
        more=more,
        intake=[Taken(**row) for row in intake(parts)],
        ended=ended,
        sinks=states,
        spool_bytes=spool.bytes_used,
        spool_max_bytes=parts.settings.spool.max_bytes,
        oldest_undelivered_age_s=round(oldest_s, 3),
        last_sync_s=round(spool.last_sync_s, 6) if spool.last_sync_unix_ns else None,
        sampled=sampled,
        dead_letters=dead,
        dead_letters_cut=cut,
        residue=residue(parts),
    )


def _verdict(
    ended: Sequence[Ended],
    states: Sequence[SinkState],
    unexplained: Mapping[str, int],
    sampled: Sequence[Sampled],
    oldest_s: float,
    down: Sequence[str],
) -> tuple[Any, str, list[str]]:
    """lost before doubtful before late; what is not the sentence stands under it."""
    found: list[tuple[str, str]] = []
    if unexplained:
        said = ", ".join(f"{step} {count:,}" for step, count in unexplained.items())
        found.append(("lost", f"The ledger does not add up, a fault of the bridge: {said}."))
    for name, outcome, what in (
        ("lost", "dropped", "were given up, as the setting backlog_bytes asks for"),
        ("lost", "failed", "could not be mapped; their requests are kept and can be sent again"),
        ("lost", "dead_lettered", "were refused by their destination and wait below as dead letters"),
    ):
        for row in ended:
            if count := getattr(row, outcome):
                of = f" of tenant {row.tenant}" if row.tenant else ""
                found.append((name, f"{count:,} records{of} for {row.sink} {what}."))
    found += [
        ("doubtful", f"The weights of sampling rule {rule.rule} do not add up (z = {rule.audit_z:.1f}).")
        for rule in sampled
        if rule.audit_z is not None and abs(rule.audit_z) > _DOUBTFUL_Z
    ]
    found += [("doubtful", f"{why[:1].upper()}{why[1:]}.") for why in down]
    for state in states:
        if state.last_error:
            found.append(("late", f"{state.sink} does not take events now: {state.last_error}."))
        elif state.oldest_undelivered_age_s > _LATE_S:
            found.append(
                ("late", f"{state.sink} lags: its oldest record waits {state.oldest_undelivered_age_s:.0f} s.")
            )
    behind = sorted({row.sink for row in ended if row.catching_up})
    if behind:
        found.append(("late", f"{', '.join(behind)} still reads requests from before the start."))
    if oldest_s > _LATE_S and not any(kind == "late" for kind, _ in found):
        found.append(("late", f"The oldest request in the spool waits {oldest_s:.0f} s."))
    if not found:
        received = max((sum(row.received for row in ended if row.sink == one.sink) for one in ended), default=0)
        if not received:
            return "good", "Nothing was received yet, and nothing is lost, late or doubtful.", []
        return "good", f"Nothing is lost, late or doubtful: each of {received:,} records is explained.", []
    order = ("lost", "doubtful", "late")
    found.sort(key=lambda one: order.index(one[0]))
    return found[0][0], found[0][1], [said for _, said in found[1:]]


def troubles(parts: Parts) -> Sequence[str]:
    """What a sign on every page says, from what is known at once."""
    report = parts.report()
    found = [
        f"{name} does not take events: {facts['last_error']}"
        for name, facts in report.facts.items()
        if facts["last_error"]
    ]
    unexplained = [step for step, count in residue(parts).items() if count]
    return [*(f"the ledger does not add up at {step}" for step in unexplained), *sorted(report.down.values()), *found]


def _sampled(row: Mapping[str, Any]) -> Sampled:
    numbers = {name: float(value) for name, value in row.items() if name not in ("rule", "tenant", "audit_z")}
    return Sampled(rule=row["rule"], tenant=row["tenant"], numbers=numbers, audit_z=row["audit_z"])


def _newest(found: Iterator[dict[str, Any]]) -> tuple[list[DeadLetter], bool]:
    """The newest, and whether there are more."""
    read = list(islice(found, _MOST_READ + 1))
    read.sort(key=lambda entry: entry["dead_lettered_unix_ns"], reverse=True)
    return [_letter(entry) for entry in read[:_MOST_LETTERS]], len(read) > _MOST_LETTERS


def _letter(entry: Mapping[str, Any]) -> DeadLetter:
    content = orjson.dumps(entry, option=orjson.OPT_INDENT_2, default=str).decode()
    return DeadLetter(
        id=str(entry["transaction_id"]),
        time=datetime.fromtimestamp(entry["dead_lettered_unix_ns"] / 1e9, UTC),
        sink=str(entry["sink"]),
        event_type=str(entry["event"].get("event_type", "?")),
        records=int(entry.get("records", 1)),
        reason=str(entry["reason"]),
        content=content
        if len(content) <= _LONGEST_LETTER
        else f"{content[:_LONGEST_LETTER]}… ({len(content):,} characters)",
    )


Refresh = Callable[[], Iterable[str]]
