"""`weighbridge init`: a commented settings file, from a few questions on a terminal or from flags.

What a flag says is not asked; without a terminal nothing is. The file is written only when the settings in it can be
read, for its owner only, and never over one that is there. Secrets are not written: the file names variables for them.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click
import yaml

from weighbridge.commands.errors import CommandError
from weighbridge.commands.next_command import next_command
from weighbridge.settings import DEFAULT_FILE, SettingsError, load_settings

DESTINATIONS = ("embedded", "clickhouse", "moesif", "kafka", "files")
_KEY_BYTES = 24  # of a sender's key: 192 bits
# Stand-ins for what the environment will hold, so that the file can be read before it does.
_TRIAL = {"CLICKHOUSE_PASSWORD": "p", "MOESIF_APPLICATION_ID": "trial-0001"}


class Answers(NamedTuple):
    """What flags say; None for what is to be asked."""

    destination: str | None = None
    address: str | None = None  # of the destination: an http(s) address, brokers, or a path
    directory: str | None = None
    everywhere: bool | None = None
    keys: bool | None = None
    user_claim: str | None = None
    company_claim: str | None = None


_ADDRESSES = {
    "clickhouse": ("Address of the server", "http://bridge@localhost:8123/analytics"),
    "kafka": ("Brokers, with commas between them", "localhost:9092"),
    "files": ("File that is written", "events.jsonl"),
}


def run_init(given: Answers, config: str | None) -> None:
    """Writes the file and says what to do next. Raises CommandError when it cannot be written or read."""
    path = Path(config or DEFAULT_FILE)
    if path.exists():
        raise CommandError(f"{path} is there already; name another file with --config, or remove it")
    answers = _asked(given) if sys.stdin.isatty() else given
    keys_file = path.with_name("keys") if answers.keys else None
    if keys_file is not None and keys_file.exists():
        raise CommandError(f"{keys_file} is there already; its keys stay: name it in receiver.auth.keys_file")
    text, variables = written(answers, keys_file)
    _write(path, text)
    key = ""
    try:
        if keys_file is not None:
            key = secrets.token_urlsafe(_KEY_BYTES)
            _write(keys_file, f"# tenant:key, one a line. Read again when it changes.\ndefault:{key}\n")
        load_settings(str(path), {**_TRIAL, **os_variables(variables)})
    except (SettingsError, CommandError) as error:
        path.unlink()
        if keys_file is not None and key:
            keys_file.unlink()
        raise CommandError(f"nothing is written: {error}") from error
    _tell(path, keys_file, key, variables, config)


def os_variables(names: list[str]) -> dict[str, str]:
    """Those of the variables that a trial has no stand-in for, with anything in them."""
    return {name: "trial-0001" for name in names if name not in _TRIAL}


def _asked(given: Answers) -> Answers:
    """The questions whose answers no flag gave."""
    click.echo("A few questions; Enter takes what stands in brackets.", err=True)
    destination = given.destination or click.prompt(
        "Where do events go?", type=click.Choice(DESTINATIONS), default="embedded", err=True
    )
    address = given.address
    if address is None and destination in _ADDRESSES:
        question, usual = _ADDRESSES[destination]
        address = click.prompt(question, default=usual, err=True)
    directory = given.directory or click.prompt("Directory of what is not delivered yet", default="data", err=True)
    everywhere = given.everywhere
    if everywhere is None:
        everywhere = click.confirm("May other machines send?", default=False, err=True)
    keys = given.keys
    if keys is None:
        keys = click.confirm("Must senders show a key?", default=everywhere, err=True)
    user = given.user_claim
    if user is None:
        user = click.prompt("Claim of the caller's token that names the user", default="sub", err=True)
    company = given.company_claim
    if company is None:
        company = click.prompt("Claim that names the company (- for none)", default="-", err=True)
    return Answers(destination, address, directory, everywhere, keys, user, company)


def written(answers: Answers, keys_file: Path | None) -> tuple[str, list[str]]:
    """The file, and the environment variables that it needs. Raises CommandError for an answer that is none."""
    directory = (answers.directory or "data").rstrip("/") or "/"
    sink, variables, about = _sink(answers, directory)
    company = "" if answers.company_claim in (None, "", "-") else str(answers.company_claim)
    host = "0.0.0.0" if answers.everywhere else "127.0.0.1"  # noqa: S104 asked for
    lines = [
        "# Settings of weighbridge; config/weighbridge.yaml has all there are. `weighbridge check` says whether these",
        "# can be used, `weighbridge check --live` whether the destination takes events.",
        "receiver:",
        f"  endpoint: {host}:4318 # OTLP/HTTP; {_OTHERS[bool(answers.everywhere)]}",
    ]
    if keys_file is not None:
        lines += [
            "  auth:",
            f"    keys_file: {_scalar(str(keys_file))} # tenant:key, one a line",
        ]
    lines += [
        "",
        "# What a 200 promises lies here until every destination has it: on a disk that lasts.",
        "spool:",
        f"  directory: {_scalar(f'{directory}/spool')}",
        "  max_bytes: 10GiB # then senders are told to come again",
        "",
        "# Who called: from a token in a captured Authorization header, or attributes such as user.id and company.id.",
        "mapping:",
        f"  identify_user: {{jwt_claim: {_scalar(answers.user_claim or 'sub')}}}",
        f"  identify_company: {{jwt_claim: {_scalar(company)}}}"
        if company
        else "  # identify_company: {jwt_claim: company_id}",
        "",
        f"# {about}",
        "exporter:",
        "  sinks:",
        *(f"    {line}" for line in _item(sink)),
        "",
        "# /healthz, /readyz, /metrics and the console. Not for the open network.",
        "admin:",
        "  endpoint: 127.0.0.1:13133",
        "",
    ]
    return "\n".join(lines), variables


_OTHERS = {False: "0.0.0.0:4318 lets other machines send", True: "127.0.0.1:4318: this machine only"}


def _sink(answers: Answers, directory: str) -> tuple[dict[str, Any], list[str], str]:
    """The settings of the destination, the variables in them, and a sentence about it."""
    address = answers.address
    match answers.destination or "embedded":
        case "embedded":
            dsn = address or f"chdb://{directory}/store"
            return (
                {"name": "store", "type": "clickhouse", "dsn": dsn, "retention_days": 90},
                [],
                "The embedded store: a folder, an engine, 1 to 2 GB of memory.",
            )
        case "clickhouse":
            return (
                {"name": "store", "type": "clickhouse", "dsn": _with_password(address or _ADDRESSES["clickhouse"][1])},
                ["CLICKHOUSE_PASSWORD"],
                "A ClickHouse server. The database is made where it is missing.",
            )
        case "moesif":
            return (
                {"name": "moesif", "type": "moesif", "application_id": "${env:MOESIF_APPLICATION_ID}"},
                ["MOESIF_APPLICATION_ID"],
                "Moesif: customers' own calls. `hops: all` sends inner calls, too.",
            )
        case "kafka":
            brokers = [broker.strip() for broker in (address or _ADDRESSES["kafka"][1]).split(",") if broker.strip()]
            return (
                {"name": "kafka", "type": "kafka", "brokers": brokers, "topic": "api-events"},
                [],
                "Kafka, as JSON. `options` takes librdkafka's, such as security.protocol and sasl.password.",
            )
        case _:
            return (
                {"name": "files", "type": "jsonlines", "path": address or f"{directory}/events.jsonl"},
                [],
                "A file of JSON lines; full ones are set aside, `keep_files` deletes the oldest.",
            )


def _with_password(address: str) -> str:
    """The address with a variable where its user has no password. Raises CommandError for one with a password."""
    scheme, separator, rest = address.partition("://")
    user, at, place = rest.rpartition("@")
    if not separator or scheme not in ("http", "https"):
        raise CommandError("the server's address begins with http:// or https://, as http://user@host:8123/database")
    if ":" in user and "${" not in user:
        raise CommandError("leave the password out: the file names a variable for it, CLICKHOUSE_PASSWORD")
    name = user if at else "default"
    return f"{scheme}://{name}:${{env:CLICKHOUSE_PASSWORD}}@{place if at else rest}" if ":" not in name else address


def _item(sink: dict[str, Any]) -> list[str]:
    text = yaml.safe_dump([sink], sort_keys=False, allow_unicode=True, width=10_000)
    return text.rstrip("\n").split("\n")


def _scalar(text: str) -> str:
    return yaml.safe_dump(text, allow_unicode=True, width=10_000).removesuffix("...\n").strip()


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error


def _tell(path: Path, keys_file: Path | None, key: str, variables: list[str], config: str | None) -> None:
    click.echo(f"{path} is written.")
    if keys_file is not None:
        click.echo(f"{keys_file} has a key of tenant `default`; senders show it so:")
        click.echo(f"  export OTEL_EXPORTER_OTLP_HEADERS=x-moesif-application-id={key}")
    click.echo("Next:")
    for name in variables:
        click.echo(f"  export {name}=...")
    named = config if config and Path(config) != Path(DEFAULT_FILE) else None
    click.echo(f"  {next_command('check --live', named)}")
    click.echo(f"  {next_command('serve', named)}")
