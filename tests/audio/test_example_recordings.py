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
from dafxtool.audio.io import load_audio
from dafxtool.errors import OutputExistsError


@pytest.fixture(scope="module")
def sounds():
    return {clip: clip.read() for clip in (*CLIPS, *HELD_OUT)}


def test_there_are_twenty_in_four_families_and_two_more(sounds):
    families = [clip.family for clip in CLIPS]
    assert [families.count(name) for name in ("strings", "voice", "drums", "organ")] == [5] * 4
    assert len(sounds) == 22
    for sound in sounds.values():
        assert (sound.dtype, sound.shape) == (np.float32, (6 * SAMPLE_RATE,))


def test_the_package_contains_the_listed_clips_and_their_licence():
    folder = files("dafxtool.audio") / "clips"
    found = {
        (each.name, file.name)
        for each in folder.iterdir()
        if each.is_dir()
        for file in each.iterdir()
    }
    assert found == {(clip.family, clip.file_name) for clip in (*CLIPS, *HELD_OUT)}
    assert "MIT" in (folder / "LICENSE").read_text("utf-8")
    sizes = [len(clip.resource.read_bytes()) for clip in (*CLIPS, *HELD_OUT)]
    assert sum(sizes) < 3.2e6


def test_no_clip_is_clipped_or_silent(sounds):
    """A segment of 1.4 s has to be louder than what `render` draws again."""
    window = round(1.4 * SAMPLE_RATE)
    for clip, sound in sounds.items():
        assert 20 * np.log10(np.abs(sound).max()) == pytest.approx(-3, abs=0.01), clip
        energy = np.concatenate([[0], np.cumsum(np.square(sound, dtype=np.float64))])
        assert ((energy[window:] - energy[:-window]) / window).min() > 1e-4, clip


def test_no_two_clips_of_a_family_are_alike(sounds):
    for family in ("strings", "voice", "drums", "organ"):
        own = [sound for clip, sound in sounds.items() if clip.family == family]
        correlation = np.abs(np.corrcoef(own)) - np.eye(len(own))
        assert correlation.max() < 0.3, family


def test_clips_are_copied_to_folders_of_families(tmp_path, sounds):
    paths = write_clips(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.flac")} == {
        f"{clip.family}/{clip.title}.flac" for clip in CLIPS
    }
    for path, clip in zip(paths, CLIPS, strict=True):
        sound, sample_rate = load_audio(path)
        assert sample_rate == SAMPLE_RATE
        np.testing.assert_array_equal(sound, sounds[clip])
    with pytest.raises(OutputExistsError):
        write_clips(tmp_path)
    paths[0].write_bytes(b"damaged")
    write_clips(tmp_path, overwrite=True)
    np.testing.assert_array_equal(load_audio(paths[0])[0], sounds[CLIPS[0]])


def test_a_clip_is_written_as_wav_with_the_same_samples(tmp_path, sounds):
    LUTE.write_wav(tmp_path / "a.wav")
    sound, sample_rate = load_audio(tmp_path / "a.wav")
    assert sample_rate == SAMPLE_RATE
    np.testing.assert_array_equal(sound, sounds[LUTE])
    with pytest.raises(OutputExistsError):
        LUTE.write_wav(tmp_path / "a.wav")
