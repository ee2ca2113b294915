"""`weighbridge reveal PSEUDONYM`: whom a pseudonym stands for. That it was asked is written down before it is said."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import click

from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.commands.plain_text import visible
from weighbridge.pseudonym_table import PseudonymTable
from weighbridge.settings import Settings


def run_reveal(settings: Settings, pseudonyms: Sequence[str], reason: str) -> None:
    """Raises CommandError where there is no table or nothing can be written down, CommandFailed for unknown ones."""
    path = settings.mapping.pseudonyms.table
    if not path:
        raise CommandError("mapping.pseudonyms.table names no file: nobody knows whom they stand for")
    if not reason.strip():
        raise CommandError("--reason: say what for; it is written down")
    table = PseudonymTable(Path(path))
    try:
        table.note_reveal(pseudonyms, reason)
        rows = {row[0]: row for row in table.rows_of(pseudonyms)}
    except OSError as error:
        raise CommandError(
            f"{error.filename}: {error.strerror}; nothing is revealed without being written down"
        ) from error
    except sqlite3.Error as error:
        raise CommandFailed(f"{path} cannot be read: {error}") from error
    for pseudonym in pseudonyms:
        if pseudonym in rows:
            _, kind, tenant, identity = rows[pseudonym]
            of = f" of tenant {tenant}" if tenant else ""
            click.echo(f"{pseudonym}  {kind} {visible(identity)}{of}")
    if unknown := [pseudonym for pseudonym in pseudonyms if pseudonym not in rows]:
        raise CommandFailed(f"not in the table: {', '.join(unknown)}")
