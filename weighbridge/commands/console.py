"""`weighbridge console`: the link that opens the console signed in."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from weighbridge.commands.admin_client import reachable
from weighbridge.commands.errors import CommandError
from weighbridge.console.access import FILE, token_of
from weighbridge.settings import Settings


def print_link(settings: Settings) -> None:
    """Raises CommandError where no bridge was ever started, or its token is not for this user to read."""
    path = Path(settings.spool.directory) / FILE
    if not path.exists():
        raise CommandError(f"there is no {path}: the bridge makes it at its first start, `weighbridge serve`")
    click.echo(link(settings))


def link(settings: Settings) -> str:
    """Raises CommandError when the token cannot be read."""
    return f"http://{reachable(settings.admin.endpoint)}/login?token={quote(token_in(settings))}"


def token_in(settings: Settings) -> str:
    """The bridge's own token; made now where it has not run yet. Raises CommandError when it cannot be read."""
    try:
        return token_of(Path(settings.spool.directory))[0]
    except OSError as error:
        raise CommandError(f"{error.filename}: {error.strerror}") from error
