"""Work of a sink in a thread, known to whoever watches the process: what never ends there can be laid at its sink."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

# Is told the thread's id, as the system knows it, and whether work begins there or has ended.
Tell = Callable[[int, bool], None]
watched: ContextVar[Tell | None] = ContextVar("watched", default=None)


async def in_thread(call: Callable[[], T], executor: Executor | None = None) -> T:
    """What `call` returns, from a thread of the executor's, or of asyncio's own."""
    tell = watched.get()

    def told() -> T:
        if tell is None:
            return call()
        thread = threading.get_native_id()
        tell(thread, True)
        try:
            return call()
        finally:
            tell(thread, False)

    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(executor, lambda: context.run(told))
