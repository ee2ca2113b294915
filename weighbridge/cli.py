"""The command line. Arguments are parsed here; each command's work lives in a file of its own, imported when it runs.

So `weighbridge --help` starts without loading the service. Every command ends with 0, or with one line on standard
error and the exit code of `cli_errors`.
"""

from __future__ import annotations

from pathlib import Path

import click

from weighbridge.cli_options import asked_settings, config_option, raw_option, read_settings
from weighbridge.cli_store import COMMANDS


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="weighbridge")
def main() -> None:
    """OpenTelemetry in, API analytics out: whose call it was, what came back, what was logged."""


@main.command()
@config_option
def serve(config: str | None) -> None:
    """Run the bridge until SIGTERM or Ctrl-C, then drain. SIGHUP reads the settings again."""
    settings = read_settings(config)
    from weighbridge.commands.serve import serve as run_serve
    from weighbridge.settings import load_settings

    run_serve(settings, config, lambda: load_settings(config))


@main.command()
@config_option
def console(config: str | None) -> None:
    """Print a link that opens the console in a browser, signed in."""
    settings = read_settings(config)
    from weighbridge.commands.console import print_link

    print_link(settings)


@main.command()
@click.option("--to", "destination", type=click.Choice(["embedded", "clickhouse", "moesif", "kafka", "files"]))
@click.option("--address", metavar="A", help="Of the destination: http://user@host:8123/database, brokers, or a path.")
@click.option("--directory", metavar="D", help="Where the spool, and an embedded store, have their folders.")
@click.option("--everywhere/--here", default=None, help="Whether other machines may send.")
@click.option("--keys/--no-keys", default=None, help="Whether senders must show a key; one is made.")
@click.option("--user-claim", metavar="C", help="Claim of the caller's token that names the user.")
@click.option("--company-claim", metavar="C", help="Claim that names the company.")
@config_option
def init(
    destination: str | None,
    address: str | None,
    directory: str | None,
    everywhere: bool | None,
    keys: bool | None,
    user_claim: str | None,
    company_claim: str | None,
    config: str | None,
) -> None:
    """Write a commented settings file, ./weighbridge.yaml or the one that --config names.

    Asks on a terminal what no option says; elsewhere takes the defaults.
    """
    from weighbridge.commands.init import Answers, run_init

    run_init(Answers(destination, address, directory, everywhere, keys, user_claim, company_claim), config)


@main.command()
@click.option("--live", is_flag=True, help="Try every destination with its credentials; say what is wrong.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the settings file, for editors.")
@config_option
def check(live: bool, schema: bool, config: str | None) -> None:
    """Validate the settings and what they need on this machine; print them, secrets hidden."""
    if schema:
        import json

        from weighbridge.settings_schema import schema as settings_schema

        click.echo(json.dumps(settings_schema(), indent=2))
        return
    settings = read_settings(config)
    from weighbridge.commands.check import run_check

    run_check(settings, config, live=live)


@main.command()
@click.option("--token", envvar="WEIGHBRIDGE_TOKEN", default="", help="Of the settings; else the bridge's own is read.")
@config_option
def mcp(token: str, config: str | None) -> None:
    """Serve the console's questions as tools for agents (Model Context Protocol, stdio)."""
    settings = read_settings(config)
    from weighbridge.commands.mcp import run_mcp

    run_mcp(settings, token)


@main.command("map")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--signal", type=click.Choice(["traces", "logs"]), help="Guessed from the file when not given.")
@click.option("--content-type", metavar="T", help="As the HTTP header; guessed when not given.")
@click.option("--content-encoding", metavar="E", help="As the HTTP header; guessed when not given.")
@click.option("--sample", is_flag=True, help="Apply sampling: records that would be dropped are left out.")
@click.option(
    "--explain", is_flag=True, help="Say of log records and calls which dialect and which name gave each field."
)
@config_option
def map_file(
    file: Path,
    signal: str | None,
    content_type: str | None,
    content_encoding: str | None,
    sample: bool,
    explain: bool,
    config: str | None,
) -> None:
    """Show what becomes of one OTLP request body.

    Prints a JSON line per span or log record in FILE, in wire order.

    Opens no socket. Spans that are only plumbing of a framework are shown too, as "skip" with their reason.
    """
    settings = read_settings(config)
    from weighbridge.commands.map import map_request

    map_request(settings, file, signal, content_type, content_encoding, sample=sample, explain=explain)


@main.command()
@click.argument("sql", required=False)
@click.argument("parameters", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--list", "listing", is_flag=True, help="Show the queries that have a name.")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@raw_option
@config_option
def query(
    sql: str | None, parameters: tuple[str, ...], listing: bool, form: str, raw: bool, config: str | None
) -> None:
    """Ask the store in SQL; the events are the table api_events.

    Or by the name of a query, with its parameters:

    \b
      weighbridge query totals by=company_id since=7d
      weighbridge query percentile q=0.95 by=endpoint
    """
    if listing:
        from weighbridge.commands.named_query import list_named
        from weighbridge.commands.query import show

        show(list_named(), form)
        return
    if sql is None:
        raise click.UsageError("ask something: SQL, or the name of a query (--list shows them)")
    from weighbridge.commands.query import run_query

    with asked_settings(config) as settings:
        run_query(settings, sql, parameters, form, raw=raw)


@main.command()
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File of what was told.")
@click.option("--name", metavar="M", default="api.calls", show_default=True, help="Of the meter: the events' type.")
@click.option("--window", type=click.Choice(["hour", "day"]), default="hour", show_default=True, help="In UTC.")
@click.option("--where", multiple=True, metavar="FIELD=VALUE", help="Only such calls, as in `status<500`.")
@click.option("--hops", type=click.Choice(["entry", "all"]), default="entry", show_default=True)
@click.option("--since", metavar="T", default="7d", show_default=True, help="How far back late calls are looked for.")
@click.option("--until", metavar="T", help="Only windows that end before.")
@click.option("--settle", metavar="L", default="15m", show_default=True, help="How long a window is over before.")
@click.option("--source", metavar="S", default="weighbridge", show_default=True, help="The events' source.")
@config_option
def meter(
    state: Path,
    name: str,
    window: str,
    where: tuple[str, ...],
    hops: str,
    since: str,
    until: str | None,
    settle: str,
    source: str,
    config: str | None,
) -> None:
    """Print what customers used, by hour or day, as CloudEvents for a billing system: a JSON line each.

    Each line has a key by which it counts once; late calls make a line that corrects. Run again, it prints what is new.
    """
    from weighbridge.commands.meter import Meter, run_meter

    with asked_settings(config) as settings:
        run_meter(settings, Meter(name, source, window, hops, where), state, since, until, settle)


@main.command()
@click.option(
    "--where",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Only events with this value; several must all hold. Fields: user company status route type service trace.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on printing as events arrive.")
@click.option(
    "--limit", "-n", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Events to begin with."
)
@config_option
def tail(where: tuple[str, ...], follow: bool, limit: int, config: str | None) -> None:
    """The event log, one line an event, newest last."""
    from weighbridge.commands.tail import run_tail

    with asked_settings(config) as settings:
        run_tail(settings, where, follow=follow, limit=limit)


@main.command()
@click.argument("trace_id", metavar="ID")
@config_option
def trace(trace_id: str, config: str | None) -> None:
    """One trace as a tree, with the logs of each span."""
    from weighbridge.commands.trace import run_trace

    with asked_settings(config) as settings:
        run_trace(settings, trace_id)


@main.command()
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option(
    "--minutes",
    type=click.IntRange(1),
    metavar="N",
    help="Instead, what sampling received and kept in the last N minutes: per minute, rule and tenant.",
)
@raw_option
@config_option
def ledger(form: str, minutes: int | None, raw: bool, config: str | None) -> None:
    """Where every received record ended, per tenant and sink."""
    from weighbridge.commands.ledger import run_ledger, run_minutes

    with asked_settings(config) as settings:
        if minutes is None:
            run_ledger(settings, form, raw=raw)
        else:
            run_minutes(settings, minutes, form, raw=raw)


@main.group()
@config_option
@click.pass_context
def deadletter(context: click.Context, config: str | None) -> None:
    """Records refused for good: look at them, send again."""
    context.default_map = {name: {"config": config} for name in deadletter.commands}


@deadletter.command("list")
@click.option("--reason", metavar="R", help="Only those with this reason.")
@click.option("--since", metavar="T", help="Only those since then: 2026-11-20, 2026-11-20T18:00, or 90m, 12h, 3d ago.")
@config_option
def deadletter_list(reason: str | None, since: str | None, config: str | None) -> None:
    """One line each, oldest first."""
    settings = read_settings(config)
    from weighbridge.commands.deadletter import list_dead

    list_dead(settings, reason, since)


@deadletter.command("show")
@click.argument("dead_id", metavar="ID")
@config_option
def deadletter_show(dead_id: str, config: str | None) -> None:
    """Everything that was kept of one record."""
    settings = read_settings(config)
    from weighbridge.commands.deadletter import show_dead

    show_dead(settings, dead_id)


@deadletter.command("replay")
@click.option("--reason", metavar="R", help="Only those with this reason.")
@click.option("--since", metavar="T", help="Only those since then.")
@config_option
def deadletter_replay(reason: str | None, since: str | None, config: str | None) -> None:
    """Hand them to their destination again, through the running bridge."""
    settings = read_settings(config)
    from weighbridge.commands.deadletter import replay_dead

    replay_dead(settings, reason, since)


@main.command()
@click.option("--requests", type=click.IntRange(1, 100_000), default=300, show_default=True, help="Calls by customers.")
@click.option("--endpoint", metavar="URL", help="Base URL of the bridge. Default: from the settings.")
@config_option
def demo(requests: int, endpoint: str | None, config: str | None) -> None:
    """Send the traffic of a small shop to the bridge.

    Two instrumented services call each other, customers run into errors, logs belong to spans.
    """
    settings = read_settings(config)
    from weighbridge.commands.demo import run_demo

    run_demo(settings, requests, endpoint, config)


for command in COMMANDS:
    main.add_command(command)
