"""The `sampling:` section of the settings.

Each mistake is refused at start with the path of the key and the reason.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from mapping.quantities import has_unit, seconds, size_bytes
from mapping.sampling.rules import compile_condition
from mapping.sampling.thresholds import MOST_CALLS, parse_rate


def _rate_text(value: object) -> str:
    parse_rate(value)
    return str(value)


def _seconds(value: object) -> float:
    return _plain(value, "seconds") if not _has_unit(value) else seconds(str(value))


def _bytes(value: object) -> int:
    return int(_plain(value, "bytes")) if not _has_unit(value) else size_bytes(str(value))


def _has_unit(value: object) -> bool:
    return isinstance(value, str) and has_unit(value)


def _plain(value: object, unit: str) -> float:
    number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{value!r} is no number of {unit}, nor such a number with its unit: 500ms, 10s, 64MiB")
    return number


RateText = Annotated[str, BeforeValidator(_rate_text)]
Seconds = Annotated[float, BeforeValidator(_seconds)]
ByteSize = Annotated[int, BeforeValidator(_bytes)]
MAX_WINDOW_EVENTS = 100_000  # the places of three times as many are held, about 50 MB, and sorted in 0.1 s
Mode = Literal["equalizing", "proportional"]
Precedence = Literal["regex-user-company", "user-company", "min", "regexmin-company-user"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    # Old spellings that are still read, and what each is now.
    RENAMED: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _old_spellings(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not cls.RENAMED.keys() & values.keys():
            return values
        for old, new in cls.RENAMED.items():
            if old in values and new in values:
                raise ValueError(f"{old} is the old name of {new}: leave one of them out")
        return {cls.RENAMED.get(name, name): value for name, value in values.items()}


class ConditionSettings(_Section):
    path: str = Field(
        description="What to look at: route, status, company, attr.http.route, resource.service.name, ..."
    )
    op: Literal["eq", "in", "prefix", "regex", "gte", "lte", "exists"] = Field(description="How to compare")
    value: object = Field(default=True, description="What to compare with; for exists, true or false")

    @model_validator(mode="after")
    def _usable(self) -> ConditionSettings:
        compile_condition(self.path, self.op, self.value)
        return self


class RuleSettings(_Section):
    name: str = Field(min_length=1, max_length=100, description="Shown on every event that the rule decided")
    when: tuple[ConditionSettings, ...] = Field(default=(), description="All must hold; none: the rule always applies")
    rate: RateText = Field(description="Percent to keep (10, '12.5') or a ratio ('1/3'); 0 drops without an estimate")
    mode: Mode | None = Field(default=None, description="Overrides sampling.mode for this rule")


class BudgetSettings(_Section):
    RENAMED = {"epoch": "epoch_s", "remember": "remember_s", "window": "window_s"}

    events_per_second: float = Field(gt=0, description="Events per second to keep in all, on average over an epoch")
    key: Literal["company", "service", "user", "tenant"] = Field(
        default="company", description="Who gets a fair share each; records without it are keyed by service"
    )
    epoch_s: Seconds = Field(default=10.0, ge=1, description="Seconds between new rates")
    floor: float = Field(
        default=1.0,
        ge=0,
        description="Events per second every key may keep, ahead of weights; ignored beyond the budget",
    )
    cold_start_share: float = Field(default=0.1, gt=0, le=1, description="Share of the budget for keys not seen before")
    shares: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="Weight of a company (or other key) in the fair share; 1 where not named"
    )
    max_keys: int = Field(default=2000, ge=1, description="Keys remembered; the rest share the cold start pool")
    remember_s: Seconds = Field(
        default=900.0,
        ge=60,
        description="Seconds for which old rates stay usable for late records",
    )
    window_s: Seconds | None = Field(
        default=None,
        ge=0.1,
        le=60,
        description="Hold events for so many seconds and keep at most the budget of each window: a cap, not an average",
    )
    max_bytes: ByteSize = Field(
        default=128 << 20, ge=1 << 20, description="Bytes held for a window; beyond, it ends early and a new one begins"
    )

    @model_validator(mode="after")
    def _can_be_held(self) -> BudgetSettings:
        if self.window_s is not None and not 1 <= self.window_events <= MAX_WINDOW_EVENTS:
            raise ValueError(
                f"window_s: {self.window_s:g} s of {self.events_per_second:g} events per second must be 1 to "
                f"{MAX_WINDOW_EVENTS:,} events"
            )
        return self

    @property
    def window_events(self) -> int:
        """That a window may keep."""
        return int(self.events_per_second * (self.window_s or 0))


class TailSettings(_Section):
    RENAMED = {"decision_wait": "decision_wait_s", "delay_after_root": "delay_after_root_s", "remember": "remember_s"}

    decision_wait_s: Seconds = Field(
        default=10.0,
        gt=0,
        description="Seconds from a trace's first record to its decision",
    )
    delay_after_root_s: Seconds | None = Field(
        default=None,
        description="Seconds to wait once the trace's root has come, if that is sooner",
    )
    max_bytes: ByteSize = Field(
        default=512 << 20, gt=0, description="Bytes buffered; beyond, the oldest are decided early"
    )
    max_trace_bytes: ByteSize = Field(default=4 << 20, gt=0, description="A larger trace is decided early and streamed")
    cache: int = Field(
        default=1_000_000, ge=2, description="Decided traces remembered for late records, 100 bytes each"
    )
    remember_s: Seconds = Field(
        default=900.0,
        gt=0,
        description="Seconds for which a decided trace is remembered",
    )


class MoesifRemoteSettings(_Section):
    RENAMED = {"poll": "poll_s", "timeout": "timeout_s"}

    enabled: bool = Field(default=True, description="Fetch sampling rates from Moesif (GET /v1/config)")
    precedence: Precedence = Field(default="regex-user-company", description="Which Moesif SDK's order to follow")
    place: Literal["before-rules", "after-rules"] = Field(default="before-rules", description="Where its rules go")
    base_uri: str = Field(default="https://api.moesif.net", description="Collector API, without /v1/config")
    application_id: SecretStr = Field(
        default=SecretStr(""), description="Collector Application Id; empty: that of the sink"
    )
    poll_s: Seconds = Field(
        default=300.0,
        ge=60,
        description="Seconds between fetches when nothing suggests a change",
    )
    timeout_s: Seconds = Field(default=10.0, gt=0, description="Seconds for one fetch")


class SamplingSettings(_Section):
    """Sampling. Default: everything is kept and upstream's thresholds are honoured."""

    rate: RateText = Field(default="100", description="Percent kept of records that no rule matches")
    precision: int = Field(default=4, ge=1, le=14, description="Significant hex digits of a threshold")
    mode: Mode = Field(default="equalizing", description="Rates are of the original population, or of what arrives")
    rules: tuple[RuleSettings, ...] = Field(default=(), description="First match wins")
    randomness: Literal["auto", "trace_id", "hash"] = Field(
        default="auto", description="auto turns to hash when trace ids turn out not to be random in their last 7 bytes"
    )
    sample_unit: Literal["trace", "user", "company", "session"] = Field(
        default="trace", description="What is kept or dropped as a whole; others need that id on every record"
    )
    on_inconsistent: Literal["erase", "trust", "drop"] = Field(
        default="erase", description="What to do with a threshold that contradicts its randomness"
    )
    max_upstream_adjusted_count: int | None = Field(
        default=None,
        ge=1,
        le=1 << 30,
        description="A record whose threshold claims that it stands for more counts as one; null: 1000. Whoever calls "
        "an API whose SDK hands tracestate on can send a threshold",
    )
    trust_upstream: bool = Field(default=True, description="false: thresholds and rv of senders are ignored")
    untrusted_tenants: frozenset[str] = Field(default=frozenset(), description="Tenants whose thresholds are ignored")
    legacy_pr: bool = Field(default=False, description="Read the retired p and r values of tracestate")
    head_rate: dict[str, RateText] = Field(
        default_factory=dict, description="service.name -> rate of a head sampler there that records no threshold"
    )
    count: Literal["all", "kept"] = Field(
        default="all",
        description="Which calls the store counts by minute: all that were received, so that counts are exact whatever "
        "is dropped, or those that are kept, by their weights. all maps dropped calls as far as counting needs",
    )
    budget: BudgetSettings | None = Field(default=None, description="Keep to an average of events per second")
    tail: TailSettings | None = Field(default=None, description="Decide whole traces after a wait")
    moesif_remote: MoesifRemoteSettings | None = Field(default=None, description="Follow sampling set in Moesif")

    @model_validator(mode="after")
    def _consistent(self) -> SamplingSettings:
        names = [rule.name for rule in self.rules]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"rules: two rules are called {min(twice)!r}")
        for index, rule in enumerate(self.rules[:-1]):
            if not rule.when:
                raise ValueError(f"rules.{index}: {rule.name!r} has no condition, so the rules after it never apply")
        if self.tail and self.budget and self.budget.window_s:
            raise ValueError("tail and budget.window_s both hold events until they are decided: leave out one of them")
        if self.window_s and self.sample_unit != "trace":
            raise ValueError(
                f"budget.window_s caps each window by itself, so it would not keep all calls of a {self.sample_unit}: "
                "leave out window_s or sample_unit"
            )
        if self.tail and (self.budget or self.sample_unit != "trace"):
            raise ValueError("tail decides whole traces by the rules alone: leave out budget and sample_unit")
        for service, rate in self.head_rate.items():
            if parse_rate(rate) == 0:
                raise ValueError(f"head_rate.{service}: a head sampler at rate 0 sends nothing")
        return self

    @property
    def window_s(self) -> float | None:
        """Seconds of a window under a hard cap."""
        return self.budget.window_s if self.budget else None

    def version(self) -> str:
        """Short name of these rules for Decision.config.

        "" for the defaults, else 8 hex digits of their content.
        """
        if self == SamplingSettings():
            return ""
        # Sets have no order of their own; the same settings must have the same name in every process.
        most = self.max_upstream_adjusted_count or MOST_CALLS  # as before it could be left open: names stay
        content = self.model_copy(
            update={"untrusted_tenants": sorted(self.untrusted_tenants), "max_upstream_adjusted_count": most}
        )
        text = content.model_dump_json(exclude={"moesif_remote": {"application_id"}}, warnings=False)
        return hashlib.sha256(text.encode()).hexdigest()[:8]
