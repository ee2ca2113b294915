"""How a command ends badly: one line on standard error and an exit code, never a traceback for what a user can mend.

    CommandError   exit 2   settings, arguments or surroundings are not as they must be: nothing was done
    CommandFailed  exit 1   the work was begun and did not succeed: a query was refused, a request cannot be decoded

Raised by the command files, printed by click.
"""

from __future__ import annotations

import click


class CommandError(click.ClickException):
    exit_code = 2


class CommandFailed(click.ClickException):
    exit_code = 1
