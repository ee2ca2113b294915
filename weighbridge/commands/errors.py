"""How a command ends badly: one line on standard error and an exit code, never a traceback for what a user can mend.

    CommandError   exit 2   settings, arguments or surroundings are not as they must be: nothing was done
    CommandFailed  exit 1   the work was begun and did not succeed: a query was refused, a request cannot be decoded

Raised by the command files, printed by click.
"""

from __future__ import annotations

import click

from weighbridge.commands.plain_text import visible


class _OneLine(click.ClickException):
    """Its text may quote a store or a file: nothing in it is obeyed by the terminal."""

    def format_message(self) -> str:
        return visible(self.message)


class CommandError(_OneLine):
    exit_code = 2


class CommandFailed(_OneLine):
    exit_code = 1
