"""A real Dask scheduler with two worker processes on this machine: the same bits, whoever dies."""

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
from dafxtool.utils import dask_cluster as clusters
from dafxtool.utils.dask_cluster import DaskCluster
from dafxtool.utils.progress import Progress

pytest.importorskip("distributed")

LOCAL = ("--host", "127.0.0.1")


def started(stack, tmp_path, *arguments):
    """A process of Dask's command line, and the file with what it prints."""
    printed = tmp_path / f"{len(list(tmp_path.glob('*.printed')))}.printed"
    with printed.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            stdout=file,
            stderr=file,
            cwd=tmp_path,
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join(
                    [
                        str(Path(__file__).parent),
                        HELPERS,
                        *filter(None, [os.environ.get("PYTHONPATH")]),
                    ]
                )
            },  # of this file's functions
        )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process, printed


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    """(address, worker processes); each worker is one process with one thread."""
    folder = tmp_path_factory.mktemp("dask")
    with ExitStack() as stack:
        options = ("scheduler", *LOCAL, "--port", "0", "--no-dashboard")
        _, printed = started(stack, folder, *options)
        address = None
        deadline = time.monotonic() + 60
        while address is None and time.monotonic() < deadline:
            time.sleep(0.1)
            address = re.search(r"tcp://127\.0\.0\.1:\d+", printed.read_text())
        assert address, printed.read_text()
        worker = ("worker", address[0], *LOCAL, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        workers = [started(stack, folder, *worker)[0] for _ in range(2)]
        with DaskCluster(address[0]) as cluster:
            while len(cluster._threads()) < 2 and time.monotonic() < deadline:
                time.sleep(0.1)
            assert len(cluster._threads()) == 2
        yield address[0], workers


class KillsAWorker(Progress):
    def __init__(self, worker):
        self.worker, self.n_done = worker, 0

    def advance(self, n=1, **values):
        super().advance(n, **values)
        self.n_done += n
        if self.worker is not None and self.n_done >= 32:
            os.kill(self.worker.pid, signal.SIGKILL)
            self.worker = None


def begin_doubling(offset):
    return lambda request: 2 * request + offset


def begin_refusing():
    def refuse(request):
        raise PluginError(f"not {request}")

    return refuse


def test_answers_are_those_of_the_function(dask):
    with DaskCluster(dask[0]) as cluster:
        found = dict(cluster.answers(begin_doubling, (5,), range(20)))
    assert found == {index: 2 * index + 5 for index in range(20)}


@pytest.mark.parametrize("output", ["pairs.h5"])
def test_a_render_on_a_cluster_is_the_same_though_a_worker_dies(dask, tmp_path, output):
    address, workers = dask
    recordings = write_recordings(tmp_path / "recordings")
    effects = chosen("overdrive", "delay", "reverb")
    here = tmp_path / "here.h5"
    render([recordings], here, effects, SEGMENTS, SPLIT, 60, seed=3)
    progress = KillsAWorker(workers[0])
    with DaskCluster(address) as cluster:
        there = tmp_path / output
        result = render(
            [recordings],
            there,
            effects,
            SEGMENTS,
            SPLIT,
            60,
            seed=3,
            cluster=cluster,
            progress=progress,
        )
        assert len(cluster._threads()) == 1
    assert progress.worker is None  # it was killed on the way
    assert result.n_pairs == 180
    first, second = row_arrays(here), row_arrays(there)
    for name in first:
        assert np.array_equal(first[name], second[name], equal_nan=name == "setting"), name


def test_spectrograms_of_a_cluster_are_the_same(dask, tmp_path):
    recordings = write_recordings(tmp_path / "recordings")
    pairs = tmp_path / "pairs.h5"
    effects = chosen("overdrive", "delay")
    # The second time other pairs lie under the same name, and workers have the first ones open.
    for standardisation, seed in (("dataset", 3), ("segment", 3), ("segment", 4)):
        render([recordings], pairs, effects, SEGMENTS, SPLIT, 20, seed=seed, overwrite=True)
        config = replace(SPECTROGRAM, standardisation=standardisation)
        compute_spectrograms(pairs, tmp_path / "here.h5", config, device="cpu", overwrite=True)
        with DaskCluster(dask[0]) as cluster:
            compute_spectrograms(
                pairs, tmp_path / "there.h5", config, overwrite=True, cluster=cluster
            )
        first, second = row_arrays(tmp_path / "here.h5"), row_arrays(tmp_path / "there.h5")
        for name in first:
            assert np.array_equal(first[name], second[name], equal_nan=name == "setting"), name


def test_the_commands_take_an_address(dask, tmp_path, invoke):
    write_recordings(tmp_path / "recordings")
    pairs, spectrograms = tmp_path / "p.h5", tmp_path / "s.h5"
    short = ("--segment-seconds", 0.5, "--sample-rate", 8000, "--pairs-per-effect", 5)
    made = invoke(
        "render",
        tmp_path / "recordings",
        "--effect",
        "gain",
        *short,
        "--dask",
        dask[0],
        "-o",
        pairs,
    )
    assert made.exit_code == 0, made.output
    made = invoke("spectrogram", pairs, "--n-fft", 256, "--hop-length", 64, "--window-length", 256,
                  "--dask", dask[0], "-o", spectrograms)  # fmt: skip
    assert made.exit_code == 0, made.output
    assert len(row_arrays(spectrograms)["spectrogram"]) == 5


def test_errors_of_tasks_are_ours(dask):
    with DaskCluster(dask[0]) as cluster, pytest.raises(PluginError, match="not 7"):
        list(cluster.answers(begin_refusing, (), [7]))


def test_other_versions_are_refused(dask, monkeypatch):
    monkeypatch.setattr(clusters, "__version__", "0.0.1")
    with pytest.raises(ClusterError, match=r"has dafxtool .* and this machine has 0\.0\.1"):
        DaskCluster(dask[0])


def test_nobody_at_the_address(monkeypatch):
    monkeypatch.setattr(clusters, "SECONDS_TO_CONNECT", 1.0)
    with pytest.raises(ClusterError, match="no Dask scheduler answers at tcp://127"):
        DaskCluster("tcp://127.0.0.1:9")
    with pytest.raises(DafxError, match="no Dask scheduler answers at nonsense"):
        DaskCluster("nonsense://x")
