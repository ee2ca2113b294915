"""`weighbridge check`: the effective settings as YAML. Reading them back gives the same settings, but for secrets."""

from __future__ import annotations

from typing import Any

import click
import yaml

from weighbridge.commands.errors import CommandError
from weighbridge.settings import Settings, SettingsError, shown
from weighbridge.surroundings import refuse_unusable


def run_check(settings: Settings) -> None:
    """Prints the effective settings. Raises CommandError when this machine lacks what they need."""
    try:
        refuse_unusable(settings)
    except SettingsError as error:
        raise CommandError(str(error)) from error
    click.echo(effective_yaml(settings), nl=False)


def effective_yaml(settings: Settings) -> str:
    """Every setting that has a value, with the value in force; secrets and passwords are hidden."""
    return yaml.safe_dump(_given(shown(settings)), sort_keys=False, allow_unicode=True, width=120)


def _given(value: Any) -> Any:
    """Without the parts that are not set: a null would be read as a part with nothing in it."""
    if isinstance(value, dict):
        return {name: _given(item) for name, item in value.items() if item is not None}
    return [_given(item) for item in value] if isinstance(value, list) else value
