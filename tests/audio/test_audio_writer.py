"""Write WAV and FLAC files: bit depths, full scale, refused audio."""

from __future__ import annotations

import os

import numpy as np
import pytest
from audio_files import noise

from dafxtool.audio.reader import AudioInfo, load_audio, read_info
from dafxtool.audio.writer import save_audio
from dafxtool.errors import InputError, OutputExistsError


@pytest.mark.parametrize(
    ("name", "depth", "error"),
    [("a.wav", None, 0), ("a.wav", 24, 2**-24), ("a.wav", 16, 2**-16), ("a.FLAC", None, 2**-24)],
)
def test_written_audio_is_read_back(tmp_path, name, depth, error):
    audio = noise(3000, 2)
    path = tmp_path / "new" / name
    save_audio(path, audio, 24_000, bit_depth=depth)
    assert read_info(path) == AudioInfo(24_000, 2, 3000)
    np.testing.assert_allclose(load_audio(path, channel="2")[0], audio[1], atol=error)
    assert os.listdir(path.parent) == [name]


@pytest.mark.parametrize("depth", [16, 24])
def test_rounding_adds_no_offset(tmp_path, depth):
    audio = noise(100_000)[0]
    save_audio(tmp_path / "a.wav", audio, 24_000, bit_depth=depth)
    error = load_audio(tmp_path / "a.wav")[0].astype(np.float64) - audio
    assert abs(error.mean()) < 0.01 * 2.0 ** (1 - depth)


def test_full_scale_does_not_wrap_around(tmp_path):
    for name in ("a.wav", "a.flac"):
        save_audio(
            tmp_path / name, np.array([1.0, -1.0]), 24_000, bit_depth=16 + 8 * (name[2] == "f")
        )
        np.testing.assert_allclose(load_audio(tmp_path / name)[0], [1, -1], atol=2**-15)


def test_floating_point_keeps_values_beyond_full_scale(tmp_path):
    audio = np.array([0.5, -3.0, 2.0], dtype=np.float32)
    save_audio(tmp_path / "a.wav", audio, 24_000)
    np.testing.assert_array_equal(load_audio(tmp_path / "a.wav")[0], audio)
    with pytest.raises(InputError, match=r"24 bits would clip it .*\+9\.5 dBFS"):
        save_audio(tmp_path / "a.flac", audio, 24_000)
    assert not (tmp_path / "a.flac").exists()


def test_files_are_overwritten_only_with_overwrite(tmp_path):
    path = tmp_path / "a.wav"
    save_audio(path, np.zeros(10), 24_000)
    with pytest.raises(OutputExistsError):
        save_audio(path, np.ones(20), 24_000)
    assert read_info(path).n_samples == 10
    save_audio(path, np.ones(20), 24_000, overwrite=True)
    assert read_info(path).n_samples == 20


@pytest.mark.parametrize(
    ("name", "audio", "match"),
    [
        ("a.mp3", np.zeros(10), "cannot be written"),
        ("a.wav", np.array([0, np.nan]), "NaN or infinite"),
        ("a.wav", np.zeros(0), "shape"),
        ("a.wav", np.zeros((100, 2)), "shape"),
    ],
)
def test_invalid_audio_and_suffixes_are_refused(tmp_path, name, audio, match):
    with pytest.raises(InputError, match=match):
        save_audio(tmp_path / name, audio, 24_000)
    assert not os.listdir(tmp_path)
