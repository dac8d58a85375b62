"""A real Dask scheduler and two workers give the same bits as one process, even if one dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from arrays import row_arrays
from datasets import HELPERS, SEGMENTS, SPECTROGRAM, SPLIT, chosen, write_recordings

from dafxtool.dataset.render import render
from dafxtool.errors import ClusterError, DafxError, PluginError
from dafxtool.spectrogram.compute import compute_spectrograms
from dafxtool.utils import dask_cluster
from dafxtool.utils.dask_cluster import DaskCluster
from dafxtool.utils.progress import Progress

pytest.importorskip("distributed")

LOCAL = ("--host", "127.0.0.1")


def start(stack, tmp_path, *arguments):
    """Start a process of Dask's command line; return it and the file with its output."""
    log = tmp_path / f"{len(list(tmp_path.glob('*.log')))}.log"
    # The workers import the functions of this file.
    paths = [
        str(Path(__file__).parent),
        HELPERS,
        *filter(None, [os.environ.get("PYTHONPATH")]),
    ]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            stdout=file,
            stderr=file,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process, log


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    """Return (address, worker processes); each worker is one process with one thread."""
    folder = tmp_path_factory.mktemp("dask")
    with ExitStack() as stack:
        options = ("scheduler", *LOCAL, "--port", "0", "--no-dashboard")
        _, log = start(stack, folder, *options)
        address = None
        deadline = time.monotonic() + 60
        while address is None and time.monotonic() < deadline:
            time.sleep(0.1)
            address = re.search(r"tcp://127\.0\.0\.1:\d+", log.read_text())
        assert address, log.read_text()
        worker = ("worker", address[0], *LOCAL, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        workers = [start(stack, folder, *worker)[0] for _ in range(2)]
        with DaskCluster(address[0]) as cluster:
            while len(cluster._threads()) < 2 and time.monotonic() < deadline:
                time.sleep(0.1)
            assert len(cluster._threads()) == 2
        yield address[0], workers


class WorkerKiller(Progress):
    """Kill a worker once 32 pairs are done."""

    def __init__(self, worker):
        self.worker, self.n_done = worker, 0

    def advance(self, n=1, **values):
        super().advance(n, **values)
        self.n_done += n
        if self.worker is not None and self.n_done >= 32:
            os.kill(self.worker.pid, signal.SIGKILL)
            self.worker = None


def start_doubling(offset):
    return lambda request: 2 * request + offset


def start_refusing():
    def refuse(request):
        raise PluginError(f"not {request}")

    return refuse


def test_answers_are_those_of_the_function(dask):
    with DaskCluster(dask[0]) as cluster:
        answers = dict(cluster.answers(start_doubling, (5,), range(20)))
    assert answers == {index: 2 * index + 5 for index in range(20)}


def test_a_render_on_a_cluster_is_the_same_if_a_worker_dies(dask, tmp_path):
    address, workers = dask
    recordings = write_recordings(tmp_path / "recordings")
    effects = chosen("overdrive", "delay", "reverb")
    local, remote = tmp_path / "local.h5", tmp_path / "remote.h5"
    render([recordings], local, effects, SEGMENTS, SPLIT, 60, seed=3)
    progress = WorkerKiller(workers[0])
    with DaskCluster(address) as cluster:
        result = render(
            [recordings],
            remote,
            effects,
            SEGMENTS,
            SPLIT,
            60,
            seed=3,
            cluster=cluster,
            progress=progress,
        )
        assert len(cluster._threads()) == 1
    assert progress.worker is None  # it was killed
    assert result.n_pairs == 180
    first, second = row_arrays(local), row_arrays(remote)
    for name in first:
        assert np.array_equal(first[name], second[name], equal_nan=name == "setting"), name


def test_spectrograms_of_a_cluster_are_the_same(dask, tmp_path):
    recordings = write_recordings(tmp_path / "recordings")
    pairs = tmp_path / "pairs.h5"
    effects = chosen("overdrive", "delay")
    # The last round renders other pairs to the same path, while workers have the first ones open.
    for standardisation, seed in (("dataset", 3), ("segment", 3), ("segment", 4)):
        render([recordings], pairs, effects, SEGMENTS, SPLIT, 20, seed=seed, overwrite=True)
        config = replace(SPECTROGRAM, standardisation=standardisation)
        local, remote = tmp_path / "local.h5", tmp_path / "remote.h5"
        compute_spectrograms(pairs, local, config, device="cpu", overwrite=True)
        with DaskCluster(dask[0]) as cluster:
            compute_spectrograms(pairs, remote, config, overwrite=True, cluster=cluster)
        first, second = row_arrays(local), row_arrays(remote)
        for name in first:
            assert np.array_equal(first[name], second[name], equal_nan=name == "setting"), name


def test_the_commands_accept_an_address(dask, tmp_path, invoke):
    write_recordings(tmp_path / "recordings")
    pairs, spectrograms = tmp_path / "p.h5", tmp_path / "s.h5"
    short = ("--segment-seconds", 0.5, "--sample-rate", 8000, "--pairs-per-effect", 5)
    effect = ("--effect", "gain", *short)
    result = invoke("render", tmp_path / "recordings", *effect, "--dask", dask[0], "-o", pairs)
    assert result.exit_code == 0, result.output
    sizes = ("--n-fft", 256, "--hop-length", 64, "--window-length", 256)
    result = invoke("spectrogram", pairs, *sizes, "--dask", dask[0], "-o", spectrograms)
    assert result.exit_code == 0, result.output
    assert len(row_arrays(spectrograms)["spectrogram"]) == 5


def test_errors_of_tasks_are_raised(dask):
    with DaskCluster(dask[0]) as cluster, pytest.raises(PluginError, match="not 7"):
        list(cluster.answers(start_refusing, (), [7]))


def test_other_versions_are_refused(dask, monkeypatch):
    monkeypatch.setattr(dask_cluster, "__version__", "0.0.1")
    with pytest.raises(ClusterError, match=r"version of dafxtool .* expected 0\.0\.1"):
        DaskCluster(dask[0])


def test_an_address_without_a_scheduler_is_refused(monkeypatch):
    monkeypatch.setattr(dask_cluster, "SECONDS_TO_CONNECT", 1.0)
    with pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9: no Dask scheduler"):
        DaskCluster("tcp://127.0.0.1:9")
    with pytest.raises(DafxError, match="nonsense://x: no Dask scheduler"):
        DaskCluster("nonsense://x")
