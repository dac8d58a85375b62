import numpy as np
import pytest
from audio_files import noise, write_file

from dafxtool.audio.channels import window_mean_squares
from dafxtool.audio.reader import load_audio, load_segment, read_info, resolve_channel
from dafxtool.errors import InputError, RecordingError

RATE = 8000


@pytest.fixture
def recording(tmp_path):
    """Three channels: quiet, loud, silent."""
    samples = noise(3 * RATE, 3) * np.float32([[0.01], [1], [0]])
    return write_file(tmp_path / "three.wav", samples, RATE, "FLOAT"), samples


def test_the_loudest_channel_is_that_of_the_complete_recording(recording):
    path, samples = recording
    assert resolve_channel(path, "loudest") == "2"
    np.testing.assert_array_equal(load_audio(path, channel="loudest")[0], samples[1])
    segment = load_segment(path, 100, 500, RATE, "loudest")
    np.testing.assert_array_equal(segment, samples[1, 100:600])


def test_one_span_does_not_decide_which_channel_is_the_loudest(tmp_path):
    samples = np.zeros((2, 4 * RATE), np.float32)
    samples[0, :RATE] = 0.1  # louder at the start only
    samples[1, RATE:] = 0.5
    path = write_file(tmp_path / "a.wav", samples, RATE, "FLOAT")
    np.testing.assert_array_equal(load_segment(path, 0, RATE, RATE, "loudest"), 0)


def test_equal_channels_and_mono_are_read_by_their_first(tmp_path):
    same = write_file(tmp_path / "same.wav", np.repeat(noise(RATE), 2, axis=0), RATE)
    mono = write_file(tmp_path / "mono.wav", noise(RATE), RATE)
    assert resolve_channel(same, "loudest") == "1"
    assert resolve_channel(mono, "loudest") == "first"


def test_a_channel_that_is_unknown_or_missing_is_refused(recording):
    with pytest.raises(InputError):
        load_audio(recording[0], channel="loud")
    with pytest.raises(RecordingError):
        load_audio(recording[0], channel="4")


def test_mean_squares_of_windows_do_not_depend_on_the_blocks():
    samples = noise(1000, 2).T
    expected = [np.square(samples[i : i + 300]).mean(axis=0) for i in range(0, 1000, 300)]
    for size in (7, 300, 1000):
        blocks = (samples[i : i + size] for i in range(0, 1000, size))
        np.testing.assert_allclose(window_mean_squares(blocks, 300), expected, rtol=1e-5)


def test_info_does_not_change_the_channel(recording):
    path = recording[0]
    assert resolve_channel(path, "loudest", read_info(path)) == "2"
    assert resolve_channel(path, "first") == "first"
