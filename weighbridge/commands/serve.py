"""`weighbridge serve`: the bridge in the foreground, with its log on standard error."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable

import click

from exporter.journal import JournalError
from receiver.spool import SpoolFailed
from weighbridge.commands.admin_client import base_url
from weighbridge.commands.console import link
from weighbridge.commands.errors import CommandFailed
from weighbridge.commands.next_command import next_command
from weighbridge.event_loop import loop_factory
from weighbridge.log_lines import log_to_stderr
from weighbridge.service import run
from weighbridge.settings import Settings, SettingsError, old_spellings
from weighbridge.surroundings import refuse_unusable, refuse_unusable_sinks

log = logging.getLogger(__name__)


def serve(settings: Settings, config: str | None, read_again: Callable[[], Settings]) -> None:
    """Returns when the bridge has drained after SIGTERM or Ctrl-C.

    config: the settings file as it was named. read_again: the settings anew, for SIGHUP.
    """
    log_to_stderr(settings.telemetry.log_level, settings.telemetry.log_format)

    def ready() -> None:
        if sys.stderr.isatty():  # a log has no use for it
            click.echo(welcome(settings, config), err=True)

    def read_usable() -> Settings:
        again = read_again()
        refuse_unusable(again)
        tell_old_spellings(config)
        return again

    try:
        refuse_unusable_sinks(settings)
        tell_old_spellings(config)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            if runner.run(run(settings, ready, read_usable)):
                logging.shutdown()
                os._exit(0)  # the interpreter would wait for threads that wait for destinations
    except (OSError, SpoolFailed, JournalError, SettingsError) as error:
        raise CommandFailed(f"cannot start: {error}") from error


def tell_old_spellings(config: str | None) -> None:
    for spelling in old_spellings(config):
        log.warning("%s", spelling)


def welcome(settings: Settings, config: str | None) -> str:
    """What a person who has just started the bridge wants to know."""
    base = base_url(settings)
    return f"""\
See what comes in: {link(settings)}
weighbridge takes OTLP/HTTP on {base}. Point an SDK at it:
  export OTEL_EXPORTER_OTLP_ENDPOINT={base} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
or, in another terminal, see the traffic of a small shop and events as they arrive:
  {next_command("demo", config)}
  {next_command("tail --follow", config)}
Ctrl-C drains and stops.
"""
