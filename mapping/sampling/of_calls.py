"""Rules that ask about a call, asked of what belongs to the call: its logs and actions (spec/sampling.md §5, §7).

A log line has no status and a database action no route. Their call has, and a rule on it holds for them too, wherever
the call is known: from the same request, or from one before (`mapping.sampling.recent_calls`). What is known of a call
are the truths of the conditions on its fields, one bit each, and the threshold that its span passed upstream.

That threshold keeps weights true. A call is known only if an SDK let its span through, so a log of it has R >= T_call:
with a rate of its own below that, the log would count for logs of traces whose call nobody saw. Of T_rule, the rule's
threshold for the call, and T_alone, that of the other rules, its threshold is T_alone where that is below T_call, since
that holds for logs of unseen calls as well, else max(T_call, T_rule).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mapping.sampling.rules import Condition, Facts

# Fields of a call. A service, a name or an attribute is each record's own.
WHOSE: Final = ("user", "company", "session")
PATHS: Final = (*("route", "url.path", "method", "status", "status_class", "duration_ms", "ip_address"), *WHOSE)
PREFIXES: Final = ("request.headers.", "request.body.")


def of_call(path: str) -> bool:
    """Whether a rule path is one of a call, which its logs and actions are asked in its place."""
    return path in PATHS or path.startswith(PREFIXES)


class KnownCall(NamedTuple):
    """What a call lends to its logs and actions."""

    holds: int  # a bit for each condition of `CallConditions`
    t_in: int  # the threshold that its span passed upstream, 0 for none


class OfCall:
    """Facts of a log or an action, and what is known of its call."""

    __slots__ = ("call", "own", "t_own")

    def __init__(self, own: Facts, call: KnownCall, t_own: int) -> None:
        """t_own: the threshold that the record passed itself."""
        self.own = own
        self.call = call
        self.t_own = t_own

    def __call__(self, path: str) -> object:
        return self.own(path)

    @property
    def bound(self) -> bool:
        """Whether its call is known only because it passed a threshold that the record did not have to pass."""
        return self.call.t_in > self.t_own

    def unbound(self) -> OfCall:
        """As it is, for randomness that does not tell whether the call passed."""
        return OfCall(self.own, self.call._replace(t_in=0), 0)


class CallConditions:
    """The conditions of a plan's rules that ask about a call."""

    def __init__(self) -> None:
        self._tests: list[Condition] = []

    def __bool__(self) -> bool:
        return bool(self._tests)

    def add(self, path: str, test: Condition) -> Condition:
        """The test as it is asked of every record: where one has no value of its own, its call answers.

        A duration is a record's own or its call's, so that what makes a call slow is kept with it.
        """
        if not of_call(path):
            return test
        bit = 1 << len(self._tests)
        self._tests.append(test)
        beside = path == "duration_ms"

        def asked(facts: Facts) -> bool:
            if isinstance(facts, OfCall) and (beside or facts.own(path) is None):
                return facts.call.holds & bit != 0 or (beside and test(facts))
            return test(facts)

        return asked

    def holds(self, facts: Facts) -> int:
        """The conditions that hold for a call."""
        holds, bit = 0, 1
        for test in self._tests:
            if test(facts):
                holds |= bit
            bit <<= 1
        return holds

    @property
    def nothing(self) -> int:
        """Those that hold for a record of which nothing is known: that something is not there."""
        return self.holds(lambda path: None)
