"""Weights & Biases, without a network: what is logged, and that a resumed run continues its log."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from datasets import CONFIGURATION
from messages import Messages

import dafxtool
from dafxtool import presets
from dafxtool.errors import MissingDependencyError
from dafxtool.training.wandb_log import ID_FILE, STEP, WandbLog


class FakeRun:
    """A run of W&B that records what is logged."""

    offline, url = False, "https://wandb.example/run"

    def __init__(self, folder, options):
        self.dir, self.options, self.logged, self.exit_code = str(folder), options, [], None

    def define_metric(self, *_, **__):
        pass

    def log(self, values):
        self.logged.append(values)

    def finish(self, exit_code):
        self.exit_code = exit_code


class FakeWandb:
    """The module wandb, with or without a login and a network."""

    __spec__ = "installed"

    class errors:
        class Error(Exception):
            pass

    def __init__(self, has_login=True, has_network=True):
        self.has_login, self.has_network, self.runs = has_login, has_network, []

    def login(self, prompt):
        assert prompt is False  # never wait for input
        return self.has_login

    def Settings(self, **values):
        return values

    def Image(self, data):
        return ("image", np.shape(data) or data)

    def Audio(self, data, sample_rate):
        return ("audio", np.shape(data), sample_rate)

    def teardown(self):
        pass

    def init(self, dir, mode, **options):
        if not self.has_network and mode != "offline":
            raise self.errors.Error("dial tcp: lookup failed")
        run = FakeRun(dir + "/wandb/run/files", {"mode": mode, **options})
        run.offline = mode == "offline"
        self.runs.append(run)
        return run


@pytest.fixture
def install(monkeypatch):
    def with_module(**options):
        module = FakeWandb(**options)
        monkeypatch.setitem(sys.modules, "wandb", module)
        monkeypatch.delenv("WANDB_MODE", raising=False)
        return module

    return with_module


def test_a_missing_package_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingDependencyError, match="pip install wandb"):
        WandbLog(tmp_path / "run", CONFIGURATION)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"has_login": False}, "no login"), ({"has_network": False}, "no connection")],
)
def test_without_login_or_network_the_log_is_kept_here(install, tmp_path, options, reason):
    module, progress = install(**options), Messages()
    log = WandbLog(tmp_path / "run", CONFIGURATION, progress=progress)
    log.close()
    (run,) = module.runs
    assert run.options["mode"] == "offline" and run.exit_code == 0
    assert reason in progress.lines[0]
    assert "wandb sync" in progress.lines[1] and str(tmp_path / "run") in progress.lines[1]


def test_training_sends_scalars_images_audio_and_curves_and_continues_its_log(
    install, spectrograms_file, tmp_path
):
    module, run = install(), tmp_path / "run"
    config = tmp_path / "c.toml"
    config.write_text(presets.to_toml(CONFIGURATION))
    arguments = {"output": run, "config": config, "wandb": True, "device": "cpu"}
    dafxtool.train(spectrograms_file, steps=2, **arguments)
    dafxtool.train(spectrograms_file, steps=4, resume=True, **arguments)
    first, second = module.runs
    assert (
        first.options["id"] == second.options["id"] == json.loads((run / ID_FILE).read_text())["id"]
    )
    assert first.options["resume"] == "allow" and first.exit_code == second.exit_code == 0
    names = {name for values in first.logged for name in values}
    assert {"training/loss", "validation/wet_error", "curves", "reconstruction/1"} <= names
    n_samples, rate = CONFIGURATION.segments.n_samples, CONFIGURATION.segments.sample_rate
    audio = [each["wet/1/reconstruction"] for each in first.logged if "wet/1/original" not in each
             and "wet/1/reconstruction" in each]  # fmt: skip
    assert audio == [("audio", (n_samples,), rate)]  # one validation
    steps = [[each[STEP] for each in run.logged if "training/loss" in each] for run in module.runs]
    assert steps == [[2], [4]]
    # Started again, the run has another log.
    assert WandbLog(run, CONFIGURATION).id != first.options["id"]


def test_offline_mode_of_the_real_package(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    run, progress = tmp_path / "run", Messages()
    first = WandbLog(run, CONFIGURATION, progress=progress)
    first.scalars({"training/loss": 1.0}, 1)
    first.image("reconstruction/1", np.zeros((8, 9, 3), np.uint8), 1)
    first.audio("wet/1/reconstruction", np.zeros(800, np.float32), 8000, 1)
    first.close()
    again = WandbLog(run, CONFIGURATION, is_resumed=True, progress=progress)
    again.close()
    assert again.id == first.id and first.is_offline
    logs = sorted((run / "wandb").glob("offline-run-*"))
    assert logs and all(first.id in path.name for path in logs)
    media = [path.suffix for path in (run / "wandb").glob("offline-run-*/files/media/*/**/*.*")]
    assert {".png", ".wav"} <= set(media)
    assert all(os.fspath(run) in line for line in progress.lines)
