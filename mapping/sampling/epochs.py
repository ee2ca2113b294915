"""The budget controller: arrivals in, rate tables out (spec/sampling.md §9).

Every epoch it forecasts what each key (tenant and rule) will send, shares the budget out fairly, and
publishes an immutable table of rates. A record looks its rate up by its own time, so a retry finds the same
one. Nothing kept or dropped is ever fed
back: a rate that reacts to its own outcomes is biased, however cleverly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from mapping.sampling.budget import budget_probability, water_fill
from mapping.sampling.decide import Rate
from mapping.sampling.plan import Ruled
from mapping.sampling.rules import Facts, as_text
from mapping.sampling.settings import BudgetSettings
from mapping.sampling.thresholds import MIN_PROBABILITY

EMA_SHARE = 0.5  # weight of the newest epoch in the forecast
BURST = 2.0  # arrivals beyond this many forecasts publish a new table within the epoch
FORGET = 0.05  # a key whose forecast falls below this many records per epoch is unknown again
MAX_CELLS = 16  # distinct upstream adjusted counts remembered per key
_GRID = 1 << 32  # probabilities are multiples of 2^-32: short to print, far finer than a threshold's precision
_OTHERS = "(others)"

Key = tuple[str, str]  # tenant, rule
Histogram = dict[float, float]  # upstream adjusted count -> records per epoch
Arrivals = list[tuple[Key, Rate, Histogram]]  # with the rate of the rules alone


class Table:
    """Rates in force for records with a time of from_unix_ns or later, until the next table."""

    __slots__ = ("cold", "from_unix_ns", "rates", "ruled")

    def __init__(self, from_unix_ns: int, rates: Mapping[Key, Fraction], cold: Fraction) -> None:
        self.from_unix_ns = from_unix_ns
        self.rates = rates
        self.cold = cold
        self.ruled: dict[tuple[Rate, Fraction], Ruled] = {}  # rebuilt when missing

    def plain(self) -> dict[str, object]:
        """For JSON; `from_plain` makes the same table of it."""
        rates = [[tenant, rule, str(p)] for (tenant, rule), p in self.rates.items()]
        return {"from_unix_ns": self.from_unix_ns, "cold": str(self.cold), "rates": rates}

    @classmethod
    def from_plain(cls, plain: Any) -> Table:
        """Raises ValueError, KeyError or TypeError when it is none."""
        rates = {(str(tenant), str(rule)): Fraction(p) for tenant, rule, p in plain["rates"]}
        return cls(int(plain["from_unix_ns"]), rates, Fraction(plain["cold"]))


class Budget:
    """One per sampler. All times are the wall clock in nanoseconds, as records carry it."""

    def __init__(self, settings: BudgetSettings) -> None:
        self.tables = [Table(0, {}, Fraction(1))]  # newest first
        self._settings = settings
        self._epoch_ns = int(settings.epoch_s * 1e9)
        self._records = settings.events_per_second * settings.epoch_s  # budget of an epoch
        self._pool = settings.cold_start_share * self._records
        self._began_ns = 0
        self._arrived: dict[Key, Histogram] = {}
        self._forecast: dict[Key, Histogram] = {}
        self._ceiling: dict[Key, Rate] = {}
        self._unknown = 0.0
        self._arrived_unknown = 0.0
        self._burst = False
        self._limits: dict[Key, float] = {}  # arrivals that make a burst

    def restore(self, tables: Iterable[Table]) -> None:
        """Tables of an earlier process, any order: its records are decided again as before.

        The newest goes on until this process has seen arrivals of its own, unless it is long out of date.
        """
        self.tables = sorted(tables, key=lambda table: -table.from_unix_ns) or self.tables

    def ruled(self, base: Ruled, facts: Facts) -> tuple[Key, Ruled]:
        """The key a record belongs to, and its rate at its own time; base.

        What the rules gave, which is a ceiling.
        """
        key = self._key(base.rate.rule, facts)
        when = facts("time_unix_nano")
        table = self.tables[0]
        if isinstance(when, int) and when < table.from_unix_ns:
            table = next((t for t in self.tables if t.from_unix_ns <= when), self.tables[-1])
        p = table.rates.get(key, table.cold)
        if p >= base.rate.probability:
            return key, base
        memo = (base.rate, p)
        ruled = table.ruled.get(memo)
        if ruled is None:
            config = f"{base.rate.config}@{table.from_unix_ns // 10**9}"
            ruled = table.ruled[memo] = Ruled(base.rate._replace(probability=p, config=config))
        return key, ruled

    def arrived(self, key: Key, base: Rate, adjusted_in: float, count: float = 1.0) -> None:
        """Count an arrival, kept or not. base: the rate of the rules alone. count: of so many alike."""
        cells = self._arrived.get(key)
        if cells is None:
            cells = self._arrived[key] = {}
        if adjusted_in not in cells and len(cells) >= MAX_CELLS:
            adjusted_in = float(1 << int(math.log2(adjusted_in)))
        cells[adjusted_in] = cells.get(adjusted_in, 0.0) + count
        self._ceiling[key] = base
        if key in self._limits:
            if sum(cells.values()) > self._limits[key]:
                self._burst = True
        else:
            self._arrived_unknown += count
            if self._arrived_unknown > max(BURST * self._unknown, self._pool):
                self._burst = True

    def told(self, arrivals: Arrivals) -> None:
        """Count what arrived in other processes (`LedBudget.take`), each of which knows at most `max_keys`."""
        for key, base, cells in arrivals:
            for adjusted_in, count in cells.items():
                self.arrived(key, base, adjusted_in, count)

    def tick(self, now_unix_ns: int) -> bool:
        """Publish what is due. True when a new table is in force."""
        if not self._began_ns:
            self._began_ns = now_unix_ns
            if not 0 < self.tables[0].from_unix_ns < now_unix_ns - int(self._settings.remember_s * 1e9):
                return False
            self.tables.insert(0, Table(now_unix_ns, {}, Fraction(1)))
            return True
        elapsed_ns = now_unix_ns - self._began_ns
        if elapsed_ns >= self._epoch_ns:
            self._close_epoch(self._epoch_ns / elapsed_ns)
            self._began_ns = now_unix_ns
        elif self._burst and elapsed_ns > 0:
            self._extrapolate(self._epoch_ns / elapsed_ns)
        else:
            return False
        self._burst = False
        self._publish(now_unix_ns)
        return True

    def _key(self, rule: str, facts: Facts) -> Key:
        tenant = as_text(facts(self._settings.key)) or as_text(facts("service")) or ""
        key = (tenant, rule)
        if key not in self._ceiling and len(self._ceiling) >= self._settings.max_keys:
            return (_OTHERS, rule)
        return key

    def _close_epoch(self, scale: float) -> None:
        """Fold the epoch's arrivals into the forecast. scale: epoch length over what has really elapsed."""
        for key in [*self._forecast, *(k for k in self._arrived if k not in self._forecast)]:
            new = {a: n * scale for a, n in self._arrived.get(key, {}).items()}
            old = self._forecast.get(key)
            if old is not None:
                new = {
                    a: EMA_SHARE * new.get(a, 0.0) + (1 - EMA_SHARE) * old.get(a, 0.0) for a in new.keys() | old.keys()
                }
            self._forecast[key] = {a: n for a, n in new.items() if n >= FORGET / MAX_CELLS}
            if sum(new.values()) < FORGET:
                del self._forecast[key]
                self._ceiling.pop(key, None)
        self._unknown = EMA_SHARE * self._arrived_unknown * scale + (1 - EMA_SHARE) * self._unknown
        self._arrived.clear()
        self._arrived_unknown = 0.0

    def _extrapolate(self, scale: float) -> None:
        """In mid-epoch: forecasts that arrivals have outrun grow to the pace of this epoch so far."""
        for key, cells in self._arrived.items():
            pace = {a: n * scale for a, n in cells.items()}
            if sum(pace.values()) > sum(self._forecast.get(key, {}).values()):
                self._forecast[key] = pace
        self._unknown = max(self._unknown, self._arrived_unknown * scale)
        self._arrived_unknown = 0.0  # all of them are known from now on

    def _publish(self, now_unix_ns: int) -> None:
        demand = {key: _demand(cells, self._ceiling[key]) for key, cells in self._forecast.items()}
        reserve = min(self._pool, self._unknown)
        weights = {key: self._settings.shares.get(key[0], 1.0) for key in demand}
        floor = self._settings.floor * self._settings.epoch_s
        share = water_fill(demand, self._records - reserve, weights, floor).share
        rates = {key: self._probability(key, demand[key], share[key]) for key in demand}
        cold = 1.0 if self._unknown <= self._pool else self._pool / self._unknown
        self._put_in_force(Table(now_unix_ns, rates, _on_grid(cold)))
        small = self._records / 20  # a key this small may burst within the noise of everybody else
        self._limits = {k: max(BURST * sum(cells.values()), small) for k, cells in self._forecast.items()}

    def _put_in_force(self, table: Table) -> None:
        self.tables[0].ruled.clear()  # seldom used from now on, and rebuilt when it is
        self.tables.insert(0, table)
        oldest_ns = table.from_unix_ns - int(self._settings.remember_s * 1e9)
        while len(self.tables) > 2 and self.tables[-2].from_unix_ns <= oldest_ns:
            self.tables.pop()

    def _probability(self, key: Key, demand: float, share: float) -> Fraction:
        base = self._ceiling[key]
        if share >= demand * (1 - 1e-9):
            return base.probability
        cells = self._forecast[key]
        if base.mode == "proportional":  # of what arrives, so upstream's part plays no role
            return _on_grid(share / sum(cells.values()))
        return _on_grid(budget_probability([(n, a) for a, n in cells.items()], share))


class LedBudget(Budget):
    """A budget's part in one of several processes: it says what arrives there, and is told the tables of all."""

    def __init__(self, settings: BudgetSettings) -> None:
        super().__init__(settings)
        self._next: list[Table] = []

    def take(self) -> Arrivals:
        """What has arrived since the last time."""
        arrived, self._arrived = self._arrived, {}
        told = [(key, self._ceiling[key], cells) for key, cells in arrived.items()]
        known = self.tables[0].rates
        self._ceiling = {key: base for key, base in self._ceiling.items() if key in known or key in arrived}
        return told

    def put(self, table: Table) -> None:
        """In force from the next tick on; one that is known is left as it is."""
        self._next.append(table)

    def tick(self, now_unix_ns: int) -> bool:
        news, self._next = self._next, []
        for table in news:
            if table.from_unix_ns > self.tables[0].from_unix_ns:
                self._put_in_force(table)
        return bool(news)


def _demand(cells: Histogram, base: Rate) -> float:
    """Records per epoch that the rule alone would keep."""
    r = float(base.probability)
    if base.mode == "proportional":
        return r * sum(cells.values())
    return sum(n * min(1.0, r * a) for a, n in cells.items())


def _on_grid(p: float | Fraction) -> Fraction:
    return min(max(Fraction(round(p * _GRID), _GRID), MIN_PROBABILITY), Fraction(1))
