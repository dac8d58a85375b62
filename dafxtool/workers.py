"""Render the rows of a plan, in this process or in several.

Audio comes back through shared memory; only settings and labels are pickled. Workers are spawned,
not forked, and a plugin never runs in the process that writes the file.
"""

from __future__ import annotations

import multiprocessing
import shutil
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import DiskError, PluginError
from dafxtool.plan import Pair, Plan, render_row

ROWS_A_TASK = 8
SHARE_OF_SHARED_MEMORY = 0.8  # of what is free; other programs use it too

Batch = tuple[int, list[Pair], list[tuple[str, str]]]


def rendered(plan: Plan, missing: NDArray[np.int64], workers: int) -> Iterator[Batch]:
    """Batches of neighbouring rows as they become ready: (first row, pairs, failures)."""
    tasks = _tasks(missing)
    has_plugin = any(effect.plugin for effect, _ in plan.effects)
    if workers <= 1 and not has_plugin:  # a plugin never runs in the process that writes the file
        for start, count in tasks:
            done = [render_row(plan, row) for row in range(start, start + count)]
            yield start, [pair for pair, _ in done], [f for _, fs in done for f in fs]
        return
    yield from _rendered_by_workers(plan, tasks, max(1, workers))


def _tasks(missing: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Runs of at most ROWS_A_TASK neighbouring rows: (first row, how many)."""
    tasks: list[tuple[int, int]] = []
    for row in missing.tolist():
        if tasks and sum(tasks[-1]) == row and tasks[-1][1] < ROWS_A_TASK:
            tasks[-1] = (tasks[-1][0], tasks[-1][1] + 1)
        else:
            tasks.append((row, 1))
    return tasks


_worker_plan: Plan | None = None
_worker_memory: SharedMemory | None = None


def _begin_worker(plan: Plan, memory_name: str) -> None:
    global _worker_plan, _worker_memory
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _worker_plan = plan
    _worker_memory = SharedMemory(memory_name)


def _work(slot: int, start: int, count: int) -> tuple[list[Pair], list[tuple[str, str]]]:
    """Render rows into a slot of the shared memory; what is sent back carries no audio."""
    plan, memory = _worker_plan, _worker_memory
    assert plan is not None and memory is not None
    slots = _slots(memory, plan)
    pairs, failures = [], []
    for position in range(count):
        pair, failed = render_row(plan, start + position)
        slots[slot, position] = pair.audio
        pairs.append(replace(pair, audio=np.empty((2, 0), np.float32)))
        failures.extend(failed)
    return pairs, failures


def _slots(memory: SharedMemory, plan: Plan) -> NDArray[np.float32]:
    assert memory.buf is not None
    shape = (-1, ROWS_A_TASK, 2, plan.segments.n_samples)
    size = memory.size // (ROWS_A_TASK * 2 * plan.segments.n_samples * 4)
    flat = np.frombuffer(memory.buf, np.float32, size * ROWS_A_TASK * 2 * plan.segments.n_samples)
    return flat.reshape(shape)


def _rendered_by_workers(
    plan: Plan, tasks: Sequence[tuple[int, int]], workers: int
) -> Iterator[Batch]:
    slot_bytes = ROWS_A_TASK * 2 * plan.segments.n_samples * 4
    memory = _shared_memory(2 * workers, slot_bytes)
    n_slots = min(2 * workers, memory.size // slot_bytes)
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
        initargs=(plan, memory.name),
    )
    try:
        waiting = list(reversed(tasks))
        free = list(range(n_slots))
        running: dict[Future[Any], tuple[int, int, int]] = {}
        while waiting or running:
            while waiting and free:
                slot, (start, count) = free.pop(), waiting.pop()
                with _interrupts_held():  # a worker that is being started must not hear of Ctrl-C
                    future = pool.submit(_work, slot, start, count)
                running[future] = (slot, start, count)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                slot, start, count = running.pop(future)
                pairs, failures = future.result()
                sound = _slots(memory, plan)[slot, :count].copy()  # the slot is free at once
                free.append(slot)
                yield (
                    start,
                    [replace(p, audio=s) for p, s in zip(pairs, sound, strict=True)],
                    failures,
                )
    except BrokenProcessPool as error:
        raise PluginError(
            "a worker process died while rendering (a plugin that crashes takes its process with "
            "it): what was rendered is kept, go on with --resume."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        _release(memory)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C comes afterwards; processes and threads begun meanwhile never see it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _shared_memory(n_slots: int, slot_bytes: int) -> SharedMemory:
    """Room for n_slots, or as many as there is room for: a container may have little of it.

    Memory that is promised and not there would kill the process that touches it.
    """
    folder = Path("/dev/shm")  # where Linux keeps it
    if folder.is_dir():
        fitting = int(SHARE_OF_SHARED_MEMORY * shutil.disk_usage(folder).free) // slot_bytes
        if fitting < 1:
            raise DiskError(
                f"{folder}, the shared memory of this machine, has no room for "
                f"{slot_bytes / 1e6:.0f} MB: give the container more (docker run --shm-size 1g), "
                "or take --workers 1."
            )
        n_slots = min(n_slots, fitting)
    return SharedMemory(create=True, size=n_slots * slot_bytes)


def _release(memory: SharedMemory) -> None:
    with suppress(BufferError):  # a view is still alive in a traceback; it goes with the process
        memory.close()
    memory.unlink()
