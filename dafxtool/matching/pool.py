"""Work on the candidates of a match in several processes, with the same result as in one.

Each candidate lives in one process, chosen by its number; a round waits for all of them. Plugins
are searched from the calling process, which runs them in a child of their own: a crash costs one
evaluation.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from dafxtool.effects.effect import Effect
from dafxtool.errors import PluginError
from dafxtool.matching.candidate import Summary
from dafxtool.matching.chain import Stage
from dafxtool.utils import signals
from dafxtool.utils.child_process import (
    SECONDS_BETWEEN_CHECKS,
    Answer,
    ChildDied,
    ChildProcess,
    Inbox,
    Send,
)

Done = Callable[[Summary], None]


class Task(Protocol):
    """What a searcher can begin: an effect between fixed stages."""

    @property
    def effect(self) -> Effect: ...

    @property
    def before(self) -> tuple[Stage, ...]: ...

    @property
    def behind(self) -> tuple[Stage, ...]: ...


@dataclass(frozen=True)
class Request:
    """Begin a task, or advance one that has begun."""

    key: int
    task: Task | None = None  # to begin
    evaluations: int = 0
    target: float = 0.0


class Searcher(Protocol):
    """The candidates of one process."""

    def answer(self, request: Request) -> Summary:
        """Do what is requested and return what the candidate has reached."""


def begin_search(make: Callable[..., Searcher], arguments: tuple[Any, ...]) -> Answer:
    """Answer lists of requests in a child process; each summary is sent as soon as it is there."""
    threadpool_limits(1)  # a small product takes thirty times as long on several threads
    searcher = make(*arguments)

    def work(requests: Sequence[Request], send: Send) -> None:
        for request in requests:
            send((request.key, searcher.answer(request)))

    return work


class Pool:
    """Processes that work on the candidates of one match; with 1 worker, only this one.

    make, arguments  make(*arguments) is the searcher of each process
    """

    def __init__(
        self, make: Callable[..., Searcher], arguments: tuple[Any, ...], workers: int
    ) -> None:
        self._here = make(*arguments)
        self._arguments = (make, arguments)
        self._n_children = workers if workers > 1 else 0
        self._children: list[ChildProcess] = []
        self._inbox: Inbox = queue.SimpleQueue()
        self._is_plugin: dict[int, bool] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for child in self._children:
            child.kill()

    def run(
        self, requests: Sequence[Request], done: Done = lambda summary: None
    ) -> dict[int, Summary]:
        """Answer all requests; done is called with each summary as it comes."""
        found: dict[int, Summary] = {}
        for request in requests:
            if request.task is not None:
                plugin = request.task.effect.plugin is not None
                stages = (*request.task.before, *request.task.behind)
                plugin |= any(stage.effect.plugin is not None for stage in stages)
                self._is_plugin[request.key] = plugin
        here = [r for r in requests if self._is_plugin[r.key] or not self._n_children]
        away = [r for r in requests if r not in here]
        busy = self._hand_out(away)
        for request in here:
            signals.check()
            found[request.key] = self._here.answer(request)
            done(found[request.key])
        self._collect(busy, found, done)
        return found

    def _hand_out(self, requests: Sequence[Request]) -> list[ChildProcess]:
        if not requests:
            return []
        while len(self._children) < self._n_children:
            self._children.append(ChildProcess(begin_search, self._arguments, inbox=self._inbox))
        shares: Mapping[int, list[Request]] = {i: [] for i in range(self._n_children)}
        for request in requests:
            shares[request.key % self._n_children].append(request)
        busy = []
        for index, share in shares.items():
            if share:
                self._send(self._children[index], share)
                busy.append(self._children[index])
        return busy

    def _send(self, child: ChildProcess, share: Sequence[Request]) -> None:
        try:
            child.send(share)
        except ChildDied as death:
            raise _died(death) from death

    def _collect(self, busy: list[ChildProcess], found: dict[int, Summary], done: Done) -> None:
        while busy:
            signals.check()
            try:
                child, message = self._inbox.get(timeout=SECONDS_BETWEEN_CHECKS)
                kind, content = child.unpack(message)
            except queue.Empty:
                continue
            except ChildDied as death:
                raise _died(death) from death
            if kind == "said":
                key, summary = content
                found[key] = summary
                done(summary)
            elif kind == "done":
                busy.remove(child)


def _died(death: ChildDied) -> PluginError:
    return PluginError(f"A worker process crashed while matching ({death}). Use --workers 1.")
