"""Render the rows of a plan, in this process or in several.

A worker that dies or hangs is replaced. A fresh worker tries its row again; if that fails too, the
row is recorded as failed, and the render continues. A plugin never runs in the process that writes.
"""

from __future__ import annotations

import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dafxtool.dataset.failures import FailedPair, reason_of
from dafxtool.dataset.pair import Pair, PairRenderer, Unreadable
from dafxtool.dataset.plan import RenderPlan
from dafxtool.effects.vst3.files import allow
from dafxtool.effects.vst3.isolation import (
    MOST_USES_OF_WORKER,
    PLUGIN_SECONDS,
    SECONDS_BEFORE_NOTICE,
    limit_time,
)
from dafxtool.effects.vst3.memory import fill_memory
from dafxtool.errors import EffectError, PluginError
from dafxtool.utils import signals
from dafxtool.utils.child_process import (
    SECONDS_BETWEEN_CHECKS,
    SECONDS_TO_START,
    Answer,
    ChildDied,
    ChildProcess,
    Inbox,
    Message,
    PrintedLog,
    Send,
)
from dafxtool.utils.dask_cluster import DaskCluster
from dafxtool.utils.progress import SILENT, Progress

ROWS_PER_TASK = 16
TASKS_PER_WORKER = 2  # so that a worker never waits for its next task
SECONDS_BEFORE_WRITTEN = 10.0  # that a slow plugin's pairs may wait for the rest of their task
MAX_TRIES = 2  # of a row
MAX_DEATHS_IN_A_ROW = 5  # rows of one plugin that killed a worker; its other rows are not tried

Result = tuple[Pair | EffectError, Unreadable]


@dataclass(frozen=True)
class Batch:
    """Pairs with their rows, failed pairs, and (path, reason) of unreadable recordings."""

    rows: NDArray[np.int64]
    pairs: list[Pair]
    failed: list[FailedPair] = field(default_factory=list)
    unreadable: Unreadable = field(default_factory=list)


def render_batches(
    plan: RenderPlan,
    missing: NDArray[np.int64],
    workers: int,
    plugin_seconds: float = PLUGIN_SECONDS,
    printed: PrintedLog | None = None,
    progress: Progress = SILENT,
    cluster: DaskCluster | None = None,
) -> Generator[Batch, None, None]:
    """Yield batches of the missing rows as they become ready.

    plugin_seconds  time limit for a plugin to load, or to process one segment
    printed         log for the output of plugins
    cluster         Dask cluster to use instead of processes of this machine
    """
    renderer = PairRenderer(plan)
    has_plugin = any(effect.plugins for effect, _ in plan.effects)
    ordered = renderer.sort_by_location(missing)
    if cluster is not None:
        tasks = _tasks(ordered)
        for _, batch in cluster.answers(start_cluster_worker, (plan, plugin_seconds), tasks):
            yield batch
        return
    if workers <= 1 and not has_plugin:
        for task in _tasks(ordered):
            yield _render_batch(renderer, task)
        return
    if not len(ordered):
        return
    yield from _Pool(renderer, max(1, workers), plugin_seconds, printed, progress).render(ordered)


def _tasks(ordered: NDArray[np.int64]) -> list[list[int]]:
    return [
        ordered[first : first + ROWS_PER_TASK].tolist()
        for first in range(0, len(ordered), ROWS_PER_TASK)
    ]


# --- in the worker ------------------------------------------------------------------------------


def start_worker(plan: RenderPlan) -> Answer:
    """Return the function that renders a list of rows and sends each pair when it is done."""
    renderer = PairRenderer(plan)

    def work(rows: list[int], send: Send) -> None:
        n_done = 0
        while n_done < len(rows):  # a plugin that fails ends the iterator
            try:
                for pair, unreadable in renderer.render(rows[n_done:]):
                    send((pair, unreadable))
                    n_done += 1
            except EffectError as error:
                send((error, []))
                n_done += 1

    return work


def start_cluster_worker(plan: RenderPlan, plugin_seconds: float) -> Callable[[list[int]], Batch]:
    """Return the function that renders a list of rows into a batch on a worker of a cluster.

    A plugin runs in a child process of that worker.
    """
    renderer = PairRenderer(plan)
    limit_time(plugin_seconds)
    for effect, _ in plan.effects:
        for file in effect.plugins:
            allow(file.path)  # the user of the cluster has named it

    return partial(_render_batch, renderer, may_try_again=True)


def _render_batch(renderer: PairRenderer, rows: list[int], may_try_again: bool = False) -> Batch:
    """Render rows in this process, apart from the plugins of a cluster's worker."""
    batch, rendered = Batch(np.empty(0, np.int64), []), []
    while rows:
        try:
            for pair, unreadable in renderer.render(rows):
                rendered.append(rows[0])
                rows = rows[1:]
                batch.pairs.append(pair)
                batch.unreadable.extend(unreadable)
        except EffectError as error:  # ends the iterator
            row, rows = rows[0], rows[1:]
            second = _try_again(renderer, row) if may_try_again else None
            if second is None:
                batch.failed.append(_failed(renderer, row, error))
            else:
                rendered.append(row)
                batch.pairs.append(second)
    return replace(batch, rows=np.array(rendered, dtype=np.int64))


def _failed(renderer: PairRenderer, row: int, error: Exception) -> FailedPair:
    reason = reason_of(error, renderer.plan.effect_of(row))
    return FailedPair(row, renderer.failed_pair(row), reason)


def _try_again(renderer: PairRenderer, row: int) -> Pair | None:
    try:
        return next(renderer.render([row]))[0]
    except EffectError:
        return None


# --- in the process that writes -----------------------------------------------------------------


class _WorkerDeath(PluginError):
    """A worker that crashed or hung at some row."""


@dataclass
class _Task:
    """Rows that a worker renders, and the results of the first of them."""

    rows: list[int]
    results: list[Result] = field(default_factory=list)
    start_time: float = field(default_factory=time.monotonic)


@dataclass
class _Worker:
    """A worker process and its tasks.

    death  exit status or signal, if a task could not be sent; else empty
    """

    child: ChildProcess
    tasks: deque[_Task] = field(default_factory=deque)
    n_results: int = 0
    is_slow: bool = False  # reported as slow
    death: str = ""

    @property
    def row(self) -> int | None:
        """Return the row that is being rendered."""
        if not self.tasks:
            return None
        task = self.tasks[0]
        return task.rows[len(task.results)] if len(task.results) < len(task.rows) else None


class _Pool:
    """Worker processes that render rows, and the rows that wait for them.

    tries             failed tries of each row
    deaths_in_a_row   of each effect, since its last pair
    disabled_effects  effects whose rows are not tried any more, with the reason
    """

    def __init__(
        self,
        renderer: PairRenderer,
        n_workers: int,
        plugin_seconds: float,
        printed: PrintedLog | None,
        progress: Progress,
    ) -> None:
        self.renderer, self.plan = renderer, renderer.plan
        self.n_workers, self.plugin_seconds = n_workers, plugin_seconds
        self.printed, self.progress = printed, progress
        self.has_plugin = any(effect.plugins for effect, _ in self.plan.effects)
        self.waiting: deque[list[int]] = deque()
        self.tries: Counter[int] = Counter()
        self.deaths_in_a_row: Counter[int] = Counter()
        self.disabled_effects: dict[int, str] = {}
        self.workers: list[_Worker] = []
        self.inbox: Inbox = queue.SimpleQueue()

    def render(self, ordered: NDArray[np.int64]) -> Iterator[Batch]:
        """Yield the batches of these rows; end all workers at the end."""
        self.waiting.extend(_tasks(ordered))
        try:
            yield from self._batches()
        finally:
            for worker in self.workers:
                if worker.tasks:
                    worker.child.kill()
                else:
                    worker.child.close()

    def _batches(self) -> Iterator[Batch]:
        while self.waiting or any(worker.tasks for worker in self.workers):
            yield from self._drop_disabled()
            self._assign_tasks()
            for worker in [each for each in self.workers if each.death]:
                yield from self._replace(worker, worker.death)
            with suppress(queue.Empty):
                child, message = self.inbox.get(timeout=SECONDS_BETWEEN_CHECKS)
                for worker in [each for each in self.workers if each.child is child]:
                    yield from self._receive(worker, message)
            signals.check()
            if self.inbox.empty():  # else a worker that seems silent may have a message here
                for worker in list(self.workers):
                    yield from self._check_time(worker)

    # Assign

    def _assign_tasks(self) -> None:
        """Fill up the tasks of every worker; start workers while rows wait for one."""
        # With plugins, one task at a time: what a dead worker had is rendered again.
        n_tasks = 1 if self.has_plugin else TASKS_PER_WORKER
        for turn in range(n_tasks):
            for worker in list(self.workers):
                if self.waiting and len(worker.tasks) <= turn:
                    if worker.n_results and self.tries[self.waiting[0][0]]:
                        self._retire(worker)  # a failed row is tried by a fresh worker
                    else:
                        self._send_task(worker)
        while self.waiting and len(self.workers) < self.n_workers:
            memory = fill_memory() if self.has_plugin else None
            child = ChildProcess(start_worker, (self.plan,), self.printed, self.inbox, memory)
            worker = _Worker(child)
            self.workers.append(worker)
            self._send_task(worker)

    def _send_task(self, worker: _Worker) -> None:
        task = _Task(self.waiting.popleft())
        if not worker.tasks and worker.child.ready:
            worker.child.last_message_time = time.monotonic()  # it was idle, not silent
        worker.tasks.append(task)
        worker.child.title = self._title(task.rows[0])
        try:
            seconds = self.plugin_seconds if self.has_plugin else float("inf")
            worker.child.send(task.rows, seconds)
        except ChildDied as death:  # before it got these rows: they are not the reason
            worker.death = f"crashed ({death})"
            worker.tasks.pop()
            self.waiting.appendleft(task.rows)

    def _title(self, row: int) -> str:
        return self.plan.effect_of(row).name if self.has_plugin else ""

    def _retire(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.child.close()

    # Receive

    def _receive(self, worker: _Worker, message: Message | None) -> Iterator[Batch]:
        try:
            kind, content = worker.child.unpack(message)
        except ChildDied as death:
            yield from self._replace(worker, f"crashed ({death})")
            return
        if kind == "ready":
            return
        task = worker.tasks[0]
        if kind == "message":
            task.results.append(content)
            worker.n_results += 1
            worker.is_slow = False
            if (row := worker.row) is not None:
                worker.child.title = self._title(row)
                if time.monotonic() - task.start_time > SECONDS_BEFORE_WRITTEN:
                    yield from self._flush(task)
            return
        worker.tasks.popleft()
        yield from self._collect(task)
        if self.has_plugin and worker.n_results >= MOST_USES_OF_WORKER:
            self._retire(worker)

    def _flush(self, task: _Task) -> Iterator[Batch]:
        """Yield the results of a task so far; its other rows follow later."""
        n_done = len(task.results)
        yield from self._collect(replace(task, rows=task.rows[:n_done]))
        task.rows, task.results, task.start_time = task.rows[n_done:], [], time.monotonic()

    def _collect(self, task: _Task) -> Iterator[Batch]:
        """Yield the results of a task; queue each row that failed once, in a task of its own."""
        rows, pairs, failed, unreadable = [], [], [], []
        for row, (result, unreadable_for_row) in zip(task.rows, task.results, strict=True):
            effect = row % len(self.plan.effects)
            unreadable.extend(unreadable_for_row)
            if isinstance(result, Pair):
                self.deaths_in_a_row[effect] = 0
                rows.append(row)
                pairs.append(result)
                continue
            self.tries[row] += 1
            if self.tries[row] < MAX_TRIES and effect not in self.disabled_effects:
                self.waiting.append([row])
            else:
                failed.append(self._fail(row, result))
        if rows or failed:
            yield Batch(np.array(rows, dtype=np.int64), pairs, failed, unreadable)

    # Failures

    def _check_time(self, worker: _Worker) -> Iterator[Batch]:
        """Replace a worker that is silent for too long. Only plugins have a time limit."""
        row = worker.row
        if row is None or worker not in self.workers:
            return
        waited = time.monotonic() - worker.child.last_message_time
        effect = self.plan.effect_of(row)
        if not worker.child.ready:
            if waited > SECONDS_TO_START:
                yield from self._replace(worker, f"did not start within {SECONDS_TO_START:.0f} s")
        elif effect.plugins and waited > self.plugin_seconds:
            yield from self._replace(
                worker, f"took more than {self.plugin_seconds:g} s (see --plugin-timeout)"
            )
        elif effect.plugins and waited > SECONDS_BEFORE_NOTICE and not worker.is_slow:
            worker.is_slow = True
            self.progress.message(f"{effect.name} is slow. Some plugins take minutes to load.")

    def _replace(self, worker: _Worker, reason: str) -> Iterator[Batch]:
        """Remove a dead worker: its row is tried again or fails, its other rows wait again.

        With plugins this holds for any row. A plugin's own threads may crash the process at a row
        of another effect, or after the last result.
        """
        self.workers.remove(worker)
        worker.child.kill()
        row = worker.row
        if not worker.child.ready or not self.has_plugin:
            raise PluginError(
                f"a worker process {reason} while rendering. Finished pairs are kept: continue "
                "with --resume."
            )
        for task in worker.tasks:
            rest = task.rows[len(task.results) :]
            if rest and rest[0] == row:
                is_own = self.plan.effect_of(rest[0]).plugins
                sentence = f"the plugin {reason}" if is_own else f"a plugin's process {reason}"
                task.results.append((_WorkerDeath(sentence), []))
                rest = rest[1:]
            if rest:
                self.waiting.appendleft(rest)
            yield from self._collect(replace(task, rows=task.rows[: len(task.results)]))

    def _fail(self, row: int, error: EffectError) -> FailedPair:
        """Make the failed pair of a row; disable its effect after too many deaths in a row."""
        effect = row % len(self.plan.effects)
        if isinstance(error, _WorkerDeath):  # other errors cost little time
            self.deaths_in_a_row[effect] += 1
            if self.deaths_in_a_row[effect] >= MAX_DEATHS_IN_A_ROW:
                self.disabled_effects.setdefault(effect, reason_of(error, self.plan.effect_of(row)))
        return _failed(self.renderer, row, error)

    def _drop_disabled(self) -> Iterator[Batch]:
        """Remove the waiting rows of disabled effects and yield them as failed."""
        if not self.disabled_effects:
            return
        n_effects = len(self.plan.effects)
        failed = []
        for _ in range(len(self.waiting)):
            task = self.waiting.popleft()
            rest = [row for row in task if row % n_effects not in self.disabled_effects]
            if rest:
                self.waiting.append(rest)
            for row in task:
                if row % n_effects in self.disabled_effects:
                    reason = (
                        f"not tried, because {MAX_DEATHS_IN_A_ROW} pairs in a row failed before: "
                        f"{self.disabled_effects[row % n_effects]}"
                    )
                    failed.append(FailedPair(row, self.renderer.failed_pair(row), reason))
        if failed:
            yield Batch(np.empty(0, np.int64), [], failed)
