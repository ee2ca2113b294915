"""The commands' way to the store: the first sink of type clickhouse, opened for reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

from exporter.clickhouse.engine.endpoint import published
from exporter.clickhouse.reader import StoreError, StoreReader
from exporter.clickhouse.settings import Settings as StoreSettings
from weighbridge.commands.admin_client import ask
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.settings import Settings


def store_settings(settings: Settings) -> StoreSettings:
    """The sink that can be asked, where the running bridge has it. Raises CommandError where the settings have none."""
    for sink in settings.exporter.sinks:
        if isinstance(sink, StoreSettings):
            return _where_it_runs(settings, sink)
    kinds = ", ".join(sink.type for sink in settings.exporter.sinks)
    raise CommandError(f"no sink of type clickhouse to ask; the settings have: {kinds}")


@contextmanager
def open_store(settings: Settings) -> Iterator[StoreReader]:
    """A reader. Raises CommandError when there is no store to ask, CommandFailed when it refuses a question."""
    reader = StoreReader(store_settings(settings))
    try:
        reader.open()
    except StoreError as error:
        raise CommandError(f"{error}; start the bridge with `make run` or `weighbridge serve`") from error
    try:
        yield reader
    except StoreError as error:
        raise CommandFailed(str(error)) from error
    finally:
        reader.close()


def bridge_has_store(settings: Settings) -> bool:
    """Whether a store is there without us starting an engine: a server, or the running bridge's engine."""
    path = store_settings(settings).engine_path
    return path is None or published(path.absolute()) is not None


def _where_it_runs(settings: Settings, store: StoreSettings) -> StoreSettings:
    """The default store is a relative path: asked from another directory, the running bridge says where its own is."""
    path = store.engine_path
    if path is None or path.is_absolute() or path.exists():
        return store
    try:
        running = ask(settings, "/stores")
    except (CommandError, CommandFailed):  # no bridge, or something else on its port
        return store
    if len(running) != 1:
        return store
    query = urlsplit(store.dsn).query
    return store.model_copy(update={"dsn": f"chdb://{quote(running[0])}" + (f"?{query}" if query else "")})
