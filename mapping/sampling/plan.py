"""The rules in force, compiled: which rate a record gets, and the shared decisions of each rate.

A plan is immutable in what it decides. A new configuration is a new plan, put in force between two requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mapping.sampling.decide import Band, Rate, Upstream
from mapping.sampling.of_calls import CallConditions, OfCall
from mapping.sampling.rules import Facts, compile_conditions
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.thresholds import parse_rate

MAX_BANDS = 4096  # per rate; senders choose T_in, so without a bound they would choose our memory

DEFAULT_RULE = "default"


class Ruled:
    """One rate and everything it has already decided."""

    __slots__ = ("_bands", "_floored", "by_text", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.by_text: dict[str, Band] = {}  # tracestate -> band, only where R is the last 7 bytes of the trace id
        self._bands: dict[tuple[str, int, str, bool, int], Band] = {}
        self._floored: dict[int, Ruled] = {}

    def floored(self, t: int) -> Ruled:
        """The same rate, never below a threshold."""
        found = self._floored.get(t)
        if found is None:
            if len(self._floored) >= MAX_BANDS:
                self._floored.clear()
            found = self._floored[t] = Ruled(self.rate._replace(t_floor=t))
        return found

    def band(self, up: Upstream) -> Band:
        key = (up.status, up.t_in, up.r_source, up.refuse, up.passed)
        found = self._bands.get(key)
        if found is None:
            if len(self._bands) >= MAX_BANDS:
                self._bands.clear()
            found = self._bands[key] = Band(self.rate, up)
        return found

    def remember(self, trace_state: str, band: Band) -> None:
        if len(trace_state) > 256:
            return
        if len(self.by_text) >= MAX_BANDS:
            self.by_text.clear()
        self.by_text[trace_state] = band


Chooser = Callable[[Facts], Ruled | None]  # None: no opinion, ask the next


class Plan:
    """Choosers in order, and the rate of records about which none has an opinion.

    only: the one rate of a plan without conditions, else None. calls: the conditions that ask about a call.
    """

    __slots__ = ("_choosers", "_otherwise", "calls", "config", "only")

    def __init__(self, choosers: Sequence[Chooser], otherwise: Ruled, config: str, calls: CallConditions) -> None:
        self._choosers = tuple(choosers)
        self._otherwise = otherwise
        self.config = config
        self.calls = calls
        self.only = None if self._choosers else otherwise

    def choose(self, facts: Facts) -> Ruled:
        for chooser in self._choosers:
            if (ruled := chooser(facts)) is not None:
                return ruled
        return self._otherwise

    def choose_of_call(self, facts: Facts) -> Ruled:
        """As `choose`, also of records whose call is known only because it passed a threshold."""
        ruled = self.choose(facts)
        if not isinstance(facts, OfCall) or not facts.bound or not ruled.rate.probability:
            return ruled
        alone = self.choose(facts.own)
        t_alone, t_call = alone.rate.t_rule(facts.t_own), facts.call.t_in
        if ruled is alone or (t_alone is not None and t_alone < t_call):
            return alone
        return ruled.floored(t_call)


def local_plan(settings: SamplingSettings) -> Plan:
    config, calls = settings.version(), CallConditions()
    choosers, otherwise = local_rules(settings, config, calls)
    return Plan(choosers, otherwise or default_rule(settings, config), config, calls)


def local_rules(settings: SamplingSettings, config: str, calls: CallConditions) -> tuple[list[Chooser], Ruled | None]:
    """The conditional rules in order, and a last rule without conditions if there is one."""
    choosers: list[Chooser] = []
    for rule in settings.rules:
        mode = rule.mode or settings.mode
        ruled = Ruled(Rate(rule.name, parse_rate(rule.rate), mode, settings.precision, config))
        condition = compile_conditions([(c.path, c.op, c.value) for c in rule.when], calls.add)
        if condition is None:
            return choosers, ruled
        choosers.append(_when(condition, ruled))
    return choosers, None


def default_rule(settings: SamplingSettings, config: str) -> Ruled:
    return Ruled(Rate(DEFAULT_RULE, parse_rate(settings.rate), settings.mode, settings.precision, config))


def _when(condition: Callable[[Facts], bool], ruled: Ruled) -> Chooser:
    def chooser(facts: Facts) -> Ruled | None:
        return ruled if condition(facts) else None

    return chooser
