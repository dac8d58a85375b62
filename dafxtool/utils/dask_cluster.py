"""Work spread over a Dask cluster: the same functions as here, and the same bits.

What one machine does in its worker processes, many do as Dask's tasks: `begin(*arguments)` makes
the function that answers requests, once in each process, and every request is a task of its own.
A task whose worker dies is done again by another one. Results come back to the one process that
writes. The workers need the same versions of the packages, and the inputs under the same paths.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from dafxtool import __version__
from dafxtool.errors import ClusterError, DafxError, MissingDependencyError
from dafxtool.utils import signals
from dafxtool.utils.progress import SILENT, Progress

SECONDS_TO_CONNECT = 10.0
SECONDS_FOR_WORKERS = 60.0  # that a cluster without workers is waited for
SECONDS_BETWEEN_LOOKS = 0.5
TASKS_A_THREAD = 3  # under way: one is done, one is on its way there, one on its way back
PACKAGES = ("numpy", "pedalboard", "scipy", "soundfile", "soxr", "torch")  # that decide the bits


class DaskCluster:
    """A connection to a Dask scheduler.

    address  of the scheduler, such as tcp://node1:8786
    """

    def __init__(self, address: str, progress: Progress = SILENT) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise MissingDependencyError("dask[distributed]", "Working on a cluster") from error
        self.address, self._progress = address, progress
        try:
            self._client = Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"no Dask scheduler answers at {address}: start one with 'dask scheduler', and "
                "give the address that it prints."
            ) from error
        try:
            self._check_workers()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> DaskCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect; tasks that nobody waits for any more are dropped."""
        self._client.close()

    def answers(
        self,
        begin: Callable[..., Callable[[Any], Any]],
        arguments: Sequence[Any],
        requests: Sequence[Any],
    ) -> Iterator[tuple[int, Any]]:
        """(position of the request, answer), as they become ready. Raises what a task raised."""
        from distributed import wait

        packed = pickle.dumps((begin, tuple(arguments)))
        # A task, not scattered data: what dies with a worker can be had again.
        shared = self._client.submit(bytes, packed, pure=False)
        most = max(1, sum(self._threads().values())) * TASKS_A_THREAD
        running: dict[Any, int] = {}
        position = 0
        while position < len(requests) or running:
            while position < len(requests) and len(running) < most:
                task = self._client.submit(
                    answer_one, shared, requests[position], pure=False, retries=1
                )
                running[task] = position
                position += 1
            try:
                with self._client.as_current():
                    done = wait(
                        list(running), timeout=SECONDS_BETWEEN_LOOKS, return_when="FIRST_COMPLETED"
                    ).done
            except TimeoutError:
                done = set()
            signals.check()
            for task in done:
                yield running.pop(task), self._result(task)

    def _result(self, task: Any) -> Any:
        from distributed import KilledWorker

        try:
            return task.result()
        except DafxError:
            raise
        except KilledWorker as error:
            raise ClusterError(
                f"workers of {self.address} died again and again at the same task ({error}): see "
                "their logs; what was done is kept, go on with --resume."
            ) from error

    def _threads(self) -> Mapping[str, int]:
        found: Mapping[str, int] = self._client.nthreads()
        return found

    def _check_workers(self) -> None:
        """ClusterError without workers, or with other versions of what decides the bits."""
        from distributed import TimeoutError as NoWorkers

        if not self._threads():
            self._progress.say(f"{self.address} has no workers yet; waiting for one.")
        try:
            self._client.wait_for_workers(1, timeout=SECONDS_FOR_WORKERS)
        except (NoWorkers, TimeoutError) as error:
            raise ClusterError(
                f"{self.address} has no workers: start some with 'dask worker {self.address}'."
            ) from error
        try:
            found = self._client.run(versions)
        except Exception as error:  # whatever a worker without dafxtool makes of it
            raise ClusterError(
                f"a worker of {self.address} cannot import dafxtool ({error}): install the same "
                "version there."
            ) from error
        ours = versions()
        for worker, theirs in found.items():
            if theirs != ours:
                other = next(name for name in ours if ours[name] != theirs.get(name))
                raise ClusterError(
                    f"the worker {worker} has {other} {theirs.get(other)}, and this machine has "
                    f"{ours[other]}: install the same versions, or the results would differ."
                )


@contextmanager
def cluster_at(address: str | None, progress: Progress = SILENT) -> Iterator[DaskCluster | None]:
    """Connect to the scheduler at an address; yields None without one."""
    if address is None:
        yield None
        return
    with DaskCluster(address, progress) as cluster:
        yield cluster


def versions() -> dict[str, str | None]:
    """Versions of what decides the bits of a result; None for what is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {"dafxtool": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


# --- on the workers -----------------------------------------------------------------------------

_begun: dict[str, Callable[[Any], Any]] = {}  # the last one of this process


def answer_one(packed: bytes, request: Any) -> Any:
    """The answer to a request, by a function that is made once in a process."""
    key = hashlib.sha256(packed).hexdigest()
    answer = _begun.get(key)
    if answer is None:
        begin, arguments = pickle.loads(packed)
        answer = begin(*arguments)
        _begun.clear()
        _begun[key] = answer
    return answer(request)
