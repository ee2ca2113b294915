"""`weighbridge check`: the effective settings as YAML. Reading them back gives the same settings, but for secrets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import yaml

from mapping.masks.of_shape import Masking
from mapping.sampling.of_calls import WHOSE, of_call
from mapping.sampling.thresholds import parse_rate
from weighbridge.commands.errors import CommandError
from weighbridge.settings import Settings, SettingsError, old_spellings, shown
from weighbridge.surroundings import refuse_unusable


def run_check(settings: Settings, config: str | None, *, live: bool = False) -> None:
    """Prints the effective settings; live: instead, what becomes of a try at every destination.

    config: the settings file as it was named. Raises CommandError when this machine lacks what the settings need,
    CommandFailed when a destination would take nothing.
    """
    try:
        refuse_unusable(settings)
    except SettingsError as error:
        raise CommandError(str(error)) from error
    for note in (*old_spellings(config), *notes(settings)):
        click.echo(f"note: {note}", err=True)
    if live:
        from weighbridge.commands.live import run_live

        run_live(settings)
        return
    click.echo(effective_yaml(settings), nl=False)


def notes(settings: Settings) -> Iterator[str]:
    """What is set and has no effect here, though nothing is wrong with it."""
    presets = settings.mapping.presets
    for option, why in presets.without_effect.items():
        yield f"mapping.presets.{presets.name}.{option} has no meaning here: {why}"
    for source in masked_sources(settings):
        yield f"identity: {source} is masked, so the ids found there are stored as a hash, the same for the same id"
    if torn := rules_of_calls_alone(settings):
        remembered = settings.mapping.inherit and settings.mapping.inherit_across_requests_s
        forgets = "" if remembered else "or in another request (mapping.inherit_across_requests_s: 0) "
        yield (
            f"sampling: {' and '.join(torn)} ask about a call; its logs and actions go with it where it is known, but "
            f"what comes before it {forgets}goes by the other rules; sampling.tail waits for whole traces"
        )
    pasted = presets.krakend or presets.kong
    if pasted and pasted.application_id.get_secret_value() and not _sends_to_moesif(settings):
        yield f"mapping.presets.{presets.name}.application_id is not used: no sink is of type moesif"


def rules_of_calls_alone(settings: Settings) -> list[str]:
    """The rules that may tear a trace: on a field of the call, of another rate than what follows, without `tail`.

    Whose a call was, logs often say themselves.
    """
    sampling = settings.sampling
    if sampling.tail is not None:
        return []
    rates = [parse_rate(rule.rate) for rule in sampling.rules] + [parse_rate(sampling.rate)]
    return [
        f"rule {rule.name!r}"
        for place, rule in enumerate(sampling.rules)
        if any(of_call(one.path) and one.path not in WHOSE for one in rule.when)
        and set(rates[place + 1 :]) != {rates[place]}
    ]


def masked_sources(settings: Settings) -> list[str]:
    """The places of `mapping.identify_user` and `identify_company` whose values are masked."""
    found = []
    masking, identity = Masking(settings.mapping), settings.mapping.identity
    for rules in (identity.user, identity.company):
        found += [f"header:{name}" for name in rules.headers if name != "authorization"]
        found += [f"attr:{name}" for name in rules.attributes]
        found += [f"claim:{rules.jwt_claim}"] if rules.jwt_claim else []
        found += [f"query:{rules.query_string}"] if rules.query_string else []
    return [source.replace(":", " ", 1) for source in dict.fromkeys(found) if masking.redactor.hides_at(source)]


def _sends_to_moesif(settings: Settings) -> bool:
    return any(sink.type == "moesif" for sink in settings.exporter.sinks)


def effective_yaml(settings: Settings) -> str:
    """Every setting that has a value, with the value in force; secrets and passwords are hidden."""
    return yaml.safe_dump(_given(shown(settings)), sort_keys=False, allow_unicode=True, width=120)


def _given(value: Any) -> Any:
    """Without the parts that are not set: a null would be read as a part with nothing in it."""
    if isinstance(value, dict):
        return {name: _given(item) for name, item in value.items() if item is not None}
    return [_given(item) for item in value] if isinstance(value, list) else value
