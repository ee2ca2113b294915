"""The commands' way to the store: the first sink of type clickhouse, opened for reading."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit

from exporter.clickhouse.engine.endpoint import read_published
from exporter.clickhouse.reader import StoreError, StoreReader
from exporter.clickhouse.settings import Settings as StoreSettings
from weighbridge.commands.admin_client import ask, reachable
from weighbridge.commands.errors import CommandError, CommandFailed
from weighbridge.settings_asked import Asked

if TYPE_CHECKING:
    from exporter.clickhouse.keeper import StoreKeeper

R = TypeVar("R", bound=StoreReader)

ENGINE_WAIT_S = 15.0  # for the engine of a running bridge, which is started again within a few seconds
ENGINE_LOOK_S = 0.5


def store_settings(settings: Asked) -> StoreSettings:
    """The sink that can be asked, where the running bridge has it. Raises CommandError where the settings have none."""
    for sink in settings.exporter.sinks:
        if isinstance(sink, StoreSettings):
            return _where_it_runs(settings, sink)
    kinds = ", ".join(sink.type for sink in settings.exporter.sinks)
    raise CommandError(f"no sink of type clickhouse to ask; the settings have: {kinds}")


@contextmanager
def open_store(settings: Asked) -> Iterator[StoreReader]:
    """A reader. Raises CommandError when there is no store to ask, CommandFailed when it refuses a question."""
    with open_one(settings, store_settings(settings)) as reader:
        yield reader


@contextmanager
def open_one(settings: Asked, store: StoreSettings) -> Iterator[StoreReader]:
    """As `open_store`, of a store that need not be that of the settings."""
    with _opened(settings, store, StoreReader(store)) as reader:
        yield reader


@contextmanager
def keep_store(settings: Asked, store: StoreSettings | None = None, *, make: bool = False) -> Iterator[StoreKeeper]:
    """As `open_store`, a connection that may change the store; to another store than that of the settings, too.

    make: the folder of an embedded store where it is missing, as the bridge does.
    """
    from exporter.clickhouse.keeper import StoreKeeper  # it loads the sink, which a question does without

    store = store or store_settings(settings)
    if make and store.engine_path is not None:
        try:
            store.engine_path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"{store.engine_path}: {error.strerror}") from error
    with _opened(settings, store, StoreKeeper(store)) as keeper:
        yield keeper


@contextmanager
def _opened(settings: Asked, store: StoreSettings, reader: R) -> Iterator[R]:
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # it logs what it raises, with its traceback
    try:
        _wait_for_the_bridges_engine(settings, store)
        reader.open()
    except StoreError as error:
        raise CommandError(f"{error}{_advice(settings, store)}") from error
    try:
        yield reader
    except StoreError as error:
        raise CommandFailed(str(error)) from error
    finally:
        reader.close()


def _wait_for_the_bridges_engine(settings: Asked, store: StoreSettings) -> None:
    """Returns at once but for a bridge that runs without its engine: an engine of ours would only be in its way.

    Raises StoreError when it does not come back.
    """
    path, deadline = store.engine_path, time.monotonic() + ENGINE_WAIT_S
    while path is not None and read_published(path.absolute()) is None and _runs_with(settings, path):
        if time.monotonic() > deadline:
            raise StoreError(f"the store in {path} does not answer")
        time.sleep(ENGINE_LOOK_S)


def _advice(settings: Asked, store: StoreSettings) -> str:
    """What to do about an embedded store that cannot be asked."""
    path = store.engine_path
    if path is None:
        return ""
    if _runs_with(settings, path):
        return f"; the bridge on {reachable(settings.admin.endpoint)} runs, and its log says why"
    return "" if path.is_dir() else "; start the bridge with `make run` or `weighbridge serve`"


def _runs_with(settings: Asked, path: Path) -> bool:
    """Whether the bridge of these settings runs and has this folder as its store."""
    try:
        return str(path.absolute()) in ask(settings, "/stores")
    except (CommandError, CommandFailed):
        return False


def bridge_has_store(settings: Asked) -> bool:
    """Whether a store is there without us starting an engine: a server, or the running bridge's engine."""
    path = store_settings(settings).engine_path
    return path is None or read_published(path.absolute()) is not None


def _where_it_runs(settings: Asked, store: StoreSettings) -> StoreSettings:
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
