"""How far a long command is: a bar on a terminal, a line for each finished part in a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Steps:
    """Says on standard error what is done. `advance` by events, `finished` with a part."""

    def __init__(self, bar: Progress | None, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total) if bar is not None else None

    def begin(self, part: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=part)

    def advance(self, events: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, events)

    def finished(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, soft_wrap=True)
        else:
            click.echo(line, err=True)


@contextmanager
def steps(total: int) -> Iterator[Steps]:
    """total: events, as far as they are known before."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Steps(None, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield Steps(bar, total)
