"""Distribute tasks over a Dask cluster; results equal those of one machine bit by bit.

`start(*arguments)` creates the function that answers requests, once in each worker process. Every
request is a Dask task. If a worker dies, another one repeats its task. The calling process receives
all results and writes them. The workers need the same versions of the packages, and the input files
under the same paths.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dafxtool import __version__
from dafxtool.errors import ClusterError, DafxError, MissingDependencyError
from dafxtool.utils import signals
from dafxtool.utils.closing import Closing
from dafxtool.utils.progress import SILENT, Progress

SECONDS_TO_CONNECT = 10.0
SECONDS_FOR_WORKERS = 60.0  # time limit for the first worker of a cluster
SECONDS_BETWEEN_CHECKS = 0.5
TASKS_PER_THREAD = 3  # submitted at a time: one is sent, one runs, one returns its result
PACKAGES = ("numpy", "pedalboard", "scipy", "soundfile", "soxr", "torch")  # affect results


class DaskCluster(Closing):
    """A connection to a Dask scheduler.

    address  of the scheduler, such as tcp://node1:8786

    ClusterError            the scheduler or a worker does not respond, or a version differs
    MissingDependencyError  dask[distributed] is not installed
    """

    def __init__(self, address: str, progress: Progress = SILENT) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise MissingDependencyError("dask[distributed]", "Using a cluster") from error
        self.address, self._progress = address, progress
        try:
            self._client = Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"{address}: no Dask scheduler responds. Start one with 'dask scheduler', and use "
                "the address that it prints."
            ) from error
        try:
            self._check_workers()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect and cancel pending tasks."""
        self._client.close()

    def answers(
        self,
        start: Callable[..., Callable[[Any], Any]],
        arguments: Sequence[Any],
        requests: Sequence[Any],
    ) -> Iterator[tuple[int, Any]]:
        """Yield (index of the request, answer) in the order of completion.

        start, arguments  start(*arguments) returns the function that answers a request

        Raises the exception of a task.
        """
        from distributed import wait

        pickled = pickle.dumps((start, tuple(arguments)))
        # A task instead of scattered data, because Dask can repeat it if its worker dies.
        shared = self._client.submit(bytes, pickled, pure=False)
        most = max(1, sum(self._threads().values())) * TASKS_PER_THREAD
        running: dict[Any, int] = {}
        index = 0
        while index < len(requests) or running:
            while index < len(requests) and len(running) < most:
                task = self._client.submit(
                    answer_request, shared, requests[index], pure=False, retries=1
                )
                running[task] = index
                index += 1
            try:
                with self._client.as_current():
                    done = wait(
                        list(running), timeout=SECONDS_BETWEEN_CHECKS, return_when="FIRST_COMPLETED"
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
                f"{self.address}: several workers died at the same task ({error}). Check their "
                "logs, then continue with --resume."
            ) from error

    def _threads(self) -> Mapping[str, int]:
        """Return the number of threads of each worker."""
        threads: Mapping[str, int] = self._client.nthreads()
        return threads

    def _check_workers(self) -> None:
        """Raise ClusterError without workers, or if their package versions differ from ours."""
        from distributed import TimeoutError as NoWorkers

        if not self._threads():
            self._progress.message(f"{self.address}: waiting for the first worker")
        try:
            self._client.wait_for_workers(1, timeout=SECONDS_FOR_WORKERS)
        except (NoWorkers, TimeoutError) as error:
            raise ClusterError(
                f"{self.address}: no workers. Start some with 'dask worker {self.address}'."
            ) from error
        try:
            worker_versions = self._client.run(versions)
        except Exception as error:  # without dafxtool a worker can fail in many ways
            raise ClusterError(
                f"{self.address}: a worker cannot import dafxtool ({error}). Install the same "
                "version there."
            ) from error
        ours = versions()
        for worker, theirs in worker_versions.items():
            if theirs != ours:
                name = next(name for name in ours if ours[name] != theirs.get(name))
                raise ClusterError(
                    f"{worker}: another version of {name} would change the results (found "
                    f"{theirs.get(name)}, expected {ours[name]}). Install the same version."
                )


@contextmanager
def cluster_at(address: str | None, progress: Progress = SILENT) -> Iterator[DaskCluster | None]:
    """Connect to the scheduler at an address; yield None without an address."""
    if address is None:
        yield None
        return
    with DaskCluster(address, progress) as cluster:
        yield cluster


def versions() -> dict[str, str | None]:
    """Return the versions of the packages that affect results; None if not installed."""
    from importlib.metadata import PackageNotFoundError, version

    installed: dict[str, str | None] = {"dafxtool": __version__}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = None
    return installed


# --- on the workers -----------------------------------------------------------------------------

_answering: dict[str, Callable[[Any], Any]] = {}  # at most one: the latest function, by its hash


def answer_request(pickled: bytes, request: Any) -> Any:
    """Answer a request with a function that each process creates once.

    pickled  (start, arguments), where start(*arguments) returns the function
    """
    key = hashlib.sha256(pickled).hexdigest()
    answer = _answering.get(key)
    if answer is None:
        start, arguments = pickle.loads(pickled)
        answer = start(*arguments)
        _answering.clear()
        _answering[key] = answer
    return answer(request)
