"""Sampling of the running bridge: the sampler's clock, what must outlive the process, and exact counts.

Decisions themselves are in `mapping.sampling`. What is in force changes in tick() only, which is called between two
requests and never while one is being mapped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

from exporter.durable import replace_file
from exporter.settings import SinkSettings
from mapping.event import Decision, Event
from mapping.event_facts import event_fact
from mapping.mapped import Mapped
from mapping.sampling.counts import CountKey, Sums, add
from mapping.sampling.epochs import Budget
from mapping.sampling.ledger import Ledger, LedgerRow
from mapping.sampling.rules import as_text
from mapping.sampling.sampler import CEILING, Sampler
from mapping.sampling.settings import SamplingSettings
from weighbridge.sampling.budget_tables import BudgetTables
from weighbridge.sampling.moesif_config import MoesifConfiguration
from weighbridge.tasks import Spawn

log = logging.getLogger(__name__)

LATCH = "sampling_hashed"
REMOTE = "moesif_config.json"
TABLES = "sampling_budget.jsonl"


class Sampling:
    """One per process and settings. directory: where the spool is; it may not exist yet."""

    def __init__(
        self,
        settings: SamplingSettings,
        sinks: tuple[SinkSettings, ...],
        directory: Path,
        budget: type[Budget] = Budget,
    ) -> None:
        self._latch = directory / LATCH
        since = _read_latch(self._latch)
        self.sampler = Sampler(settings, hashed_since=since, ceiling=CEILING, budget=budget)
        kept_to = self.sampler.budget
        self._tables = BudgetTables(directory / TABLES, kept_to) if kept_to else None
        self.ledger = Ledger()
        self.totals: dict[CountKey, Sums] = {}  # of requests counted once, since the start
        self.sums: dict[tuple[str, str], LedgerRow] = {}  # (rule, tenant), since the start
        self._latched = since is not None
        self._named: set[str] = set()  # services whose trace ids the log has named
        self.remote: MoesifConfiguration | None = None
        if settings.moesif_remote is not None and settings.moesif_remote.enabled:
            own = settings.moesif_remote.application_id.get_secret_value()
            self.remote = MoesifConfiguration(
                settings.moesif_remote,
                own or _application_id(sinks),
                directory / REMOTE,
                self.sampler.use_remote,
            )
        self._following: asyncio.Task[None] | None = None

    def start(self, spawn: Spawn) -> None:
        """Call before the first request is mapped. spawn: begins what runs beside."""
        if self.remote is not None:
            self.remote.resume()
            self._following = spawn("moesif configuration", self.remote.run)

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    def carry_on(self, earlier: Sampling) -> None:
        """Keep the books of the settings that held before."""
        self.ledger, self.totals, self.sums = earlier.ledger, earlier.totals, earlier.sums
        self._named = earlier._named

    def tick(self, now_unix_ns: int) -> None:
        """Put in force what is due. Between requests, at least once a second."""
        sampler = self.sampler
        sampler.tick(now_unix_ns)
        if self._tables is not None:
            self._tables.keep()
        if sampler.watch.alarms.keys() - self._named:
            for service in sorted(sampler.watch.alarms.keys() - self._named):
                self._named.add(service)
                log.warning(
                    "trace ids of service %r are not random in their last 7 bytes (chi-square %.0f)",
                    service,
                    sampler.watch.alarms[service],
                )
        if sampler.hashed and sampler.settings.randomness == "auto" and not self._latched:
            self._latched = True
            self._keep_latch()

    def weigh(
        self, steps: Generator[None, None, Mapped], now_unix_ns: int, received_unix_ns: int
    ) -> Generator[None, None, tuple[Mapped, Mapping[CountKey, Sums]]]:
        """Map a request by these steps: what comes of it, and what was decided, in no books yet (`decided`).

        Of records that wait for more, only those are in it that the rules dropped.
        """
        self.tick(now_unix_ns)
        self.sampler.decide_for(received_unix_ns)
        self.sampler.tally.take()  # what a request that failed left there is thrown away
        mapped = yield from steps
        return mapped, self.sampler.tally.take()

    def decided(
        self, tenant: str, received_unix_ns: int, decisions: Mapping[CountKey, Sums], kept: Sequence[Event]
    ) -> None:
        """Records were decided. Call it once for each, however many sinks it goes to. kept: their events."""
        if decisions:
            self._enter(tenant, received_unix_ns, decisions, kept)

    def _enter(self, tenant: str, received_unix_ns: int, taken: Mapping[CountKey, Sums], kept: Sequence[Event]) -> None:
        self.ledger.add(tenant, received_unix_ns, taken)
        once = Ledger()
        once.add(tenant, received_unix_ns, taken)
        for key, row in once.rows().items():
            at = key.rule, tenant
            self.sums[at] = self.sums.get(at, LedgerRow()).plus(row)
        for name, sums in taken.items():
            self.totals[name] = add(self.totals.get(name), sums)
        if any(sums.variance for sums in taken.values()):  # the audit's error grows with the spans that traces share
            self.ledger.kept(tenant, _clusters(kept, self.sampler.settings.sample_unit))

    def _keep_latch(self) -> None:
        """On disk before anything is decided by it, so that a replay after a restart decides the same."""
        try:
            replace_file(self._latch, b"%d\n" % (self.sampler.hashed_since or 0))
        except OSError as error:
            log.warning("%s cannot be written: %s", self._latch, error.strerror)


def _read_latch(path: Path) -> int | None:
    """Since when trace ids are hashed, Unix ns; 0 for a mark that does not say; None without one."""
    try:
        text = path.read_bytes()[:20].strip()
    except FileNotFoundError:
        return None
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0


def _clusters(kept: Sequence[Event], unit: str) -> Iterator[tuple[str, Decision]]:
    """Each kept event's decision with what it shares its fate with; records that share it with nothing are left out."""
    for event in kept:
        decision = event.decision
        if decision.r_source == "unit":
            yield as_text(event_fact(event, unit)) or event.trace_id, decision
        elif event.trace_id:
            yield event.trace_id, decision


def _application_id(sinks: tuple[SinkSettings, ...]) -> str:
    """Of the first Moesif sink."""
    for sink in sinks:
        if sink.type == "moesif":
            text: str = sink.application_id.get_secret_value()  # type: ignore[attr-defined]
            return text
    return ""
