"""Commands that are printed to be pasted: this program, as it is called from where the user is."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def next_command(arguments: str, config: str | None) -> str:
    """`weighbridge` where that is found, else its path, as short as it can be; with the settings that were named."""
    called = Path(sys.argv[0])
    name = "weighbridge"
    if shutil.which(name) is None and called.name == name:
        here = Path.cwd()
        name = str(called.absolute().relative_to(here)) if called.absolute().is_relative_to(here) else str(called)
    return f"{name} {arguments}" + (f" --config {shlex.quote(config)}" if config else "")
