"""What a page is asked for: the parameters of its address, checked, with what they mean where they are not given."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from urllib.parse import quote, urlencode

from aiohttp import web

from exporter.clickhouse.looks import Span
from exporter.clickhouse.queries import Condition
from weighbridge.commands.conditions import parse_where
from weighbridge.commands.errors import CommandError
from weighbridge.commands.moments import parse_since

# What the control offers; any age or moment may be written instead.
RANGES: Final = {
    "15m": "15 minutes",
    "1h": "hour",
    "6h": "6 hours",
    "24h": "24 hours",
    "7d": "7 days",
    "30d": "30 days",
}
USUAL: Final = "1h"
LONGEST: Final = timedelta(days=400)  # more than the store keeps by default
_MOST_POINTS: Final = 90  # of a chart
_STEPS_S: Final = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10_800,
    21_600,
    43_200,
    86_400,
    604_800,
)
MOST_CONDITIONS: Final = 20
_LONGEST_TEXT: Final = 1000  # characters of a parameter
LONGEST_SQL: Final = 6000  # characters: an address of a page stays below what servers and browsers take (8 KB)


class Period(NamedTuple):
    """The time that is asked about, and how it was written."""

    span: Span
    since: str
    until: str  # "": now

    @property
    def step_s(self) -> int:
        """Seconds of one point of a chart."""
        length_s = self.span.length.total_seconds()
        return next((step for step in _STEPS_S if length_s / step <= _MOST_POINTS), _STEPS_S[-1])

    def parameters(self) -> dict[str, str]:
        """As they stand in an address; nothing for what is usual."""
        found = {"since": self.since} if self.since != USUAL else {}
        return found | ({"until": self.until} if self.until else {})


class Asked:
    """The parameters of one request. Raises HTTPBadRequest for what is not known, absurdly long or cannot be meant."""

    def __init__(self, request: web.Request, known: Collection[str], several: Collection[str] = ("where",)) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in request.query.items():
            if name not in known:
                raise web.HTTPBadRequest(text=f"unknown parameter {name[:60]!r}; there are {', '.join(sorted(known))}")
            if name in self._values and name not in several:
                raise web.HTTPBadRequest(text=f"{name} is given twice")
            longest = LONGEST_SQL if name == "q" else _LONGEST_TEXT
            if len(value) > longest or "\0" in value:
                raise web.HTTPBadRequest(text=f"{name} is longer than {longest} characters, or holds a zero byte")
            try:
                value.encode()
            except UnicodeEncodeError:
                raise web.HTTPBadRequest(text=f"{name} is not UTF-8") from None
            self._values.setdefault(name, []).append(value)

    def text(self, name: str, otherwise: str = "") -> str:
        return self._values.get(name, [otherwise])[0]

    def given(self, name: str) -> bool:
        return name in self._values

    def number(self, name: str, otherwise: int, least: int, most: int) -> int:
        text = self.text(name)
        if not text:
            return otherwise
        if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise web.HTTPBadRequest(text=f"{name} is not a whole number from {least} to {most}")
        return int(text)

    def choice(self, name: str, words: Sequence[str]) -> str:
        """One of the words; the first where it is not given."""
        word = self.text(name, words[0])
        if word not in words:
            raise web.HTTPBadRequest(text=f"{name} is one of {', '.join(words)}")
        return word

    def moment(self, name: str) -> datetime | None:
        text = self.text(name)
        return parse_moment(text, name, datetime.now(UTC)) if text else None

    def period(self, usual: str = USUAL) -> Period:
        """`since` and `until`, by default the last hour."""
        now = datetime.now(UTC)
        since_text, until_text = self.text("since", usual), self.text("until")
        until = parse_moment(until_text, "until", now) if until_text else now
        since = parse_moment(since_text, "since", now)
        if since >= until:
            raise web.HTTPBadRequest(text="since is not before until")
        if until - since > LONGEST:
            raise web.HTTPBadRequest(text=f"at most {LONGEST.days} days can be asked about at once")
        return Period(Span(since, until), since_text, until_text)

    def conditions(self) -> list[tuple[str, list[Condition]]]:
        """Every `where`, as written and as conditions on columns."""
        texts = self._values.get("where", [])
        if len(texts) > MOST_CONDITIONS:
            raise web.HTTPBadRequest(text=f"at most {MOST_CONDITIONS} conditions")
        try:
            return [(text, parse_where(text)) for text in texts if text.strip()]
        except CommandError as error:
            raise web.HTTPBadRequest(text=error.message.replace("--where ", "")) from error


def parse_moment(text: str, name: str, now: datetime) -> datetime:
    """A date, a time or an age. Raises HTTPBadRequest."""
    whole = re.fullmatch(r"([0-9]{1,16})us", text)  # microseconds since the epoch, as links to an event have it
    try:
        if whole:
            return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(whole[1]))
        moment = datetime.fromtimestamp(parse_since(text, now, name) / 10**9, UTC)
    except (CommandError, OverflowError, ValueError, OSError) as error:
        raise web.HTTPBadRequest(
            text=f"{name}: write 2026-11-20, 2026-11-20T18:00, or an age such as 90m, 12h, 3d"
        ) from error
    if not datetime(1971, 1, 1, tzinfo=UTC) <= moment <= datetime(2261, 1, 1, tzinfo=UTC):
        raise web.HTTPBadRequest(text=f"{name}: no time that the store knows")
    return moment


def microseconds(moment: datetime) -> str:
    """A moment as `parse_moment` reads it exactly."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return f"{(aware - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)}us"


def address(path: str, parameters: Mapping[str, str | Sequence[str]] | None = None, **more: str | Sequence[str]) -> str:
    """A path with its parameters, all of them quoted; those that are empty are left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in {**(parameters or {}), **more}.items():
        pairs += [(name, one) for one in ([value] if isinstance(value, str) else value) if one]
    return quote(path) + (f"?{urlencode(pairs, quote_via=quote)}" if pairs else "")
