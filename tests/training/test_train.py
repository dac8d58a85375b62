import csv
import io
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import CONFIGURATION, HELPERS, with_training

from dafxtool import presets, storage
from dafxtool.config import TrainingConfig
from dafxtool.errors import (
    FormatError,
    InputError,
    OutputExistsError,
    TrainingError,
)
from dafxtool.models.checkpoint import (
    new_run_path,
    newest_run,
    read_checkpoint,
    save_checkpoint,
)
from dafxtool.models.residual import ResidualVAE
from dafxtool.models.run import load_run
from dafxtool.training.loader import SplitLoader
from dafxtool.training.run_writer import read_metrics
from dafxtool.training.schedules import beta_at, data_order, learning_rate_at
from dafxtool.training.style_pretraining import n_style_steps
from dafxtool.training.time_limit import TimeLimit
from dafxtool.training.train import train
from dafxtool.training.trainer import Trainer
from dafxtool.utils.progress import TerminalProgress


def curve(run: Path) -> list[dict[str, str]]:
    """metrics.csv without the clock."""
    return [
        {k: v for k, v in row.items() if k != "seconds"}
        for row in read_metrics(run / "metrics.csv")
    ]


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return read_checkpoint(run / "checkpoints" / f"{name}.pt")["weights"]


@pytest.fixture(scope="module")
def undisturbed(spectrograms_file, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(spectrograms_file, run, CONFIGURATION, "cpu")
    return run


def test_a_run_folder_has_all_documented_files(undisturbed):
    for name in ("config.toml", "environment.json", "metrics.csv", "checkpoints/best.pt"):
        assert (undisturbed / name).is_file()
    assert list((undisturbed / "tensorboard").glob("events*"))
    assert presets.configure(file=undisturbed / "config.toml") == CONFIGURATION
    rows = curve(undisturbed)
    assert [int(row["step"]) for row in rows] == [0, 2, 4, 6, 8, 10, 12]
    assert [bool(row["validation_loss"]) for row in rows] == [True, *[False, True] * 3]


def test_training_lowers_the_error(spectrograms_file, tmp_path):
    made = with_training(max_steps=60, validate_every=20)
    made = replace(made, model=replace(made.model, architecture="convolutional"))
    train(spectrograms_file, tmp_path / "run", made, "cpu")
    errors = [float(row["wet_error"]) for row in curve(tmp_path / "run") if row["wet_error"]]
    assert errors[-1] < 0.8 * errors[0]


def test_a_resumed_run_has_the_same_curve_as_an_uninterrupted_one(
    spectrograms_file, undisturbed, tmp_path
):
    run = tmp_path / "run"

    def interrupt(trainer, folder, validation):
        if trainer.step_number == 8:
            raise KeyboardInterrupt

    first = train(spectrograms_file, run, CONFIGURATION, "cpu", callbacks=(interrupt,))
    assert (first.ended, first.steps) == ("interrupted", 8)
    assert load_run(run, "cpu", "last").step == 8  # usable as it is
    second = train(spectrograms_file, run, CONFIGURATION, "cpu", resume=True)
    assert (second.ended, second.steps) == ("complete", 12)
    assert curve(run) == curve(undisturbed)
    for name in ("last", "best"):
        for key, value in weights(undisturbed, name).items():
            assert torch.equal(weights(run, name)[key], value), key


def test_a_style_that_learns_changes_and_is_resumed_exactly(spectrograms_file, tmp_path):
    configuration = with_training(style_learns=True, label_steps=20, max_steps=6)
    start = {}

    def remember(trainer, folder, validation):
        start.update({k: v.clone() for k, v in trainer.model.state_dict().items()})
        raise KeyboardInterrupt

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(spectrograms_file, whole, configuration, "cpu")
    train(spectrograms_file, parts, configuration, "cpu", callbacks=(remember,))
    train(spectrograms_file, parts, configuration, "cpu", resume=True)
    assert curve(parts) == curve(whole)
    end = weights(whole, "last")
    for key, value in weights(parts, "last").items():
        assert torch.equal(end[key], value), key
    style = [key for key in end if key.startswith("style_encoder.")]
    assert style and not any(torch.equal(start[key], end[key]) for key in style)


COMMAND = """
import sys
sys.path[:0] = {tests!r}
from pathlib import Path
import torch
torch.set_num_threads(1)
from datasets import with_training
from dafxtool.training.train import train
train(Path({data!r}), Path({run!r}), with_training(max_steps=40), "cpu", resume=True)
"""


def test_a_killed_run_ends_as_an_undisturbed_one(spectrograms_file, tmp_path):
    torch.set_num_threads(1)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(spectrograms_file, whole, with_training(max_steps=40), "cpu")
    code = COMMAND.format(
        tests=[str(Path(__file__).parent), HELPERS], data=str(spectrograms_file), run=str(killed)
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < deadline:
        if (killed / "checkpoints" / "last.pt").exists() and len(curve(killed)) >= 3:
            break
        time.sleep(0.002)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    train(spectrograms_file, killed, with_training(max_steps=40), "cpu", resume=True)
    assert curve(killed) == curve(whole)
    for key, value in weights(whole).items():
        assert torch.equal(weights(killed)[key], value), key


def test_a_loss_that_is_not_finite_stops_with_an_error(spectrograms_file, tmp_path):
    run = tmp_path / "run"
    configuration = with_training(learning_rate=1e30, warmup_steps=0, schedule="constant")
    with pytest.raises(TrainingError, match=r"not finite at step \d+.*--learning-rate"):
        train(spectrograms_file, run, configuration, "cpu")
    last = run / "checkpoints" / "last.pt"
    if last.exists():
        state = read_checkpoint(last)
        assert all(bool(torch.isfinite(v).all()) for v in state["weights"].values())


def test_early_stopping_counts_validations_without_improvement(spectrograms_file, tmp_path):
    configuration = with_training(
        max_steps=400, learning_rate=1e-12, warmup_steps=0, patience=2, annealing="constant"
    )

    def never_better(trainer, folder, validation):
        trainer.best_loss = 0.0
        if trainer.step_number == configuration.training.validate_every:
            trainer.stale = 0

    result = train(
        spectrograms_file, tmp_path / "run", configuration, "cpu", callbacks=(never_better,)
    )
    assert (result.ended, result.steps) == ("early", 3 * configuration.training.validate_every)


@pytest.fixture
def five_minutes(monkeypatch):
    """Advance the clock of a training by 1 s whenever it is read; limit it to five minutes."""
    readings = itertools.count()
    seconds = property(lambda limit: limit.seconds_before + next(readings))
    monkeypatch.setattr(TimeLimit, "seconds", seconds)
    return with_training(max_steps=100_000, max_minutes=5, log_every=1)


def test_minutes_end_a_run(spectrograms_file, five_minutes, tmp_path):
    result = train(spectrograms_file, tmp_path / "run", five_minutes, "cpu")
    assert result.ended == "minutes" and 0 < result.steps < 300


def test_a_limit_of_minutes_is_reported_instead_of_a_number_of_steps(
    spectrograms_file, five_minutes, tmp_path
):
    said = io.StringIO()
    progress = TerminalProgress(said, seconds_between_lines=0.0)
    train(spectrograms_file, tmp_path / "run", five_minutes, "cpu", progress=progress)
    lines = [line for line in said.getvalue().splitlines() if line.startswith("training: ")]
    assert lines
    assert not [line for line in lines if "100000" in line or " left" in line]
    assert re.search(r"minutes [0-5]\.?\d* of 5", lines[-1])


def test_a_run_without_its_last_checkpoint_is_not_replaced(
    spectrograms_file, undisturbed, tmp_path
):
    """A best checkpoint of a later step shows that there was a last one."""
    run = Path(shutil.copytree(undisturbed, tmp_path / "run"))
    best = run / "checkpoints" / "best.pt"
    (run / "checkpoints" / "last.pt").unlink()
    contents = read_checkpoint(best)
    contents["step"] = contents["configuration"]["training"]["checkpoint_every"] + 1
    save_checkpoint(best, contents)
    before = best.read_bytes(), (run / "metrics.csv").read_bytes()
    with pytest.raises(OutputExistsError, match=r"last\.pt"):
        train(spectrograms_file, run, CONFIGURATION, "cpu", resume=True)
    assert (best.read_bytes(), (run / "metrics.csv").read_bytes()) == before


def test_a_run_is_replaced_only_on_request(spectrograms_file, undisturbed):
    with pytest.raises(OutputExistsError, match="already"):
        train(spectrograms_file, undisturbed, CONFIGURATION, "cpu")
    other = replace(CONFIGURATION, model=replace(CONFIGURATION.model, n_latent=9))
    with pytest.raises(TrainingError, match="model"):
        train(spectrograms_file, undisturbed, other, "cpu", resume=True)


def test_data_order_is_a_new_permutation_each_epoch_wherever_it_starts():
    config = TrainingConfig(batch_size=4, max_steps=12, seed=1)
    order = list(data_order(16, config, 0))
    epochs = [np.concatenate(order[i : i + 4]) for i in (0, 4, 8)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(16))
    assert not np.array_equal(epochs[0], epochs[1])
    for whole, resumed in zip(order[5:], data_order(16, config, 5), strict=True):
        np.testing.assert_array_equal(whole, resumed)
    assert [len(batch) for batch in data_order(3, config, 0)] == [3] * 12


def test_beta_follows_its_annealing_schedule():
    def betas(annealing, steps):
        config = TrainingConfig(beta=4.0, annealing=annealing, annealing_steps=10)
        return [beta_at(step, config) for step in steps]

    assert betas("constant", [0, 5, 50]) == [4, 4, 4]
    assert betas("linear", [0, 5, 10, 50]) == [0, 2, 4, 4]
    assert betas("cyclical", [0, 2.5, 5, 9, 10, 15]) == [0, 2, 4, 4, 0, 4]


def test_the_learning_rate_warms_up_and_falls():
    config = TrainingConfig(learning_rate=1.0, warmup_steps=4, schedule="cosine")
    assert learning_rate_at(0, 0.0, config) == pytest.approx(0.25)
    assert learning_rate_at(10, 0.0, config) == pytest.approx(1.0)
    assert learning_rate_at(10, 0.5, config) == pytest.approx(0.01 + 0.99 / 2)
    assert learning_rate_at(10, 1.0, config) == pytest.approx(0.01)


def test_the_loss_is_the_sum_of_its_parts():
    trainer = Trainer(CONFIGURATION, (2, 129, 65), "cpu")
    batch, noise = torch.randn(3, 2, 129, 65), torch.zeros(3, 24)
    trainer.model.fit_linear(lambda: [batch], 1.0)
    trainer.model.eval()  # without dropout
    loss, parts = trainer._loss(batch, noise, 3.0)
    n_values = 129 * 65
    assert float(loss.detach()) == pytest.approx(
        float((parts[1] + parts[2]) * n_values + 3 * parts[3]), rel=1e-5
    )
    with torch.no_grad():
        reconstruction = trainer.model(batch, noise)[0]
    wanted = (reconstruction - batch).square().mean(dim=(0, 2, 3))
    torch.testing.assert_close(parts[1:3], wanted)


def test_the_fit_of_the_style_is_shorter_for_few_rows():
    """Many epochs over a few rows take half a minute, and recognise nothing better."""
    assert [n_style_steps(10_000, steps) for steps in (0, 20, 1500)] == [0, 20, 1500]
    few = [n_style_steps(rows, 1500) for rows in (2, 40, 200, 1000)]
    assert few == sorted(few) and 0 < few[0] < 0.1 * few[-1]


@pytest.mark.parametrize("label_steps", [60, 0])
def test_a_style_that_was_fitted_to_labels_stays(spectrograms_file, label_steps):
    """Without that fit, they shape it in every step of training."""
    made = with_training(label_steps=label_steps)
    with storage.Hdf5Reader(spectrograms_file, storage.SPECTROGRAMS) as reader:
        rows = SplitLoader(reader, reader.labels.rows_of(("train",)), "cpu")
        n_effects = len(reader.labels.effects)
        trainer = Trainer(made, reader.row_shape, "cpu", n_effects, rows.n_parameters)
        trainer.prepare(rows)
        fitted = {k: v.clone() for k, v in trainer.model.state_dict().items()}
        for positions in (np.arange(4), np.arange(4, 8)):
            (batch,) = rows.batches([positions])
            trainer.step(batch, rows.targets(positions))
    trained = trainer.model.state_dict()
    style = [name for name in fitted if name.startswith("style_encoder.")]
    assert style and all(torch.equal(fitted[n], trained[n]) for n in style) == (label_steps > 0)
    assert not torch.equal(fitted["predictor.last.2.weight"], trained["predictor.last.2.weight"])


def test_cached_descriptors_leave_the_loss_curve_as_it_is(spectrograms_file):
    made = with_training(max_steps=8)
    curves = []
    with storage.Hdf5Reader(spectrograms_file, storage.SPECTROGRAMS) as reader:
        rows = SplitLoader(reader, reader.labels.rows_of(("train",)), "cpu")
        for is_cached in (False, True):
            trainer = Trainer(made, reader.row_shape, "cpu", 2, rows.n_parameters)
            trainer.prepare(rows)
            trainer.fit_change(rows)
            if not is_cached:
                trainer._described = None
            losses = [
                trainer.step(*rows.batches([positions]), positions=positions)[0]
                for positions in data_order(len(rows), made.training, 0)
            ]
            curves.append(torch.stack(losses))
    torch.testing.assert_close(curves[1], curves[0], rtol=1e-4, atol=0)


def test_the_style_is_fitted_to_all_rows_whose_descriptors_are_computed_once(
    spectrograms_file, monkeypatch
):
    described = []
    original = ResidualVAE.describe
    monkeypatch.setattr("dafxtool.training.trainer.LINEAR_ROWS", 4)
    monkeypatch.setattr(
        ResidualVAE, "describe", lambda self, x: described.append(len(x)) or original(self, x)
    )
    with storage.Hdf5Reader(spectrograms_file, storage.SPECTROGRAMS) as reader:
        rows = SplitLoader(reader, reader.labels.rows_of(("train",)), "cpu")
        trainer = Trainer(
            with_training(label_steps=5), reader.row_shape, "cpu", 2, rows.n_parameters
        )
        trainer.prepare(rows)
        trainer.describe(rows)
    assert sum(described) == len(rows) > 4


def test_a_model_without_a_predictor_is_complete_in_closed_form(spectrograms_file, tmp_path):
    made = with_training(max_steps=2, validate_every=2)
    made = replace(made, model=replace(made.model, n_blocks=0))
    result = train(spectrograms_file, tmp_path / "run", made, "cpu")
    errors = [row["validation_wet_error"] for row in curve(tmp_path / "run")]
    assert result.steps == 2
    assert errors[0] == errors[-1] != ""


def test_rows_are_the_same_from_memory_and_from_the_file(spectrograms_file, monkeypatch):
    with storage.Hdf5Reader(spectrograms_file, storage.SPECTROGRAMS) as reader:
        rows = reader.labels.rows_of(("train",))
        held = SplitLoader(reader, rows, "cpu")
        monkeypatch.setattr("dafxtool.training.loader.free_memory", lambda: 0)
        streamed = SplitLoader(reader, rows, "cpu")
        assert (held.place, streamed.place) == ("memory", "file")
        order = [np.array([3, 0, 3]), np.array([5])]
        pairs = zip(held.batches(iter(order)), streamed.batches(iter(order)), strict=True)
        for one, other in pairs:
            assert torch.equal(one, other)


def test_a_checkpoint_from_a_stranger_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/harmed",)

    path = tmp_path / "evil.pt"
    torch.save({"checkpoint_version": 1, "weights": Evil()}, path)
    with pytest.raises(FormatError, match="checkpoint"):
        read_checkpoint(path)
    assert not (tmp_path / "harmed").exists()
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(FormatError, match="checkpoint"):
        load_run(tmp_path / "text.pt", "cpu")


def test_the_newest_run_is_found(undisturbed, tmp_path):
    with pytest.raises(InputError, match="run"):
        newest_run(tmp_path)
    for name in ("a", "b"):
        folder = tmp_path / name / "checkpoints"
        folder.mkdir(parents=True)
        (folder / "last.pt").touch()
    os.utime(tmp_path / "a" / "checkpoints" / "last.pt", (2e9, 2e9))
    assert newest_run(tmp_path) == tmp_path / "a"
    assert new_run_path("small", tmp_path).name == "small-1"


def test_metrics_are_plain_csv(undisturbed):
    with (undisturbed / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    assert float(table[-1]["learning_rate"]) < float(table[1]["learning_rate"])
    assert float(table[-1]["validation_wet_error"]) > 0
