"""`weighbridge erase`: what belongs to one person or company, taken out of everything that the bridge keeps.

First the erasure is noted, so that nothing of theirs is delivered any more, wherever it comes from; then every attempt
that began before is waited for; then stores, files, dead letters and kept requests are gone through.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from exporter import erasures
from exporter.clickhouse.erasing import Whose, count, delete
from exporter.clickhouse.minutes_table import minutes_table
from exporter.clickhouse.schema import Place
from exporter.clickhouse.settings import Settings as StoreSettings
from exporter.sinks.jsonlines import Settings as LinesSettings
from weighbridge.commands.erase_files import ERASED, Matches, erase_lines, erase_requests
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.commands.moments import parse_since
from weighbridge.commands.store import keep_store, store_settings
from weighbridge.partitions import folders
from weighbridge.pseudonym_table import PseudonymTable, pseudonyms_of
from weighbridge.settings import Settings

_LEAVES_US: Final = {
    "kafka": "the topic keeps them as long as its retention says",
    "moesif": "ask Moesif to delete these ids",
    "otlphttp": "it got the requests as they were sent",
}


class Found(NamedTuple):
    """What was found in one place. what: events, requests, ..."""

    place: str
    number: int
    what: str
    note: str = ""


def run_erase(
    settings: Settings,
    users: Sequence[str],
    companies: Sequence[str],
    tenant: str | None,
    before: str | None,
    form: str,
    *,
    dry: bool,
) -> None:
    """Prints the receipt. Raises CommandError before anything is done; CommandFailed for what is left."""
    if not any((*users, *companies)) or not all((*users, *companies)):
        raise CommandError("name whose events: --user U or --company C")
    now = time.time_ns()
    before_ns = now if before is None else parse_since(before, datetime.now(UTC), "--before")
    users, companies = _with_pseudonyms(settings, users, companies, tenant, dry=dry)
    whose = Whose(users, companies, tenant, before_ns, now if before is None else 0)
    spool = Path(settings.spool.directory)
    token = ""
    if not dry:
        token = _note(spool, whose)
    found: list[Found] = []
    failed: list[str] = []
    steps: list[Callable[[], list[Found]]] = [
        partial(_of_stores, settings, whose, dry=dry),
        partial(_of_lines, settings, whose, dry=dry),
        partial(_of_folders, folders(spool), whose, dry=dry),
    ]
    for step in steps:
        try:
            found += step()
        except (CommandError, CommandFailed) as error:
            failed.append(error.message)
        except OSError as error:
            failed.append(f"{error.filename or 'a file'}: {error.strerror or error}")
    _print(settings, found, failed, whose, token, form, dry=dry)
    if failed:
        raise CommandFailed(f"not everything is erased: {'; '.join(failed)}; run the command again")


def _with_pseudonyms(
    settings: Settings, users: Sequence[str], companies: Sequence[str], tenant: str | None, *, dry: bool
) -> tuple[Sequence[str], Sequence[str]]:
    """These and what is stored in their place, which the table of pseudonyms forgets."""
    pseudonyms = pseudonyms_of(settings.mapping.pseudonyms, learning=False)
    if pseudonyms is None:
        return users, companies
    tenants = ["", *settings.receiver.tenants] if tenant is None else [tenant]
    of_users = [pseudonyms.of("user", of, user) for user in users for of in tenants]
    of_companies = [pseudonyms.of("company", of, company) for company in companies for of in tenants]
    if settings.mapping.pseudonyms.table and not dry:
        try:
            PseudonymTable(Path(settings.mapping.pseudonyms.table)).forget(
                [*of_users, *of_companies, *users, *companies]
            )
        except (OSError, sqlite3.Error) as error:
            raise CommandError(f"the table of pseudonyms cannot be changed: {error}") from error
    return [*users, *of_users], [*companies, *of_companies]


def _note(spool: Path, whose: Whose) -> str:
    try:
        token = erasures.add(
            spool,
            whose.users,
            whose.companies,
            tenant=whose.tenant,
            before_unix_ns=whose.before_unix_ns,
            came_before_unix_ns=whose.came_before_unix_ns,
            until_unix_s=int(time.time()) + erasures.HOLDS_S,
        )
        locks = [path for folder in folders(spool) for path in sorted(folder.glob("sinks/*.writing"))]
        erasures.wait_for_writers(locks)
    except OSError as error:
        raise CommandError(f"{spool}: {error.strerror or error}; run this as the user of the bridge") from error
    return token


def _of_stores(settings: Settings, whose: Whose, *, dry: bool) -> list[Found]:
    found = []
    for sink in settings.exporter.sinks:
        if not isinstance(sink, StoreSettings):
            continue
        path = sink.engine_path
        if path is not None and not path.is_absolute() and not path.exists():
            sink = store_settings(settings)  # the running bridge says where it is
            path = sink.engine_path
        if path is not None and not path.exists():
            found.append(Found(f"store {sink.name}", 0, "events", "there is none yet"))
            continue
        place = Place.of(sink)
        tables = [(place.table, place.stored, whose.where())]
        if where := whose.where_counted():
            minutes = minutes_table(place)
            tables.append((minutes, f"{minutes}_local" if place.cluster else minutes, where))
        with keep_store(settings, sink) as keeper:
            for table, stored, condition in tables:
                rows = count(keeper, table, condition)
                if rows and not dry:
                    rows = delete(keeper, place, table, stored, condition)
                found.append(Found(f"store {sink.name}, {table}", rows, "rows"))
    return found


def _of_lines(settings: Settings, whose: Whose, *, dry: bool) -> list[Found]:
    found = []
    for sink in settings.exporter.sinks:
        if not isinstance(sink, LinesSettings) or sink.path == "-":
            continue
        path = Path(sink.path)
        files = [path, *sorted(path.parent.glob(f"{path.name}.*Z"))]
        lines = sum(erase_lines(file, _matcher(whose), ERASED, dry=dry) for file in files)
        note = ""
        if whose.tenant:
            of_nobody = _matcher(whose._replace(tenant=""))
            if unsure := sum(erase_lines(file, of_nobody, ERASED, dry=True) for file in files):
                note = f"{unsure} further ones of such ids name no tenant; without --tenant they go, too"
        found.append(Found(f"files {sink.name}, {path}", lines, "events", note))
    return found


def _of_folders(partitions: Sequence[Path], whose: Whose, *, dry: bool) -> list[Found]:
    matches = _matcher(whose)
    ids = [*whose.users, *whose.companies]
    letters = sum(
        erase_lines(folder / "deadletter.jsonl", lambda entry: matches(entry.get("row") or {}), b"#", dry=dry)
        for folder in partitions
    )
    found = [Found("dead letters", letters, "events")]
    for name, what in (("unmappable", "requests that could not be mapped"), ("refused", "refused requests")):
        requests = records = 0
        for folder in partitions:
            these, of_these = erase_requests(folder / name, ids, whose.tenant, dry=dry)
            requests, records = requests + these, records + of_these
        note = f"whole, {records} records of whomever" if requests else ""
        found.append(Found(what, requests, "requests", note))
    quarantined = sum(1 for folder in partitions for _ in folder.glob("quarantine/*"))
    if quarantined:
        note = "damaged, so not looked into: delete them by hand when they are of no use"
        found.append(Found("quarantine", quarantined, "files", note))
    return found


def _matcher(whose: Whose) -> Matches:
    """Whether a line of a file of events, or the row of a dead letter, is theirs."""
    users, companies = frozenset(whose.users), frozenset(whose.companies)

    def matches(row: dict[str, Any]) -> bool:
        if row.get("user_id") not in users and row.get("company_id") not in companies:
            return False
        if whose.tenant is not None and row.get("tenant", "") != whose.tenant:
            return False
        started = row.get("start_unix_ns", row.get("start_time_unix_nano", row.get("time_unix_nano", 0)))
        came = row.get("received_unix_ns", 0)
        before = isinstance(started, int) and started < whose.before_unix_ns
        return before or (isinstance(came, int) and 0 < came < whose.came_before_unix_ns)

    return matches


def _print(
    settings: Settings,
    found: Sequence[Found],
    failed: Sequence[str],
    whose: Whose,
    token: str,
    form: str,
    *,
    dry: bool,
) -> None:
    unreached = [
        {"sink": sink.name, "type": sink.type, "why": _LEAVES_US[sink.type]}
        for sink in settings.exporter.sinks
        if sink.type in _LEAVES_US
    ]
    if form == "json":
        receipt = {
            "erasure": token,
            "dry_run": dry,
            "users": list(whose.users),
            "companies": list(whose.companies),
            "tenant": whose.tenant,
            "before": datetime.fromtimestamp(whose.before_unix_ns / 1e9, UTC).isoformat(),
            "found": [one._asdict() for one in found],
            "not_reached": unreached,
            "failed": list(failed),
        }
        click.echo(json.dumps(receipt, indent=1))
        return
    verb = "would be erased" if dry else "erased"
    for one in found:
        click.echo(f"{one.place}: {one.number} {one.what} {verb}" + (f" ({one.note})" if one.note else ""))
    for sink in unreached:
        click.echo(f"not reached: sink {sink['name']} ({sink['type']}): {sink['why']}")
    ids = ", ".join([*(f"user {user}" for user in whose.users), *(f"company {company}" for company in whose.companies)])
    if unreached:
        click.echo(f"ask there for: {ids}")
    click.echo("not reached: files made by `weighbridge export` and `weighbridge backup`, and copies of yours")
    if not dry:
        click.echo(f"erasure {token}: until {_until()} nothing of theirs from before is stored again, sent or replayed")


def _until() -> str:
    return datetime.fromtimestamp(time.time() + erasures.HOLDS_S, UTC).date().isoformat()
