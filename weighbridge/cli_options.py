"""What commands share: the option of the settings file, and the settings that it names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from weighbridge.commands.errors import CommandError

if TYPE_CHECKING:
    from weighbridge.settings import Settings
    from weighbridge.settings_asked import AskedSettings

raw_option = click.option(
    "--raw", is_flag=True, help="csv and json: texts as they are stored, with control characters and formulas."
)
config_option = click.option(
    "--config",
    metavar="F",
    help="Settings file. Default: $WEIGHBRIDGE_CONFIG, else ./weighbridge.yaml if there, else built-in defaults.",
)


def read_settings(config: str | None) -> Settings:
    """The settings of a command. Raises CommandError."""
    from weighbridge.settings import SettingsError, load_settings

    try:
        return load_settings(config)
    except SettingsError as error:
        raise CommandError(str(error)) from error


@contextmanager
def asked_settings(config: str | None) -> Iterator[AskedSettings]:
    """As `read_settings`, for commands that ask and need no more of them than whom; checked when they are looked at.

    Of a command that cannot do its work, a mistake anywhere in the settings is the better reason.
    """
    from weighbridge.settings_asked import AskedSettings
    from weighbridge.settings_file import SettingsError

    try:
        yield AskedSettings(config)
    except SettingsError as error:
        raise CommandError(str(error)) from error
    except CommandError:
        read_settings(config)
        raise
