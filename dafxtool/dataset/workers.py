"""Render the rows of a plan, in this process or in several.

A worker that dies or hangs is replaced. A fresh one tries the row that it was at once more; if that
fails too, the row is given up with the reason, and everything else goes on. A plugin never runs in
the process that writes.
"""

from __future__ import annotations

import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.dataset.failures import FailedPair
from dafxtool.dataset.pair import Pair
from dafxtool.dataset.plan import PairRenderer, RenderPlan
from dafxtool.effects.vst3.files import allow
from dafxtool.effects.vst3.isolation import (
    PLUGIN_SECONDS,
    SECONDS_BEFORE_NOTICE,
    USES_OF_A_PROCESS,
    limit_time,
)
from dafxtool.errors import PluginError
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

ROWS_A_TASK = 16
TASKS_A_WORKER = 2  # at a time: the next one is there before this one has ended
SECONDS_BEFORE_WRITTEN = 10.0  # that a slow plugin's pairs may wait for the rest of their task
MOST_TRIES = 2  # of a row
MOST_LOST_IN_A_ROW = 5  # rows of one plugin at which workers died; then no more are tried


@dataclass(frozen=True)
class Batch:
    """Pairs with their rows, the lost ones, and recordings that could not be read (path, why)."""

    rows: NDArray[np.int64]
    pairs: list[Pair]
    lost: list[FailedPair] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


def render_batches(
    plan: RenderPlan,
    missing: NDArray[np.int64],
    workers: int,
    plugin_seconds: float = PLUGIN_SECONDS,
    printed: PrintedLog | None = None,
    progress: Progress = SILENT,
    cluster: DaskCluster | None = None,
) -> Iterator[Batch]:
    """Yield batches of rows as they become ready.

    plugin_seconds  that a plugin gets to load and process a segment
    printed         where the output of plugins goes
    cluster         where to render, instead of in processes of this machine
    """
    rows = PairRenderer(plan)
    has_plugin = any(effect.plugin for effect, _ in plan.effects)
    ordered = rows.in_order(missing)
    if cluster is not None:
        tasks = _tasks(ordered)
        for _, batch in cluster.answers(begin_on_cluster, (plan, plugin_seconds), tasks):
            yield batch
        return
    if workers <= 1 and not has_plugin:
        for task in _tasks(ordered):
            done = list(rows.render(task))
            yield Batch(
                np.array(task), [pair for pair, _ in done], [], [f for _, fs in done for f in fs]
            )
        return
    if not len(ordered):
        return
    yield from _Pool(rows, max(1, workers), plugin_seconds, printed, progress).render(ordered)


def _tasks(ordered: NDArray[np.int64]) -> list[list[int]]:
    return [
        ordered[first : first + ROWS_A_TASK].tolist()
        for first in range(0, len(ordered), ROWS_A_TASK)
    ]


# --- in the worker ------------------------------------------------------------------------------


def start_worker(plan: RenderPlan) -> Answer:
    """Return the function that renders a list of rows and sends each pair as it is done."""
    rows = PairRenderer(plan)

    def work(wanted: list[int], send: Send) -> None:
        n_done = 0
        while n_done < len(wanted):  # a plugin that fails ends the iterator
            try:
                for pair, failures in rows.render(wanted[n_done:]):
                    send((pair, failures))
                    n_done += 1
            except PluginError as error:
                send((error, []))
                n_done += 1

    return work


def begin_on_cluster(plan: RenderPlan, plugin_seconds: float) -> Callable[[list[int]], Batch]:
    """Answers a list of rows with their Batch. A plugin runs in a child of the cluster's worker."""
    rows = PairRenderer(plan)
    limit_time(plugin_seconds)
    for effect, _ in plan.effects:
        if effect.plugin:
            allow(effect.plugin.path)  # whoever uses the cluster has named it

    def work(wanted: list[int]) -> Batch:
        batch = Batch(np.empty(0, np.int64), [])
        made: list[int] = []
        while wanted:
            try:
                for pair, failures in rows.render(wanted):
                    made.append(wanted[0])
                    wanted = wanted[1:]
                    batch.pairs.append(pair)
                    batch.failures.extend(failures)
            except PluginError as error:
                row, wanted = wanted[0], wanted[1:]
                found = _tried_again(rows, row)
                if found is None:
                    batch.lost.append(FailedPair(row, rows.unmade(row), str(error)))
                else:
                    made.append(row)
                    batch.pairs.append(found)
        return replace(batch, rows=np.array(made, dtype=np.int64))

    return work


def _tried_again(rows: PairRenderer, row: int) -> Pair | None:
    try:
        return next(rows.render([row]))[0]
    except PluginError:
        return None


# --- in the process that writes -----------------------------------------------------------------


class _Death(PluginError):
    """The worker's, at some row."""


@dataclass
class _Task:
    """Rows under way, and the results of the first ones of them."""

    rows: list[int]
    results: list[tuple[Pair | PluginError, list[tuple[str, str]]]] = field(default_factory=list)
    taken: float = field(default_factory=time.monotonic)


@dataclass
class _Worker:
    child: ChildProcess
    tasks: deque[_Task] = field(default_factory=deque)
    n_made: int = 0
    noticed: bool = False
    died: str = ""  # how, where that was found out by sending to it

    @property
    def row(self) -> int | None:
        """The one it is at."""
        if not self.tasks:
            return None
        task = self.tasks[0]
        return task.rows[len(task.results)] if len(task.results) < len(task.rows) else None


class _Pool:
    def __init__(
        self,
        rows: PairRenderer,
        n_workers: int,
        plugin_seconds: float,
        printed: PrintedLog | None,
        progress: Progress,
    ) -> None:
        self.rows, self.plan = rows, rows.plan
        self.n_workers, self.plugin_seconds = n_workers, plugin_seconds
        self.printed, self.progress = printed, progress
        self.has_plugin = any(effect.plugin for effect, _ in self.plan.effects)
        self.waiting: deque[list[int]] = deque()
        self.tries: Counter[int] = Counter()
        self.lost_in_a_row: Counter[int] = Counter()
        self.given_up: dict[int, str] = {}
        self.workers: list[_Worker] = []
        self.inbox: Inbox = queue.SimpleQueue()

    def render(self, ordered: NDArray[np.int64]) -> Iterator[Batch]:
        # A worker with a plugin is given little at a time: what it loses is tried again.
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
            yield from self._without_hope()
            self._hand_out()
            for worker in [each for each in self.workers if each.died]:
                yield from self._bury(worker, worker.died)
            with suppress(queue.Empty):
                child, message = self.inbox.get(timeout=SECONDS_BETWEEN_CHECKS)
                for worker in [each for each in self.workers if each.child is child]:
                    yield from self._hear(worker, message)
            signals.check()
            if self.inbox.empty():  # else some that seem silent have not been heard yet
                for worker in list(self.workers):
                    yield from self._look_at(worker)

    def _hand_out(self) -> None:
        """Every worker gets what it may have under way; new ones begin where there is a need."""
        most = 1 if self.has_plugin else TASKS_A_WORKER
        for turn in range(most):
            for worker in list(self.workers):
                if self.waiting and len(worker.tasks) <= turn:
                    if worker.n_made and self.tries[self.waiting[0][0]]:
                        self._retire(worker)  # what failed once is tried by a fresh one
                    else:
                        self._give(worker)
        while self.waiting and len(self.workers) < self.n_workers:
            child = ChildProcess(start_worker, (self.plan,), self.printed, self.inbox)
            worker = _Worker(child)
            self.workers.append(worker)
            self._give(worker)

    def _give(self, worker: _Worker) -> None:
        task = _Task(self.waiting.popleft())
        if not worker.tasks and worker.child.ready:
            worker.child.last_message_time = time.monotonic()  # it was idle, not silent
        worker.tasks.append(task)
        worker.child.title = self._title(task.rows[0])
        try:
            seconds = self.plugin_seconds if self.has_plugin else float("inf")
            worker.child.send(task.rows, seconds)
        except ChildDied as death:  # before it was asked: these rows are not to blame
            worker.died = f"crashed ({death})"
            worker.tasks.pop()
            self.waiting.appendleft(task.rows)

    def _title(self, row: int) -> str:
        return self.plan.effects[row % len(self.plan.effects)][0].name if self.has_plugin else ""

    def _hear(self, worker: _Worker, message: Message | None) -> Iterator[Batch]:
        try:
            kind, content = worker.child.unpack(message)
        except ChildDied as death:
            yield from self._bury(worker, f"crashed ({death})")
            return
        if kind == "ready":
            return
        task = worker.tasks[0]
        if kind == "said":
            made, failures = content
            task.results.append((made, failures))
            worker.n_made += 1
            worker.noticed = False
            if (at := worker.row) is not None:
                worker.child.title = self._title(at)
                if time.monotonic() - task.taken > SECONDS_BEFORE_WRITTEN:
                    yield from self._take(task)
            return
        worker.tasks.popleft()
        yield from self._made(task)
        if self.has_plugin and worker.n_made >= USES_OF_A_PROCESS:
            self._retire(worker)

    def _retire(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.child.close()

    def _look_at(self, worker: _Worker) -> Iterator[Batch]:
        """Has it been silent for too long? Only plugins are held to a time."""
        row = worker.row
        if row is None or worker not in self.workers:
            return
        waited = time.monotonic() - worker.child.last_message_time
        effect = self.plan.effects[row % len(self.plan.effects)][0]
        if not worker.child.ready:
            if waited > SECONDS_TO_START:
                yield from self._bury(worker, f"did not start within {SECONDS_TO_START:.0f} s")
        elif effect.plugin and waited > self.plugin_seconds:
            yield from self._bury(
                worker, f"took more than {self.plugin_seconds:g} s (see --plugin-timeout)"
            )
        elif effect.plugin and waited > SECONDS_BEFORE_NOTICE and not worker.noticed:
            worker.noticed = True
            self.progress.say(f"{effect.name} takes its time; some plugins load for minutes.")

    def _bury(self, worker: _Worker, manner: str) -> Iterator[Batch]:
        """Replace a worker: its row is tried again or lost, its other rows go back.

        With plugins, whatever it was at: a plugin's own threads may crash it when they like, at the
        row of another effect, or when all of its rows are told.
        """
        self.workers.remove(worker)
        worker.child.kill()
        at = worker.row
        if not worker.child.ready or not self.has_plugin:
            raise PluginError(
                f"a worker process {manner} while rendering: what was rendered is kept, go on with "
                "--resume."
            )
        for task in worker.tasks:
            rest = task.rows[len(task.results) :]
            if rest and rest[0] == at:
                own = self._effect_of(at).plugin
                reason = f"the plugin {manner}" if own else f"a plugin's process {manner}"
                task.results.append((_Death(reason), []))
                rest = rest[1:]
            if rest:
                self.waiting.appendleft(rest)
            yield from self._made(replace(task, rows=task.rows[: len(task.results)]))

    def _take(self, task: _Task) -> Iterator[Batch]:
        """What has come of a task so far; it goes on with the rest of its rows."""
        n_done = len(task.results)
        yield from self._made(replace(task, rows=task.rows[:n_done]))
        task.rows, task.results, task.taken = task.rows[n_done:], [], time.monotonic()

    def _effect_of(self, row: int) -> Any:
        return self.plan.effects[row % len(self.plan.effects)][0]

    def _made(self, task: _Task) -> Iterator[Batch]:
        """The pairs of a task; rows that failed once are tried again, each by itself."""
        rows, pairs, lost, failures = [], [], [], []
        for row, (result, unread) in zip(task.rows, task.results, strict=True):
            effect = row % len(self.plan.effects)
            failures.extend(unread)
            if isinstance(result, Pair):
                self.lost_in_a_row[effect] = 0
                rows.append(row)
                pairs.append(result)
                continue
            self.tries[row] += 1
            if self.tries[row] < MOST_TRIES and effect not in self.given_up:
                self.waiting.append([row])
            else:
                lost.append(self._lose(row, result))
        if rows or lost:
            yield Batch(np.array(rows, dtype=np.int64), pairs, lost, failures)

    def _lose(self, row: int, error: PluginError) -> FailedPair:
        effect = row % len(self.plan.effects)
        if isinstance(error, _Death):  # anything else is quickly tried
            self.lost_in_a_row[effect] += 1
            if self.lost_in_a_row[effect] >= MOST_LOST_IN_A_ROW:
                self.given_up.setdefault(effect, str(error))
        return FailedPair(row, self.rows.unmade(row), str(error))

    def _without_hope(self) -> Iterator[Batch]:
        """Rows of plugins that were given up are not tried any more."""
        if not self.given_up:
            return
        n_effects = len(self.plan.effects)
        lost = []
        for _ in range(len(self.waiting)):
            task = self.waiting.popleft()
            rest = [row for row in task if row % n_effects not in self.given_up]
            if rest:
                self.waiting.append(rest)
            for row in task:
                if row % n_effects in self.given_up:
                    reason = (
                        f"not tried, because {MOST_LOST_IN_A_ROW} pairs in a row were lost before: "
                        f"{self.given_up[row % n_effects]}"
                    )
                    lost.append(FailedPair(row, self.rows.unmade(row), reason))
        if lost:
            yield Batch(np.empty(0, np.int64), [], lost)
