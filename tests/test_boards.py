"""What a run shows while it trains is really in its log."""

import io

import numpy as np
import pytest
from datasets import RATE, with_training
from PIL import Image

from dafxtool.boards import Board, begin_wandb, draw_training
from dafxtool.errors import MissingDependencyError
from dafxtool.presets import PRESETS
from dafxtool.training import train


@pytest.fixture(scope="module")
def watched_run(spectrograms_file, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "watched"
    train(spectrograms_file, run, with_training(max_steps=8), "cpu", observers=(Board(),))
    return run


def test_tensorboard_has_scalars_pictures_and_sounds_of_each_validation(watched_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(watched_run / "tensorboard"), {"images": 0, "audio": 0})
    log.Reload()
    tags = log.Tags()
    assert {"training/loss", "validation/wet_error"} <= set(tags["scalars"])
    assert [event.step for event in log.Scalars("validation/wet_error")] == [0, 4, 8]
    pictures = log.Images("reconstruction/1")
    assert [event.step for event in pictures] == [4, 8]
    picture = np.asarray(Image.open(io.BytesIO(pictures[0].encoded_image_string)))
    assert picture.std() > 5  # something is drawn
    assert [event.step for event in log.Audio("wet/1/reconstruction")] == [4, 8]
    assert [event.step for event in log.Audio("wet/1/original")] == [4]  # it does not change
    assert log.Audio("wet/1/reconstruction")[0].sample_rate == RATE


def test_the_curves_of_a_run_are_drawn(watched_run, tmp_path):
    draw_training(tmp_path / "curves.png", watched_run)
    assert Image.open(tmp_path / "curves.png").width > 500


def test_wandb_that_is_not_installed_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(MissingDependencyError, match="pip install wandb"):
        begin_wandb(tmp_path / "run", PRESETS["small"])
