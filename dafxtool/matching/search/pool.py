"""Search the candidates of a match in several processes, with the same result as in one.

The number of a candidate determines its process. A round waits for all processes. The calling
process searches plugins, which run in child processes of their own: a crash costs one evaluation.
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
from dafxtool.matching.chain import Stage
from dafxtool.matching.search.candidate import Summary
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
    """A task for a searcher: an effect between fixed stages."""

    @property
    def effect(self) -> Effect: ...

    @property
    def before(self) -> tuple[Stage, ...]: ...

    @property
    def behind(self) -> tuple[Stage, ...]: ...


@dataclass(frozen=True)
class Request:
    """Start a task, or continue one, or both.

    is_last  whether the process may forget the search afterwards: its slopes take some 10 MB
    """

    key: int
    task: Task | None = None  # to start
    evaluations: int = 0
    target: float = 0.0
    is_last: bool = False


class Searcher(Protocol):
    """Search the candidates of one process."""

    def answer(self, request: Request) -> Summary:
        """Start or continue a search, and return its summary."""


def start_search(make: Callable[..., Searcher], arguments: tuple[Any, ...]) -> Answer:
    """Answer lists of requests in a child process; each summary is sent at once."""
    threadpool_limits(1)  # small products take thirty times as long on several threads
    searcher = make(*arguments)

    def work(requests: Sequence[Request], send: Send) -> None:
        for request in requests:
            send((request.key, searcher.answer(request)))

    return work


class Pool:
    """Search the candidates of one match in several processes; with one worker, in this one.

    make, arguments  make(*arguments) returns the searcher of a process
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
        """Answer all requests; done is called with each summary on arrival."""
        summaries: dict[int, Summary] = {}
        for request in requests:
            if request.task is not None:
                stages = (*request.task.before, *request.task.behind)
                effects = (request.task.effect, *(stage.effect for stage in stages))
                self._is_plugin[request.key] = any(effect.plugins for effect in effects)
        local = [r for r in requests if self._is_plugin[r.key] or not self._n_children]
        remote = [r for r in requests if r not in local]
        busy = self._distribute(remote)
        for request in local:
            signals.check()
            summaries[request.key] = self._here.answer(request)
            done(summaries[request.key])
        self._collect(busy, summaries, done)
        return summaries

    def _distribute(self, requests: Sequence[Request]) -> list[ChildProcess]:
        """Send requests to the child processes; return those that have to answer."""
        if not requests:
            return []
        while len(self._children) < self._n_children:
            self._children.append(ChildProcess(start_search, self._arguments, inbox=self._inbox))
        by_child: Mapping[int, list[Request]] = {i: [] for i in range(self._n_children)}
        for request in requests:
            by_child[request.key % self._n_children].append(request)
        busy = []
        for index, part in by_child.items():
            if part:
                self._send(self._children[index], part)
                busy.append(self._children[index])
        return busy

    def _send(self, child: ChildProcess, requests: Sequence[Request]) -> None:
        try:
            child.send(requests)
        except ChildDied as death:
            raise _died(death) from death

    def _collect(self, busy: list[ChildProcess], summaries: dict[int, Summary], done: Done) -> None:
        """Receive the summaries of all requests that were sent."""
        while busy:
            signals.check()
            try:
                child, message = self._inbox.get(timeout=SECONDS_BETWEEN_CHECKS)
                kind, content = child.unpack(message)
            except queue.Empty:
                continue
            except ChildDied as death:
                raise _died(death) from death
            if kind == "message":
                key, summary = content
                summaries[key] = summary
                done(summary)
            elif kind == "done":
                busy.remove(child)


def _died(death: ChildDied) -> PluginError:
    return PluginError(f"a worker process crashed while matching ({death}). Use --workers 1.")
