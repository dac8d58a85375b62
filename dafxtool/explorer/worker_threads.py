"""Run blocking work in threads; the latest request of a tab replaces its waiting ones.

The threads are daemons: neither Ctrl-C nor the end of the program waits for them.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Superseded(Exception):
    """Raised if a newer request of the same kind and tab replaced this one."""


class Closed(Exception):
    """Raised if the reader has closed the stream."""


class WorkerThread:
    """A thread that runs one function after the other."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while (work := self._inbox.get()) is not None:
            work()

    def end(self) -> None:
        """End the thread after the functions that are queued."""
        self._inbox.put(None)

    async def run(self, function: Callable[[], T]) -> T:
        """Return the result of function(), called in this thread."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                result = function()
            except BaseException as error:
                _call_in_loop(loop, _fail, future, error)
            else:
                _call_in_loop(loop, _fulfil, future, result)

        self._inbox.put(work)
        return await future

    async def stream(self, function: Callable[[Callable[[T], None]], None]) -> AsyncIterator[T]:
        """Run function(emit) in this thread, and yield the emitted items.

        After the reader has closed this iterator, the next emit raises Closed in the function.
        """
        loop = asyncio.get_running_loop()
        outbox: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        is_closed = threading.Event()

        def emit(item: T) -> None:
            if is_closed.is_set():
                raise Closed
            _call_in_loop(loop, outbox.put_nowait, ("item", item))

        def work() -> None:
            message: tuple[str, Any] = ("end", None)
            try:
                if not is_closed.is_set():
                    function(emit)
            except BaseException as error:
                message = ("error", error)
            _call_in_loop(loop, outbox.put_nowait, message)

        self._inbox.put(work)
        try:
            while True:
                kind, content = await outbox.get()
                if kind == "error":
                    raise content
                if kind == "end":
                    return
                yield content
        finally:
            is_closed.set()


def _call_in_loop(
    loop: asyncio.AbstractEventLoop, function: Callable[..., Any], *arguments: Any
) -> None:
    with suppress(RuntimeError):  # the server has ended
        loop.call_soon_threadsafe(function, *arguments)


def _fulfil(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


class LatestOnly:
    """Run one request at a time; a new request replaces the waiting one."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._latest = 0

    async def run(self, thread: WorkerThread, function: Callable[[], T]) -> T:
        """Return the result of function(); Superseded if a newer request replaced it."""
        self._latest += 1
        number = self._latest
        async with self._lock:
            if number != self._latest:
                raise Superseded
            return await thread.run(function)
