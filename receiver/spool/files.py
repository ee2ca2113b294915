"""The file system as the spool uses it: one layer, so that tests can cut the power or fill the disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Sequence
from typing import Protocol

Buffer = bytes | bytearray | memoryview


class FileLayer(Protocol):
    """Every method raises OSError as the system call would. Paths are absolute."""

    def make_directory(self, path: str) -> None:
        """Create a directory (mode 0700) and its parents; it may exist already."""
        ...

    def names(self, directory: str) -> list[str]: ...

    def create(self, path: str) -> int:
        """A descriptor for a new file (mode 0600), for reading and writing. The file must not exist."""
        ...

    def open(self, path: str, *, writable: bool) -> int: ...

    def size(self, fd: int) -> int: ...

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Bytes at an offset; fewer than size only at the end of the file."""
        ...

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """Bytes written; may be fewer than given."""
        ...

    def sync(self, fd: int) -> None:
        """Return when content and size are on the disk (fdatasync)."""
        ...

    def sync_directory(self, path: str) -> None: ...

    def truncate(self, fd: int, size: int) -> None: ...

    def close(self, fd: int) -> None: ...

    def rename(self, old: str, new: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def free_bytes(self, directory: str) -> int:
        """Bytes an unprivileged process may still write there."""
        ...

    def lock(self, path: str, text: bytes) -> tuple[int, bytes]:
        """Take the exclusive lock file and write `text` into it: (descriptor, b"").

        When another holds it: (-1, what the holder wrote).
        """
        ...


class OsFiles:
    """The real thing."""

    def make_directory(self, path: str) -> None:
        missing = []
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for made in reversed(missing):
            os.mkdir(made, 0o700)
            self.sync_directory(os.path.dirname(made))

    def names(self, directory: str) -> list[str]:
        return os.listdir(directory)

    def create(self, path: str) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def open(self, path: str, *, writable: bool) -> int:
        return os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def read(self, fd: int, size: int, offset: int) -> bytes:
        data = os.pread(fd, size, offset)
        while len(data) < size:  # a signal or a very large read may return less
            more = os.pread(fd, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        return os.pwritev(fd, buffers, offset)

    def sync(self, fd: int) -> None:
        if sys.platform == "darwin":  # where fsync stops at the drive's cache
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(fd)

    def sync_directory(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def close(self, fd: int) -> None:
        os.close(fd)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def free_bytes(self, directory: str) -> int:
        status = os.statvfs(directory)
        return status.f_bavail * status.f_frsize

    def lock(self, path: str, text: bytes) -> tuple[int, bytes]:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 64, 0)
            os.close(fd)
            return -1, holder
        with contextlib.suppress(OSError):  # for people only: the lock holds without it, on a full disk too
            os.pwrite(fd, text.ljust(16), 0)
        return fd, b""
