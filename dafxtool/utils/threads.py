"""Threads that each do whole pieces of work, beside threads that share every operation.

Left alone, torch divides each operation among its threads, which then wait for each other: with
arrays that fit into a processor's cache they wait for most of the time, and larger arrays make
every operation wait for memory. Here each thread computes alone, on a piece that stays in its
cache. What comes out depends neither on the number of threads nor on who did what.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Piece = TypeVar("Piece")
Made = TypeVar("Made")


class Threads:
    """A number of threads; use `threads_for` to get them."""

    def __init__(self, pool: ThreadPoolExecutor, number: int) -> None:
        self.number = number
        self._pool = pool

    def map(
        self, work: Callable[[Piece], Made], pieces: Iterable[Piece], ahead: int | None = None
    ) -> Iterator[Made]:
        """What becomes of each piece, in order.

        The pieces are taken by the calling thread, at most `ahead` more than were asked for: four
        for each thread unless told.
        """
        ahead = 4 * self.number if ahead is None else ahead
        begun: deque[Future[Made]] = deque()
        for piece in pieces:
            begun.append(self._pool.submit(work, piece))
            if len(begun) > ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


@contextmanager
def threads_for(device: str) -> Iterator[Threads]:
    """As many threads as torch would use; until the end torch itself gives each operation one.

    device  where the work is done: on cuda there are two at least, one of which reads
    """
    import torch

    allowed = torch.get_num_threads()
    number = allowed if device == "cpu" else max(2, allowed)
    pool = ThreadPoolExecutor(number)
    torch.set_num_threads(1)  # threads that begin from now on go by it
    try:
        yield Threads(pool, number)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(allowed)
