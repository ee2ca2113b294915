"""Sampling rates set in Moesif, as rules of ours (spec/sampling.md §8).

`GET /v1/config` names a global rate, rates by user and by company, and rates by pattern. Moesif's SDKs
disagree about which of them wins; the setting `precedence` picks one of their four orders. What we do not
copy: a fresh random number per event, rounded weights, and three ways of treating a path that is absent.
Nothing here does I/O.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple

from mapping.sampling.decide import Rate
from mapping.sampling.of_calls import CallConditions
from mapping.sampling.plan import Chooser, Plan, Ruled, default_rule, local_rules
from mapping.sampling.rules import Condition, Facts, RuleError, as_text, check_path, pattern
from mapping.sampling.settings import SamplingSettings
from mapping.sampling.thresholds import MIN_PROBABILITY, RateError, parse_rate

MAX_BODY_BYTES = 8 << 20  # of a configuration
MAX_ETAG_CHARACTERS = 100

# The SDKs' "route" is the path of the URL, not the template; "/" when it is empty.
_PATHS = {
    "request.verb": "method",
    "request.route": "url.path",
    "request.ip_address": "ip_address",
    "response.status": "status",
}


class ConfigError(ValueError):
    """A body that is no configuration at all. The last good one stays in force."""


class PatternRate(NamedTuple):
    place: int  # index in regex_config, for the rule's name
    tests: tuple[tuple[str, Condition], ...]  # by path; all must hold
    probability: Fraction

    def matches(self, facts: Facts) -> bool:
        return all(test(facts) for _, test in self.tests)

    def lent(self, calls: CallConditions) -> PatternRate:
        """As it is, also asked of what belongs to a call."""
        return self._replace(tests=tuple((path, calls.add(path, test)) for path, test in self.tests))


class RemoteConfig(NamedTuple):
    everything: Fraction | None  # the global rate; replaces the implicit last rule
    users: Mapping[str, Fraction]
    companies: Mapping[str, Fraction]
    patterns: tuple[PatternRate, ...]
    warnings: tuple[str, ...]  # what was skipped, for the operator


def parse_config(body: bytes) -> RemoteConfig:
    """The configuration in a response body. Parts that cannot be used are skipped and named in `warnings`.

    Rates are clamped to 0..100. Raises ConfigError when the body as such is unusable.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError("not a JSON object")
    warnings: list[str] = []
    everything = None
    if document.get("sample_rate") is not None:
        everything = _rate(document["sample_rate"], "sample_rate", warnings)
    return RemoteConfig(
        everything,
        _by_id(document.get("user_sample_rate"), "user_sample_rate", warnings),
        _by_id(document.get("company_sample_rate"), "company_sample_rate", warnings),
        tuple(_patterns(document.get("regex_config"), warnings)),
        tuple(warnings),
    )


def remote_plan(settings: SamplingSettings, remote: RemoteConfig, etag: str) -> Plan:
    """Local and remote rules together, in the order the settings ask for.

    Every event names `etag` in Decision.config.
    """
    wanted = settings.moesif_remote
    if wanted is None:
        raise ValueError("sampling.moesif_remote is not set")
    config = f"{settings.version()}+{etag[:MAX_ETAG_CHARACTERS]}"
    calls = CallConditions()
    remote = remote._replace(patterns=tuple(rule.lent(calls) for rule in remote.patterns))
    local, otherwise = local_rules(settings, config, calls)
    ruled = _Rates(settings, config)
    theirs = [_CHOOSERS[wanted.precedence](remote, ruled)]
    if not (remote.users or remote.companies or remote.patterns):
        theirs = []
    if otherwise is None:
        otherwise = default_rule(settings, config)
        if remote.everything is not None:
            otherwise = ruled("global", remote.everything)
    return Plan(theirs + local if wanted.place == "before-rules" else local + theirs, otherwise, config, calls)


class _Rates:
    """One Ruled per name and rate: the users of a large configuration share a few."""

    def __init__(self, settings: SamplingSettings, config: str) -> None:
        self._settings = settings
        self._config = config
        self._ruled: dict[tuple[str, Fraction], Ruled] = {}

    def __call__(self, name: str, probability: Fraction) -> Ruled:
        key = (name, probability)
        if key not in self._ruled:
            s = self._settings
            self._ruled[key] = Ruled(Rate(f"moesif:{name}", probability, s.mode, s.precision, self._config))
        return self._ruled[key]


_Ruling = Callable[[str, Fraction], Ruled]


def _regex_user_company(remote: RemoteConfig, ruled: _Ruling) -> Chooser:
    """moesifapi-python, and Ruby's moesif-rack."""

    def chooser(facts: Facts) -> Ruled | None:
        for hit in _hits(remote, facts):
            return ruled(f"regex[{hit.place}]", hit.probability)
        return _user(remote, ruled, facts) or _company(remote, ruled, facts)

    return chooser


def _user_company(remote: RemoteConfig, ruled: _Ruling) -> Chooser:
    """moesif-nodejs, moesif-express, the Go middleware, Cloudflare: patterns are ignored."""

    def chooser(facts: Facts) -> Ruled | None:
        return _user(remote, ruled, facts) or _company(remote, ruled, facts)

    return chooser


def _min(remote: RemoteConfig, ruled: _Ruling) -> Chooser:
    """The Kong plugin and lua-resty-moesif: the smallest of user, company and first pattern hit."""

    def chooser(facts: Facts) -> Ruled | None:
        found = [_user(remote, ruled, facts), _company(remote, ruled, facts)]
        for hit in _hits(remote, facts):
            found.insert(0, ruled(f"regex[{hit.place}]", hit.probability))
            break
        return min((r for r in found if r is not None), key=lambda r: r.rate.probability, default=None)

    return chooser


def _regexmin_company_user(remote: RemoteConfig, ruled: _Ruling) -> Chooser:
    """moesif-dotnet: the smallest of all pattern hits, else company, else user."""

    def chooser(facts: Facts) -> Ruled | None:
        hit = min(_hits(remote, facts), key=lambda hit: hit.probability, default=None)
        if hit is not None:
            return ruled(f"regex[{hit.place}]", hit.probability)
        return _company(remote, ruled, facts) or _user(remote, ruled, facts)

    return chooser


_CHOOSERS: dict[str, Callable[[RemoteConfig, _Ruling], Chooser]] = {
    "regex-user-company": _regex_user_company,
    "user-company": _user_company,
    "min": _min,
    "regexmin-company-user": _regexmin_company_user,
}


def _hits(remote: RemoteConfig, facts: Facts) -> Iterator[PatternRate]:
    return (rule for rule in remote.patterns if rule.matches(facts))


def _user(remote: RemoteConfig, ruled: _Ruling, facts: Facts) -> Ruled | None:
    return _of(remote.users, "user", ruled, facts)


def _company(remote: RemoteConfig, ruled: _Ruling, facts: Facts) -> Ruled | None:
    return _of(remote.companies, "company", ruled, facts)


def _of(rates: Mapping[str, Fraction], path: str, ruled: _Ruling, facts: Facts) -> Ruled | None:
    if not rates:
        return None
    probability = rates.get(as_text(facts(path)) or "")
    return None if probability is None else ruled(path, probability)


def _rate(value: object, where: str, warnings: list[str]) -> Fraction | None:
    """A percentage as a probability, clamped; None and a warning for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        warnings.append(f"{where}: {_shortened(repr(value))} is not a number; ignored")
        return None
    try:
        return parse_rate(min(max(value, 0), 100))
    except RateError:
        return MIN_PROBABILITY  # between 0 and the smallest rate: keep the smallest share, not nothing


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."


def _by_id(value: object, where: str, warnings: list[str]) -> dict[str, Fraction]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        warnings.append(f"{where}: not an object; ignored")
        return {}
    rates = ((key, _rate(rate, f"{where}[{_shortened(repr(key))}]", warnings)) for key, rate in value.items())
    return {key: rate for key, rate in rates if rate is not None}


def _patterns(value: object, warnings: list[str]) -> Iterator[PatternRate]:
    if value is None:
        return
    if not isinstance(value, list):
        warnings.append("regex_config: not a list; ignored")
        return
    for index, rule in enumerate(value):
        where = f"regex_config[{index}]"
        conditions = rule.get("conditions") if isinstance(rule, dict) else None
        if not isinstance(conditions, list) or not conditions:
            warnings.append(f"{where}: no conditions; ignored")
            continue
        probability = _rate(rule.get("sample_rate"), f"{where}.sample_rate", warnings)
        if probability is None:
            continue
        try:
            tests = tuple(_condition(condition) for condition in conditions)
        except RuleError as error:
            warnings.append(f"{where}: {error}; ignored")
            continue
        yield PatternRate(index, tests, probability)


def _condition(condition: object) -> tuple[str, Condition]:
    """One {path, value}, by our path: a case-sensitive search in the text at path, false where it is absent."""
    if not isinstance(condition, dict):
        raise RuleError("condition is not an object")
    path, text = condition.get("path"), condition.get("value")
    if not isinstance(path, str) or not isinstance(text, str):
        raise RuleError("condition without path and value")
    ours = _PATHS.get(path, path)
    if ours.startswith("request.headers."):
        ours = ours.lower()
    found = pattern(text)
    try:
        check_path(ours)
    except RuleError:  # a path we cannot read is absent from every record
        return ours, lambda facts: False
    if ours == "url.path":
        return ours, lambda facts: (value := as_text(facts("url.path"))) is not None and found(value or "/")
    return ours, lambda facts: (value := as_text(facts(ours))) is not None and found(value)
