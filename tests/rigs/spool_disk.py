"""A disk for the spool that can lose power, refuse a sync, fill up or kill the process: a file layer in memory.

What was not synced may be lost, in part and in any order: content tears at 512 bytes, directory entries come and go
one by one. After a sync that failed, the pages count as clean: they are still read, but no later sync writes them.
"""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from receiver.spool.files import Buffer

SECTOR = 512


class PowerCut(BaseException):
    """The machine is off: nothing the process does reaches the disk any longer."""


@dataclass
class Inode:
    durable: bytearray = field(default_factory=bytearray)
    live: bytearray = field(default_factory=bytearray)  # what the process reads: the page cache
    pending: list[tuple[int, bytes]] = field(default_factory=list)  # writes that no sync has covered
    shrunk_to: int | None = None  # a truncation that no sync has covered


class PowerCutDisk:
    """Implements receiver.spool.files.FileLayer. Every call that changes something counts as one step."""

    def __init__(self, seed: int, capacity: int | None = None) -> None:
        self.random = random.Random(seed)
        self.capacity = capacity
        self.steps = 0
        self.cut_at: int | None = None  # the step at which the power fails
        self.failing_syncs: Callable[[int], bool] = lambda step: False
        self.off = False
        self._durable: dict[str, Inode] = {}
        self._names: dict[str, Inode] = {}
        self._entries: list[tuple[str, Inode | None]] = []  # directory changes that no sync has covered
        self._open: dict[int, Inode] = {}
        self._next_fd = 100
        self._mutex = threading.RLock()

    def lose_power(self) -> None:
        """What a new start finds. Every choice comes from the seed."""
        chance = self.random.choice((0.0, 0.3, 0.7, 1.0))
        for name, inode in self._entries:
            if self.random.random() < chance:
                if inode is None:
                    self._durable.pop(name, None)
                else:
                    self._durable[name] = inode
        for inode in self._durable.values():
            self._tear(inode)
        self._names = dict(self._durable)
        self._entries = []
        self._open = {}
        self.steps = 0
        self.cut_at = None
        self.off = False

    def _tear(self, inode: Inode) -> None:
        if inode.shrunk_to is not None and self.random.random() < 0.5:
            del inode.durable[inode.shrunk_to :]
        chance = self.random.choice((0.0, 0.5, 0.9, 1.0))
        filler = self.random.choice((b"\0", b"\0", b"\xa5"))  # a block that was allocated but never written
        size = len(inode.durable)
        for offset, data in inode.pending:
            position = offset
            while position < offset + len(data):
                stop = min(offset + len(data), (position // SECTOR + 1) * SECTOR)
                if self.random.random() < chance:
                    inode.durable += filler * (stop - len(inode.durable))
                    inode.durable[position:stop] = data[position - offset : stop - offset]
                position = stop
        longest = max([size, len(inode.durable), *(offset + len(data) for offset, data in inode.pending)])
        if self.random.random() < 0.3:  # the size went to the disk before the content
            inode.durable += filler * (longest - len(inode.durable))
        inode.live = bytearray(inode.durable)
        inode.pending = []
        inode.shrunk_to = None

    def _step(self) -> None:
        if self.off:
            raise PowerCut
        self.steps += 1
        if self.cut_at is not None and self.steps >= self.cut_at:
            self.off = True
            if self.random.random() < 0.5:  # before the call does anything
                raise PowerCut

    def _after(self) -> None:
        if self.off:
            raise PowerCut

    # The file layer.

    def make_directory(self, path: str) -> None:
        """Directories exist already: what is tested is files."""

    def names(self, directory: str) -> list[str]:
        prefix = directory + "/"
        return [name.removeprefix(prefix) for name in self._names if name.startswith(prefix)]

    def create(self, path: str) -> int:
        with self._mutex:
            self._step()
            if path in self._names:
                raise FileExistsError(errno.EEXIST, path)
            inode = self._names[path] = Inode()
            self._entries.append((path, inode))
            self._after()
            return self._descriptor(inode)

    def open(self, path: str, *, writable: bool) -> int:
        with self._mutex:
            if path not in self._names:
                raise FileNotFoundError(errno.ENOENT, path)
            return self._descriptor(self._names[path])

    def _descriptor(self, inode: Inode) -> int:
        self._next_fd += 1
        self._open[self._next_fd] = inode
        return self._next_fd

    def size(self, fd: int) -> int:
        return len(self._open[fd].live)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return bytes(self._open[fd].live[offset : offset + size])

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        with self._mutex:
            self._step()
            inode = self._open[fd]
            data = b"".join(buffers)
            if self.capacity is not None:
                room = self.free_bytes("") + max(0, len(inode.live) - offset)
                if room <= 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
                data = data[:room]
            elif self.random.random() < 0.2:
                data = data[: self.random.randint(1, len(data))]  # a short write
            inode.live += bytes(max(0, offset - len(inode.live)))
            inode.live[offset : offset + len(data)] = data
            inode.pending.append((offset, data))
            self._after()
            return len(data)

    def sync(self, fd: int) -> None:
        with self._mutex:
            self._step()
            inode = self._open[fd]
            if self.failing_syncs(self.steps):
                inode.pending = []
                raise OSError(errno.EIO, "Input/output error")
            if inode.shrunk_to is not None:
                del inode.durable[inode.shrunk_to :]
                inode.shrunk_to = None
            for offset, data in inode.pending:
                inode.durable += bytes(max(0, offset - len(inode.durable)))
                inode.durable[offset : offset + len(data)] = data
            inode.pending = []
            self._after()

    def sync_directory(self, path: str) -> None:
        with self._mutex:
            self._step()
            for name, inode in self._entries:
                if inode is None:
                    self._durable.pop(name, None)
                else:
                    self._durable[name] = inode
            self._entries = []
            self._after()

    def truncate(self, fd: int, size: int) -> None:
        with self._mutex:
            self._step()
            inode = self._open[fd]
            del inode.live[size:]
            inode.pending = [(offset, data[: size - offset]) for offset, data in inode.pending if offset < size]
            inode.shrunk_to = size if inode.shrunk_to is None else min(size, inode.shrunk_to)
            self._after()

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)

    def rename(self, old: str, new: str) -> None:
        with self._mutex:
            self._step()
            inode = self._names.pop(old)
            self._names[new] = inode
            self._entries += [(new, inode), (old, None)]
            self._after()

    def unlink(self, path: str) -> None:
        with self._mutex:
            self._step()
            if path not in self._names:
                raise FileNotFoundError(errno.ENOENT, path)
            del self._names[path]
            self._entries.append((path, None))
            self._after()

    def free_bytes(self, directory: str) -> int:
        if self.capacity is None:
            return 1 << 40
        used = {id(inode): len(inode.live) for inode in [*self._names.values(), *self._open.values()]}
        return self.capacity - sum(used.values())

    def lock(self, path: str, text: bytes) -> tuple[int, bytes]:
        return self._descriptor(Inode()), b""
