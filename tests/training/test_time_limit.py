"""A limit of minutes counts from the start of the command, and always leaves a usable run."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from datasets import CONFIGURATION, with_training
from messages import Messages

import dafxtool
from dafxtool import presets
from dafxtool.errors import ArgumentError, ConfigError, TrainingError
from dafxtool.models.checkpoint import read_checkpoint
from dafxtool.models.run import load_run
from dafxtool.training.run_writer import read_metrics
from dafxtool.training.time_limit import TimeLimit
from dafxtool.training.train import train
from dafxtool.training.trainer import Trainer

STEPS = 12


@pytest.fixture(scope="module")
def undisturbed(spectrograms_file, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(spectrograms_file, run, CONFIGURATION, "cpu")
    return run


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets: clock.now in s."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr("dafxtool.training.time_limit.time.monotonic", lambda: Clock.now)
    return Clock


def assert_same_run(run, other):
    def curve(path):
        rows = read_metrics(path / "metrics.csv")
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    assert curve(run) == curve(other)
    for name in ("last", "best"):
        first, second = (
            read_checkpoint(each / "checkpoints" / f"{name}.pt")["weights"] for each in (run, other)
        )
        for key, value in first.items():
            assert torch.equal(second[key], value), key


def test_the_limit_counts_from_the_start_and_leaves_time_for_a_step_and_the_validation(clock):
    limit = TimeLimit(2.0, started=940.0, seconds_before=10.0)
    assert limit.seconds == 70.0 and not limit.is_over() and limit.has_time_for_step()
    limit.begin_step()
    clock.now += 9.0
    limit.end_step()
    clock.now += 20.0
    limit.count_closing(11.0)
    limit.count_closing(5.0)  # the longest counts
    assert limit.seconds == 99.0 and limit.has_time_for_step()  # 99 + 9 + 11 of 120 s
    clock.now += 1.0
    assert not limit.has_time_for_step() and not limit.is_over()
    clock.now += 20.0
    assert limit.is_over()


def test_without_minutes_there_is_no_limit(clock):
    limit = TimeLimit(0.0)
    clock.now += 1e9
    assert limit.has_time_for_step() and not limit.is_over()


def test_a_limit_that_is_over_before_the_first_step_leaves_a_usable_run(
    spectrograms_file, undisturbed, tmp_path
):
    run = tmp_path / "run"
    late = time.monotonic() - 3600
    limited = with_training(max_minutes=1.0)
    result = train(spectrograms_file, run, limited, "cpu", started=late)
    assert (result.ended, result.steps) == ("minutes", 0)
    assert result.seconds >= 3600 and len(result.warnings) == 1
    loaded = load_run(run, "cpu")
    latents = loaded.embed(np.zeros((1, *loaded.model.shape), np.float32))
    assert np.isfinite(latents).all() and np.isfinite(loaded.decode(latents)).all()
    again = train(spectrograms_file, run, limited, "cpu", resume=True)  # the same limit is over
    assert (again.ended, again.steps, again.segments_per_second) == ("complete", 0, 0)
    load_run(run, "cpu", "last")
    # With more time the incomplete fit starts again: the run is as without a limit.
    final = train(spectrograms_file, run, CONFIGURATION, "cpu", resume=True)
    assert (final.ended, final.steps, final.warnings) == ("complete", STEPS, [])
    assert final.seconds >= 3600
    assert_same_run(run, undisturbed)


def test_the_fit_ends_with_the_segments_read_when_the_time_is_over(spectrograms_file, monkeypatch):
    from dafxtool import storage
    from dafxtool.training.loader import SplitLoader

    with storage.Hdf5Reader(spectrograms_file, storage.SPECTROGRAMS) as reader:
        rows = reader.labels.rows_of(("train",))
        training = SplitLoader(reader, np.tile(rows, 5), "cpu")
        trainer = Trainer(CONFIGURATION, (2, *CONFIGURATION.spectrogram.shape), "cpu", 2, 4)
        sizes = []
        batches = training.batches

        def counting(chosen):
            for batch in batches(chosen):
                sizes.append(len(batch))
                yield batch

        monkeypatch.setattr(training, "batches", counting)
        trainer.prepare(training, is_over=lambda: True)
    assert len(rows) * 5 > 64 and set(sizes) == {32}  # one batch for each of three passes, not all
    assert len(sizes) <= 2 * 3 and not trainer.prepared
    assert all(bool(each.isfinite().all()) for each in trainer.model.buffers())


def test_an_interrupt_after_the_fit_keeps_it(spectrograms_file, undisturbed, tmp_path, monkeypatch):
    run = tmp_path / "run"

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "describe", interrupt)
        result = train(spectrograms_file, run, CONFIGURATION, "cpu")
        assert (result.ended, result.steps) == ("interrupted", 0)
    monkeypatch.setattr(Trainer, "prepare", lambda *_: pytest.fail("the fit was kept"))
    result = train(spectrograms_file, run, CONFIGURATION, "cpu", resume=True)
    assert (result.ended, result.steps) == ("complete", STEPS)
    assert_same_run(run, undisturbed)


def test_an_interrupt_within_the_fit_keeps_no_model(spectrograms_file, tmp_path, monkeypatch):
    run = tmp_path / "run"

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "prepare", interrupt)
    result = train(spectrograms_file, run, CONFIGURATION, "cpu")
    assert (result.ended, result.steps) == ("interrupted", 0)
    assert not list((run / "checkpoints").glob("*.pt"))


def test_a_run_that_ends_within_the_warm_up_says_so(spectrograms_file, tmp_path):
    configuration = with_training(warmup_steps=3, max_steps=2)
    result = train(spectrograms_file, tmp_path / "run", configuration, "cpu")
    assert result.ended == "complete" and "warm-up" in result.warnings[0]


def test_an_analysis_that_takes_all_the_time_is_kept_and_reported(
    pairs_file, tmp_path, monkeypatch
):
    data = tmp_path / "pairs.h5"
    data.write_bytes(pairs_file.read_bytes())
    config = tmp_path / "c.toml"
    config.write_text(presets.to_toml(CONFIGURATION))
    with pytest.raises(TrainingError, match="minutes"):
        dafxtool.train(data, output=tmp_path / "run", config=config, minutes=1e-6, device="cpu")
    assert (tmp_path / "spectrograms.h5").exists()


def test_options_that_overrule_each_other_are_refused(spectrograms_file, tmp_path):
    for options in ({"steps": 3, "epochs": 1.0}, {"resume": True, "overwrite": True}):
        with pytest.raises(ArgumentError):
            dafxtool.train(spectrograms_file, output=tmp_path / "run", **options)
    config = tmp_path / "c.toml"
    config.write_text('preset = "week6"\n')
    with pytest.raises(ConfigError, match="week6"):
        dafxtool.train(spectrograms_file, output=tmp_path / "run", preset="small", config=config)
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_keeps_its_preset_and_reports_changed_values(
    spectrograms_file, undisturbed, tmp_path
):
    arguments = {"output": undisturbed, "resume": True, "device": "cpu"}
    with pytest.raises(ConfigError, match="'default'"):
        dafxtool.train(spectrograms_file, preset="default", **arguments)
    config = tmp_path / "c.toml"
    config.write_text("[training]\nlearning_rate = 0.25\n")
    progress = Messages()
    dafxtool.train(spectrograms_file, config=config, progress=progress, **arguments)
    assert any("learning_rate 0.25 (was 0.002)" in line for line in progress.lines)


def test_a_batch_larger_than_the_training_split_is_reported(spectrograms_file, tmp_path):
    progress = Messages()
    configuration = with_training(batch_size=1000, max_steps=1)
    train(spectrograms_file, tmp_path / "run", configuration, "cpu", progress=progress)
    assert any("in place of 1000" in line for line in progress.lines)
