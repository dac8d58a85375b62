"""Recordings without sound where it is looked for: reported with the reason, in every command."""

import json
import re

import numpy as np
import pytest
from audio_files import noise, write_file
from datasets import N_SAMPLES, RATE, SPLIT, chosen

from dafxtool.audio.reader import read_info
from dafxtool.config import SegmentConfig, SplitConfig
from dafxtool.dataset.recordings import build_catalogue
from dafxtool.dataset.render import render, rerender_row
from dafxtool.dataset.segments import consecutive_segments, draw_segment
from dafxtool.dataset.silence import silence_reason
from dafxtool.errors import RecordingError
from dafxtool.storage import PAIRS, Hdf5Reader

SECONDS = 4
CONFIG = SegmentConfig(sample_rate=RATE, n_samples=N_SAMPLES, max_redraws=3)
ALL_TRAIN = SplitConfig(validation=0.0, test=0.0)


@pytest.fixture
def takes(tmp_path):
    """Six stereo takes; the sound of 1, 3 and 5 is on channel 2."""
    folder = tmp_path / "takes"
    folder.mkdir()
    for index in range(6):
        samples = np.zeros((2, SECONDS * RATE), np.float32)
        samples[index % 2] = noise(SECONDS * RATE, seed=index)[0]
        write_file(folder / f"{index}.wav", samples, RATE)
    return folder


def names(rows):
    return [re.search(r"(\w+)\.wav", path).group(1) for path, _ in rows]


def render_takes(takes, output, channel, **options):
    config = SegmentConfig(RATE, N_SAMPLES, max_redraws=3, channel=channel)
    return render([takes], output, chosen("overdrive"), config, SPLIT, 30, **options)


def test_takes_without_a_segment_are_reported_with_the_channel_that_has_sound(takes, tmp_path):
    result = render_takes(takes, tmp_path / "pairs.h5", "first")
    with Hdf5Reader(tmp_path / "pairs.h5", PAIRS) as pairs:
        used = {pairs.labels.path_of(row)[-5] for row in range(len(pairs))}
    silent = set(names(result.silent))
    assert silent <= {"1", "3", "5"}
    assert used | silent == set("012345")  # 30 pairs try each of six
    assert all("--channel 2" in reason for _, reason in result.silent)
    repeated = render_takes(takes, tmp_path / "pairs.h5", "first", resume=True)
    assert repeated.silent == result.silent
    folder = render_takes(takes, tmp_path / "folder", "first")
    assert folder.silent == result.silent
    assert render_takes(takes, tmp_path / "folder", "first", resume=True).silent == result.silent


def test_the_loudest_channel_gives_pairs_of_every_take_and_renders_again(takes, tmp_path):
    result = render_takes(takes, tmp_path / "pairs.h5", "loudest")
    assert result.silent == []
    with Hdf5Reader(tmp_path / "pairs.h5", PAIRS) as pairs:
        rows = pairs.rows(slice(None))
        labels = pairs.labels
    assert [each["channel"] for each in labels.recordings] == ["1", "2"] * 3
    assert {labels.path_of(row)[-5] for row in range(len(labels))} == set("012345")
    for row in (0, 7, 11):
        np.testing.assert_array_equal(rerender_row(tmp_path / "pairs.h5", row), rows[row])


def test_a_take_that_was_never_drawn_is_not_called_silent(takes, tmp_path):
    config = SegmentConfig(RATE, N_SAMPLES, channel="loudest")
    result = render([takes], tmp_path / "p.h5", chosen("overdrive"), config, ALL_TRAIN, 2)
    assert result.silent == []


def test_an_error_and_strict_name_the_channel_that_has_sound(takes):
    alone = [takes / "1.wav"]
    catalogue = build_catalogue(alone, CONFIG, ALL_TRAIN)
    for strict in (False, True):
        with pytest.raises(RecordingError, match="--channel 2"):
            draw_segment(catalogue, "train", CONFIG, np.random.default_rng(0), strict)
    with pytest.raises(RecordingError, match="--channel 2"):
        consecutive_segments(takes / "1.wav", CONFIG)


@pytest.mark.parametrize("seconds", [0.01, 0.05])
def test_the_level_of_a_short_clip_is_measured_before_padding(tmp_path, seconds):
    clip = noise(round(seconds * RATE))
    path = write_file(tmp_path / "clip.wav", clip, RATE)
    config = SegmentConfig(RATE, 100 * clip.shape[1], short="pad", min_mean_square=5e-3)
    assert len(consecutive_segments(path, config)) == 1
    catalogue = build_catalogue([path], config, ALL_TRAIN)
    segment, _ = draw_segment(catalogue, "train", config, np.random.default_rng(0))
    assert segment.audio.any()


def test_kinds_of_silence_have_different_reasons(tmp_path):
    loud = noise(SECONDS * RATE)
    files = {
        "digital": (np.zeros_like(loud), "digital silence"),
        "quiet": (1e-3 * loud, "--min-mean-square"),
        "cancelling": (np.concatenate([loud, -loud]), "channel 1 and 2 have sound"),
        "sparse": (np.where(np.arange(loud.size) < N_SAMPLES, loud, 0), "in most places"),
    }
    for name, (samples, expected) in files.items():
        path = write_file(tmp_path / f"{name}.wav", samples.astype(np.float32), RATE, "FLOAT")
        channel = "mean" if read_info(path).n_channels == 2 else "first"
        assert expected in silence_reason(path, CONFIG, channel)


def test_commands_read_another_channel_and_name_it_when_they_find_silence(
    takes, run_folder, invoke, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    common = ("--run", run_folder, "--device", "cpu", "-q")
    effect = ("--effect", "overdrive")
    silent, wet = takes / "1.wav", takes / "0.wav"
    commands = {
        "embed": (silent, "-o", "l.csv"),
        "map": (takes, "-o", "m.png", "--method", "pca"),
        "reconstruct": (silent, *effect, "-o", "r.png"),
        "interpolate": (silent, silent, *effect, "-o", "i.png", "--steps", 2),
        "sweep": (silent, *effect, "--values", 2, "--segments", 1, "-o", "s.png"),
    }
    for name, arguments in commands.items():
        result = invoke(name, *arguments, *common)
        assert "--channel 2" in result.output, (name, result.output)
        assert (result.exit_code == 0) == (name == "map"), name
        read = ("--channel", "loudest") if name != "reconstruct" else ("--min-mean-square", 0)
        result = invoke(name, *arguments, *common, *read, "--overwrite")
        assert result.exit_code == 0, (name, result.output)
    assert invoke("match", silent, wet, "-q").exit_code == 1
    answer = json.loads(invoke("embed", takes, *common, "-o", "all.csv", "--json").stdout)
    skipped = [(each["path"], each["reason"]) for each in answer["skipped"]]
    assert names(skipped) == ["1", "3", "5"]


def test_a_silent_segment_at_a_given_start_is_refused(takes, run_folder, invoke):
    target = ("interpolate", takes / "1.wav", takes / "0.wav", "--effect", "overdrive")
    options = ("--start-a", 1, "--run", run_folder, "-q", "-o", takes / "i.png")
    result = invoke(*target, *options)
    assert result.exit_code == 1
    assert "silent" in result.stderr
