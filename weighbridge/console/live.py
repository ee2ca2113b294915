"""Events as they arrive, as server-sent events: every one is sent, or counted as left out; none is skipped in silence.

Events are stored a little after they were received, and not in that order. So each look counts what was received in
each second, as far back as something can still arrive; where a count has grown, the newest of these seconds are
fetched, and what is not shown of the growth is said as a number.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from aiohttp import web

from exporter.clickhouse import looks
from exporter.clickhouse.looks import Scope, Span
from exporter.clickhouse.queries import Condition
from weighbridge.console.access import Who
from weighbridge.console.asked import Asked
from weighbridge.console.entrance import who_asks
from weighbridge.console.lines import line_of
from weighbridge.console.rendering import part
from weighbridge.console.store import Store, Unanswered

PARAMETERS: Final = ("where", "text", "since", "until", "limit", "event", "at", "live", "after")
_LOOK_S: Final = 1.0
_MOST_AT_ONCE: Final = 100  # events sent for one look: what a person can still see go by
_LATE: Final = timedelta(seconds=10)  # beyond the wait of log-derived calls for their span
_CLOCKS: Final = timedelta(days=1)  # by which a sender's clock may be off
_LONGEST_S: Final = 3600.0  # of one stream; browsers come back by themselves, from where they were
_MOST_STREAMS: Final = 32  # at a time: each asks the store every second
_MOST_BACK: Final = timedelta(minutes=10)  # that a stream which comes back is told of


class Live:
    def __init__(self, store: Store, span_wait_s: Callable[[], float]) -> None:
        self._store = store
        self._span_wait_s = span_wait_s
        self._streams = 0
        self._closed = asyncio.Event()

    def close(self) -> None:
        """Every stream ends at once; their pages come back by themselves when the bridge does."""
        self._closed.set()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: `event` with a line of HTML, `left_out` with a count, `trouble` with a sentence."""
        asked = Asked(request, PARAMETERS)
        who = who_asks(request)
        conditions = [condition for _, found in asked.conditions() for condition in found]
        begin = _begin(request.headers.get("Last-Event-ID") or asked.text("after"))
        if self._streams >= _MOST_STREAMS:
            raise web.HTTPServiceUnavailable(text=f"{_MOST_STREAMS} pages are live already: pause one of them")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        self._streams += 1
        try:
            await response.prepare(request)
            await self._send_all(response, who, conditions, asked.text("text"), begin)
        except ConnectionError:
            pass  # the page was closed
        finally:
            self._streams -= 1
        return response

    async def _send_all(
        self, response: web.StreamResponse, who: Who, conditions: Sequence[Condition], text: str, begin: datetime
    ) -> None:
        watch = Watch(self._store, who.scope, conditions, text, begin, self._span_wait_s())
        ends = time.monotonic() + _LONGEST_S
        await response.write(b"retry: 2000\n\n")
        while time.monotonic() < ends and not self._closed.is_set():
            try:
                rows, left_out = await watch.look()
            except Unanswered as error:
                await response.write(_message("trouble", {"said": str(error)}, ""))
                rows, left_out = [], 0
            for row in rows:
                line = line_of(row)
                html = part("lines.html", "row", line, f"?event={line.event_id}&at={line.at}", False)
                await response.write(_message("event", {"id": line.event_id, "html": html}, watch.mark))
            if left_out:
                await response.write(_message("left_out", {"count": left_out}, watch.mark))
            if not rows and not left_out:
                await response.write(b": nothing new\n\n")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), _LOOK_S)


class Watch:
    """What is new since the last look."""

    def __init__(
        self,
        store: Store,
        scope: Scope,
        conditions: Sequence[Condition],
        text: str,
        begin: datetime,
        span_wait_s: float,
    ) -> None:
        self._store = store
        self._scope = scope
        self._conditions = conditions
        self._text = text
        self._reach = timedelta(seconds=span_wait_s) + _LATE
        self._begin = begin
        self._known: Counter[int] = Counter()  # events by second that were shown or counted as left out
        self._shown: dict[str, int] = {}  # second by event id
        self._first = True

    @property
    def mark(self) -> str:
        """From where a stream that breaks goes on."""
        return str(max(self._known, default=int(self._begin.timestamp())))

    async def look(self) -> tuple[list[dict[str, Any]], int]:
        """New events, oldest first, and how many more there are. Raises Unanswered."""
        now = datetime.now(UTC)
        after = max(self._begin, now - max(self._reach, timedelta(seconds=60))) if not self._first else self._begin
        after = after.replace(microsecond=0)
        span = Span(after - _CLOCKS, now + _CLOCKS)
        counts = await self._ask(looks.arrivals(self._scope, span, after, self._conditions, self._text))
        seconds = {int(row["second"]): int(row["events"]) for row in counts}
        grown = sorted(second for second, events in seconds.items() if events > self._known[second])
        growth = sum(seconds[second] - self._known[second] for second in grown)
        self._first = False
        if not growth:
            return [], 0
        in_question = set(grown)
        most = _MOST_AT_ONCE + sum(second in in_question for second in self._shown.values())
        rows = await self._ask(looks.arrived(self._scope, span, grown, self._conditions, self._text, most))
        new = [row for row in rows if row["event_id"] not in self._shown][:_MOST_AT_ONCE]
        for second in grown:
            self._known[second] = seconds[second]
        oldest = int(after.timestamp())
        self._shown |= {row["event_id"]: int(row["received_at"].timestamp()) for row in new}
        self._shown = {event_id: second for event_id, second in self._shown.items() if second >= oldest}
        self._known = Counter({second: events for second, events in self._known.items() if second >= oldest})
        return new[::-1], max(0, growth - len(new))

    async def _ask(self, statement: Any) -> list[dict[str, Any]]:
        return (await self._store.ask(statement)).dicts()


def _begin(mark: str) -> datetime:
    """The second from which on events are told: that of a mark, at most some minutes ago; now without one."""
    now = datetime.now(UTC)
    if not (mark.isascii() and mark.isdigit() and len(mark) < 12):
        return now
    return max(now - _MOST_BACK, min(now, datetime.fromtimestamp(int(mark), UTC)))


def _message(kind: str, data: object, mark: str) -> bytes:
    head = f"event: {kind}\n" + (f"id: {mark}\n" if mark else "")
    return head.encode() + b"data: " + orjson.dumps(data) + b"\n\n"
