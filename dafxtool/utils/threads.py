"""Run independent tasks in threads, each with single-threaded torch operations.

By default torch divides each operation among its threads, which then wait for each other. With
arrays that fit into a processor's cache they wait most of the time, and larger arrays make every
operation wait for memory. Here each thread computes alone, on a task whose data stays in its cache.
The results depend neither on the number of threads nor on which thread runs a task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_PER_THREAD = 4  # that are submitted before their results are needed


class Threads:
    """A pool of threads; use `threads_for` to create it."""

    def __init__(self, pool: ThreadPoolExecutor, number: int) -> None:
        self.number = number
        self._pool = pool

    def map(
        self, function: Callable[[Task], Result], tasks: Iterable[Task], ahead: int | None = None
    ) -> Iterator[Result]:
        """Yield the results of all tasks in order.

        ahead  tasks that are submitted beyond the next result, by default four per thread

        The calling thread iterates over the tasks.
        """
        ahead = TASKS_PER_THREAD * self.number if ahead is None else ahead
        pending: deque[Future[Result]] = deque()
        for task in tasks:
            pending.append(self._pool.submit(function, task))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


@contextmanager
def threads_for(device: str) -> Iterator[Threads]:
    """Create as many threads as torch uses, and limit torch to one thread per operation.

    device  where the tasks run; for CUDA there are at least two threads, one of which reads
    """
    import torch

    allowed = torch.get_num_threads()
    number = allowed if device == "cpu" else max(2, allowed)
    pool = ThreadPoolExecutor(number)
    torch.set_num_threads(1)  # before the pool starts its threads, which inherit the number
    try:
        yield Threads(pool, number)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(allowed)
