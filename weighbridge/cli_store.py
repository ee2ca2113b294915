"""The command line of the store's life: out of it, into another, out of everything, and what became of a record."""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.cli_options import asked_settings, config_option, read_settings


@click.command("export")
@click.argument("to", metavar="DIR|S3")
@click.option("--format", "form", type=click.Choice(["parquet", "jsonl", "csv"]), default="parquet", show_default=True)
@click.option("--since", metavar="T", help="From this UTC day on: 2026-11-20, or 30d ago.")
@click.option("--until", metavar="T", help="Before this UTC day.")
@config_option
def export_store(to: str, form: str, since: str | None, until: str | None, config: str | None) -> None:
    """Write the stored events to files, a folder for each day in DIR or in s3://BUCKET/PREFIX.

    Run again with the same place, it goes on where it was, and writes what has changed since. For S3, AWS_ENDPOINT_URL,
    AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY say where and who.
    """
    from weighbridge.commands.export import run_export

    with asked_settings(config) as settings:
        run_export(settings, to, form, since, until)


@click.command()
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@config_option
def retention(form: str, config: str | None) -> None:
    """What the store keeps, day by day, and what of it goes when."""
    from weighbridge.commands.retention import run_retention

    with asked_settings(config) as settings:
        run_retention(settings, form)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@config_option
def backup(folder: Path, config: str | None) -> None:
    """Copy the stored events to DIR, checked by day. Run again, it takes what is new."""
    settings = read_settings(config)
    from weighbridge.commands.backup import run_backup

    run_backup(settings, folder)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--since", metavar="T", help="From this UTC day on: 2026-11-20, or 30d ago.")
@click.option("--until", metavar="T", help="Before this UTC day.")
@click.option("--merge", is_flag=True, help="Also into a store that has events: what is missing is added.")
@config_option
def restore(folder: Path, since: str | None, until: str | None, merge: bool, config: str | None) -> None:
    """Bring the events of a backup in DIR back into the store."""
    settings = read_settings(config)
    from weighbridge.commands.backup import run_restore

    run_restore(settings, folder, since, until, merge=merge)


@click.command()
@click.option("--user", "users", metavar="U", multiple=True, help="Events of this user.")
@click.option("--company", "companies", metavar="C", multiple=True, help="Events of this company.")
@click.option("--tenant", metavar="T", help="Only of this tenant. Default: of all.")
@click.option("--before", metavar="D", help="Only events that began before: 2026-11-20, or 30d ago. Default: now.")
@click.option("--dry-run", "dry", is_flag=True, help="Say what there is, and change nothing.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@config_option
def erase(
    users: tuple[str, ...],
    companies: tuple[str, ...],
    tenant: str | None,
    before: str | None,
    dry: bool,
    form: str,
    config: str | None,
) -> None:
    """Take the events of a user or a company out of everything that the bridge keeps; prints a receipt.

    The ids are those that are stored (see weighbridge tail). What comes of them later is stored as before.
    """
    settings = read_settings(config)
    from weighbridge.commands.erase import run_erase

    run_erase(settings, users, companies, tenant, before, form, dry=dry)


@click.command()
@click.argument("identity", metavar="ID")
@config_option
def why(identity: str, config: str | None) -> None:
    """What became of an event, a trace or a request: when it came, what was decided, where it is.

    ID is an event id, a trace id, or a request's digest.
    """
    settings = read_settings(config)
    from weighbridge.commands.why import run_why

    run_why(settings, identity)


@click.command()
@click.argument("pseudonyms", metavar="PSEUDONYM...", nargs=-1, required=True)
@click.option("--reason", metavar="R", required=True, help="What for; it is written down with who asked and when.")
@config_option
def reveal(pseudonyms: tuple[str, ...], reason: str, config: str | None) -> None:
    """Say whom a pseudonym stands for, and write down that it was asked."""
    settings = read_settings(config)
    from weighbridge.commands.reveal import run_reveal

    run_reveal(settings, pseudonyms, reason)


@click.command()
@click.option("--to", "to", metavar="DSN", required=True, help="As `dsn` in the settings; ${env:NAME} for a password.")
@click.option("--from", "source", metavar="DSN", help="Default: the store of the settings.")
@click.option("--cluster", metavar="NAME", default="", help="Spread the new table over this ClickHouse cluster.")
@config_option
def move(to: str, source: str | None, cluster: str, config: str | None) -> None:
    """Copy all stored events to another store, day by day, and compare.

    Nothing is deleted. Run again, it takes what is new; then switch the settings over.
    """
    settings = read_settings(config)
    from weighbridge.commands.move import run_move

    run_move(settings, to, source, cluster, config)


COMMANDS = (export_store, retention, backup, restore, erase, why, reveal, move)
