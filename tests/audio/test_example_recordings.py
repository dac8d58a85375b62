"""The example recordings that the package contains."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest

from dafxtool.audio.example_recordings import (
    CLIPS,
    HELD_OUT,
    LUTE,
    SAMPLE_RATE,
    write_clips,
)
from dafxtool.audio.reader import load_audio
from dafxtool.errors import OutputExistsError


@pytest.fixture(scope="module")
def recordings():
    """Samples of every clip."""
    return {clip: clip.read() for clip in (*CLIPS, *HELD_OUT)}


def test_there_are_twenty_clips_in_four_families_and_two_held_out(recordings):
    families = [clip.family for clip in CLIPS]
    assert [families.count(name) for name in ("strings", "voice", "drums", "organ")] == [5] * 4
    assert len(recordings) == 22
    for audio in recordings.values():
        assert (audio.dtype, audio.shape) == (np.float32, (6 * SAMPLE_RATE,))


def test_the_package_contains_the_listed_clips_and_their_licence():
    folder = files("dafxtool.audio") / "clips"
    clips = {
        (each.name, file.name)
        for each in folder.iterdir()
        if each.is_dir()
        for file in each.iterdir()
    }
    assert clips == {(clip.family, clip.file_name) for clip in (*CLIPS, *HELD_OUT)}
    assert "MIT" in (folder / "LICENSE").read_text("utf-8")
    sizes = [len(clip.resource.read_bytes()) for clip in (*CLIPS, *HELD_OUT)]
    assert sum(sizes) < 3.2e6


def test_no_clip_is_clipped_or_silent(recordings):
    """Every segment of 1.4 s has to be louder than the limit below which `render` draws again."""
    window = round(1.4 * SAMPLE_RATE)
    for clip, audio in recordings.items():
        assert 20 * np.log10(np.abs(audio).max()) == pytest.approx(-3, abs=0.01), clip
        energy = np.concatenate([[0], np.cumsum(np.square(audio, dtype=np.float64))])
        assert ((energy[window:] - energy[:-window]) / window).min() > 1e-4, clip


def test_clips_of_a_family_do_not_correlate(recordings):
    for family in ("strings", "voice", "drums", "organ"):
        own = [audio for clip, audio in recordings.items() if clip.family == family]
        correlation = np.abs(np.corrcoef(own)) - np.eye(len(own))
        assert correlation.max() < 0.3, family


def test_clips_are_copied_to_folders_of_families(tmp_path, recordings):
    paths = write_clips(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.flac")} == {
        f"{clip.family}/{clip.title}.flac" for clip in CLIPS
    }
    for path, clip in zip(paths, CLIPS, strict=True):
        audio, sample_rate = load_audio(path)
        assert sample_rate == SAMPLE_RATE
        np.testing.assert_array_equal(audio, recordings[clip])
    with pytest.raises(OutputExistsError):
        write_clips(tmp_path)
    paths[0].write_bytes(b"damaged")
    write_clips(tmp_path, overwrite=True)
    np.testing.assert_array_equal(load_audio(paths[0])[0], recordings[CLIPS[0]])


def test_a_clip_is_written_as_wav_with_the_same_samples(tmp_path, recordings):
    LUTE.write_wav(tmp_path / "a.wav")
    audio, sample_rate = load_audio(tmp_path / "a.wav")
    assert sample_rate == SAMPLE_RATE
    np.testing.assert_array_equal(audio, recordings[LUTE])
    with pytest.raises(OutputExistsError):
        LUTE.write_wav(tmp_path / "a.wav")
