"""Options that would have no effect are refused, and those that cut others short are reported."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import SEGMENTS, SPLIT, chosen, write_recordings
from messages import Messages

import dafxtool
from dafxtool.dataset.plan import make_plan
from dafxtool.errors import ArgumentError


def assert_refused(function, *arguments, **options):
    with pytest.raises(ArgumentError, match=r"no effect|exclude|one recording"):
        function(*arguments, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 9},
        {"steps": 9, "settings": "static"},
        {"audio_format": "flac"},
        {"channels": "mono"},
        {"workers": 2, "dask": "tcp://127.0.0.1:1"},
        {"resume": True, "overwrite": True},
    ],
)
def test_render(options, tmp_path):
    assert_refused(dafxtool.render, tmp_path, output=tmp_path / "pairs.h5", **options)


def test_spectrogram(pairs_file, tmp_path):
    output = tmp_path / "s.h5"
    both = {"resume": True, "overwrite": True}
    assert_refused(dafxtool.compute_spectrograms, pairs_file, output=output, **both)
    cluster = {"dask": "tcp://127.0.0.1:1", "device": "cpu"}
    assert_refused(dafxtool.compute_spectrograms, pairs_file, output=output, **cluster)


@pytest.mark.parametrize("name", ["embed", "reconstruct", "latent_map"])
def test_stored_segments_have_their_effect_and_channel(name, pairs_file, run):
    function = getattr(dafxtool, name)
    for option in ({"effects": "delay"}, {"channel": 2}, {"min_mean_square": 0.1}):
        assert_refused(function, pairs_file, run=run, device="cpu", **option)


@pytest.mark.parametrize("name", ["embed", "reconstruct", "latent_map"])
def test_recordings_have_no_split(name, run, tmp_path):
    recordings = write_recordings(tmp_path)
    function = getattr(dafxtool, name)
    assert_refused(function, recordings, run=run, split="test", device="cpu")


def test_invert(spectrograms_file, tmp_path, run):
    np.save(tmp_path / "m.npy", np.ones((129, 65), np.float32))
    for option in ({"channel": "both"}, {"run": run.path}):
        assert_refused(dafxtool.invert, tmp_path / "m.npy", output=tmp_path / "x.wav", **option)
    (recording, *_) = sorted(write_recordings(tmp_path / "r").rglob("*.wav"))
    for option in (
        {"stft": {"n_fft": 512}},
        {"run": run.path},
        {"rows": [1, 2], "phase_from": recording},
    ):
        assert_refused(dafxtool.invert, spectrograms_file, output=tmp_path / "x.wav", **option)


@pytest.mark.parametrize(
    ("pairs_per_effect", "message"),
    [(4, "only 4 of 6"), (6, None), (8, "at 2 of 6"), (12, None), (None, None)],
)
def test_a_sweep_that_is_cut_short_is_reported(pairs_per_effect, message, tmp_path):
    recordings, progress = write_recordings(tmp_path), Messages()
    (effect, _), *_ = chosen("overdrive")
    sizes = {"settings": "sweep", "steps": 2, "pairs_per_effect": pairs_per_effect}
    plan = make_plan([recordings], [(effect, {})], SEGMENTS, SPLIT, progress=progress, **sizes)
    assert len(plan.settings[0]) == 6  # two values of three parameters
    lines = [line for line in progress.lines if line.startswith("overdrive")]
    assert [message in line for line in lines] == ([True] if message else [])


def test_an_interpolation_without_audio_has_no_method(tmp_path):
    (recording, *_) = sorted(write_recordings(tmp_path / "r").rglob("*.wav"))
    two = ["delay", "overdrive"]
    assert_refused(dafxtool.interpolate, recording, effects=two, detailed=True, method="best")


@pytest.mark.parametrize("texts", [("delay", "delay"), ("delay:mix=30", "delay:mix=60")])
def test_an_interpolation_between_equal_ends_has_no_error(texts, tmp_path):
    (recording, *_) = sorted(write_recordings(tmp_path / "r").rglob("*.wav"))
    result = dafxtool.interpolate(recording, effects=list(texts), detailed=True, steps=3)
    (remark,) = result.remarks()
    assert ("error" in remark) == (texts[0] != texts[1])


def test_rows_are_all_shown(pairs_file, run, tmp_path):
    options = {"run": run, "device": "cpu", "examples": 2}
    assert_refused(dafxtool.reconstruct, pairs_file, rows=[0], **options)
    assert_refused(dafxtool.reconstruct, write_recordings(tmp_path), **options)
