"""The fast way of training, compiled and in bfloat16, learns what the plain one does."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import CONFIGURATION, with_training

from dafxtool.training.schedules import data_order
from dafxtool.training.train import train
from dafxtool.training.trainer import Trainer
from dafxtool.utils.progress import Progress

SHAPE = (2, 33, 17)
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "bench_gpu.py"


class Told(Progress):
    def __init__(self):
        self.lines = []

    def message(self, text):
        self.lines.append(text)


def configuration(architecture, **training):
    made = with_training(label_weight=0.0, batch_size=4, **training)
    model = replace(made.model, architecture=architecture, n_blocks=1)
    return replace(made, model=model)


class Held:
    """Spectrograms for Trainer.prepare."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def batches(self, chosen):
        return (self.values[positions] for positions in chosen)


def losses(made, told):
    torch.manual_seed(0)
    data = 0.3 * torch.randn(32, *SHAPE).cumsum(dim=-1)
    trainer = Trainer(made, SHAPE, "cpu")
    trainer.prepare(Held(data))
    trainer.compile(4, told)
    found = [trainer.step(data[positions])[0] for positions in data_order(32, trainer.config, 0)]
    return torch.stack(found).numpy(), trainer


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["convolutional", "residual"])
def test_fast_and_plain_loss_curves_agree(architecture, amount, figure):
    """500 steps with the same data and noise; compiling the residual model takes a minute."""
    if architecture == "residual" and amount(0, 1) == 0:
        pytest.skip("run with --all-cases")
    told = Told()
    plain, first = losses(configuration(architecture, max_steps=500, compile="never"), told)
    fast, second = losses(
        configuration(architecture, max_steps=500, compile="always", precision="bfloat16"), told
    )
    assert told.lines == ["compiling the convolutions"]
    assert second.model.state_dict().keys() == first.model.state_dict().keys()
    parts, wanted = (each.reshape(10, -1).mean(axis=1) for each in (fast, plain))
    figure(f"{architecture}: fast against plain", float(np.abs(parts / wanted - 1).max()))
    np.testing.assert_allclose(parts, wanted, rtol=0.01)
    assert not np.array_equal(fast, plain)  # it was another way
    assert wanted[-1] < 0.95 * wanted[0]


def test_training_continues_if_compiling_fails(spectrograms_file, tmp_path, monkeypatch):
    """As it does where there is no compiler; the run is that of an uncompiled one to the bit."""

    def compile_nothing(function, **options):
        def fail(*arguments):
            raise RuntimeError("no working compiler found\nwith much more to say")

        return fail

    runs, told = [tmp_path / "plain", tmp_path / "failing"], Told()
    train(spectrograms_file, runs[0], with_training(compile="never"), "cpu")
    monkeypatch.setattr(torch, "compile", compile_nothing)
    made = with_training(compile="always")
    train(spectrograms_file, runs[1], made, "cpu", progress=told)
    failures = [line for line in told.lines if "failed" in line]
    assert len(failures) == 1
    assert "(no working compiler found)" in failures[0] and "--no-compile" in failures[0]
    states = [
        torch.load(run / "checkpoints" / "last.pt", weights_only=True)["weights"] for run in runs
    ]
    assert all(torch.equal(states[1][name], wanted) for name, wanted in states[0].items())


def test_compiling_is_for_gpus_unless_requested(invoke, tmp_path):
    for wanted, compiles in (("auto", False), ("always", True), ("never", False)):
        assert Trainer(with_training(compile=wanted), (2, 129, 65), "cpu").compiles is compiles
    assert CONFIGURATION.training.compile == "auto"
    told = invoke("train", "--help").output
    assert "--no-compile" in told


def test_the_gpu_benchmark_runs_its_paths_without_a_gpu():
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--device", "cpu", "--quick"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("## CPU")
    for table in ("batches made on the device", "embedding", "inversion", "training, batch"):
        assert f"| {table}" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_gpu_benchmark_says_that_there_is_no_gpu():
    done = subprocess.run([sys.executable, str(BENCHMARK)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "there is no CUDA device here" in done.stderr
