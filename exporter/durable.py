"""Small files that outlive a kill and a power cut: written beside the one in force, then put in its place in one step.

Not for files whose descriptor lives on (the journal, which appends to what it has written anew), that must not replace
another process' (the engine's passwords), or whose disk tests simulate (the spool, `receiver.spool.files`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

# For their owner alone: most hold what senders sent.
_MODE = 0o600


def replace_file(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Return when the file has this content, durably; until then it is, whole, what it was. Raises OSError.

    The folder is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, content)
    sync_folder(path.parent)


def write_file(path: Path, content: bytes | Iterable[bytes], *, sync: bool = True) -> None:
    """As `replace_file`, for several files of one folder, which `sync_folder` makes durable together.

    sync: False where a file that a power cut emptied, or an older one, costs nothing.
    """
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines([content] if isinstance(content, bytes) else content)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are durable: of files made, renamed or deleted there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
