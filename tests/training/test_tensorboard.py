"""What a run shows while it trains is really in its log."""

import errno
import io
import os

import numpy as np
import pytest
from datasets import RATE, with_training
from PIL import Image

from dafxtool.errors import DiskError
from dafxtool.models.run import load_run
from dafxtool.training.tensorboard import TensorBoardCallback, draw_training
from dafxtool.training.train import train


@pytest.fixture(scope="module")
def watched_run(spectrograms_file, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "watched"
    train(
        spectrograms_file,
        run,
        with_training(max_steps=8),
        "cpu",
        callbacks=(TensorBoardCallback(),),
    )
    return run


def test_tensorboard_has_scalars_images_and_audio_of_each_validation(watched_run):
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


@pytest.mark.parametrize("at", [5, -1])  # an early line, and the last one
def test_a_log_that_the_disk_has_no_room_for_is_one_error(
    at, spectrograms_file, tmp_path, monkeypatch, capfd
):
    from tensorboard.summary.writer.record_writer import RecordWriter

    written = []

    def write(self, data):
        written.append(data)
        if len(written) == fail_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RecordWriter, "write", write)
    fail_at = 0
    train(spectrograms_file, tmp_path / "whole", with_training(max_steps=8), "cpu")
    fail_at = at if at > 0 else len(written)
    written.clear()
    with pytest.raises(DiskError, match="the disk is full"):
        train(spectrograms_file, tmp_path / "run", with_training(max_steps=8), "cpu")
    assert len(written) == fail_at  # nothing was written any more
    assert "Traceback" not in capfd.readouterr().err
    assert load_run(tmp_path / "run").step >= 0  # what there was is kept


def test_the_curves_of_a_run_are_drawn(watched_run, tmp_path):
    draw_training(tmp_path / "curves.png", watched_run)
    assert Image.open(tmp_path / "curves.png").width > 500
