"""At log level debug: why a call has no user, and why a span became no event. Bounded, and without any value.

Names of headers are told, never what they hold; each reason of a service once in a while, so that a bridge under full
load logs no more than one that idles.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from mapping.event import API_CALL, SKIP, Event
from mapping.mapped import Mapped
from mapping.rules.identity_settings import IdentitySettings

log = logging.getLogger(__name__)

EVERY_S = 60.0  # between two lines that say the same of one service
AT_ONCE = 20  # lines in EVERY_S, whatever there is to say
REMEMBERED = 1000  # reasons of services; then all are forgotten
_MOST_NAMES = 12  # of captured headers in one line
_LONGEST_NAME = 60  # characters of a name that a sender chose


class Explainer:
    """Tells of events as they are mapped. now_s: a clock that only rises."""

    def __init__(self, identity: IdentitySettings, now_s: Callable[[], float] = time.monotonic) -> None:
        self._identity = identity
        self._now_s = now_s
        self._told: dict[tuple[str, str], float] = {}
        self._window_began_s = now_s()
        self._lines = 0
        self._untold = 0

    def tell(self, mapped: Mapped) -> Mapped:
        """One line for each new reason among the events, as far as there is room.

        mapped: with what is skipped among the events. Returns it as it is without.
        """
        kept = []
        for event in mapped.events:
            if event.event_type != SKIP:
                kept.append(event)
            if event.event_type == SKIP:
                self._say(event, f"a span is skipped: {event.reason}")
            elif event.event_type == API_CALL and not event.user_id and event.direction != "Outgoing":
                self._say(event, f"a call has no user: {self._why_anonymous(event)}")

        return mapped._replace(events=kept, skipped=mapped.skipped + len(mapped.events) - len(kept))

    def _why_anonymous(self, event: Event) -> str:
        user = self._identity.user
        wanted = [*user.headers, *(name for name in user.authorization_headers if name not in user.headers)]
        captured = {name.lower() for name in event.request_headers}
        found = [name for name in wanted if name in captured]
        if found:
            return (
                f"{_names(found)} came and names nobody: no user, no Basic user name and no token with the claim "
                f"{user.jwt_claim[:_LONGEST_NAME]}"
            )
        if captured:
            there = _names(sorted(captured))
            return f"of the headers that can name one, {_names(wanted)}, none was captured; there are {there}"
        attributes = _names(user.attributes[:3]) if user.attributes else "none"
        return f"no request header was captured, and no attribute names one ({attributes}, …)"

    def _say(self, event: Event, what: str) -> None:
        now_s, key = self._now_s(), (event.service, what)
        if now_s - self._window_began_s >= EVERY_S:
            if self._untold:
                log.debug("%d more explanations were left out", self._untold)
            self._window_began_s, self._lines, self._untold = now_s, 0, 0
        last_s = self._told.get(key)
        if last_s is not None and now_s - last_s < EVERY_S:
            return
        if self._lines >= AT_ONCE:
            self._untold += 1
            return
        if len(self._told) >= REMEMBERED:
            self._told.clear()
        self._told[key] = now_s
        self._lines += 1
        log.debug("%s", what, extra={"service": event.service[:_LONGEST_NAME], "trace_id": event.trace_id})


def _names(names: Sequence[str]) -> str:
    shown = [name[:_LONGEST_NAME] for name in names[:_MOST_NAMES]]
    return ", ".join(shown) + (", …" if len(names) > _MOST_NAMES else "")
