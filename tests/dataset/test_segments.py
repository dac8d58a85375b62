from pathlib import Path

import numpy as np
import pytest

from dafxtool.audio.level import is_silent, normalise_peak
from dafxtool.audio.reader import load_audio
from dafxtool.audio.writer import save_audio
from dafxtool.config import SPLITS, SegmentConfig, SplitConfig
from dafxtool.dataset.recordings import build_catalogue, split_pattern
from dafxtool.dataset.segments import (
    consecutive_segments,
    cut_recording,
    cut_segment,
    draw_segment,
)
from dafxtool.errors import ConfigError, InputError, RecordingError

RATE = 8000
CONFIG = SegmentConfig(sample_rate=RATE, n_samples=2000)
ALL_TRAIN = SplitConfig(validation=0.0, test=0.0)


def noise(n_samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, n_samples).astype(np.float32)


def write(path: Path, audio: np.ndarray) -> Path:
    save_audio(path, audio, RATE)
    return path


def folders(root: Path, n_folders: int, n_files: int, n_samples: int = 4000) -> None:
    for folder in range(n_folders):
        for file in range(n_files):
            write(root / f"f{folder}" / f"{file}.wav", noise(n_samples, 100 * folder + file))


def test_short_recordings_of_a_folder_are_joined(tmp_path):
    first = write(tmp_path / "a" / "1.wav", noise(1500, 1))
    second = write(tmp_path / "a" / "2.wav", noise(1200, 2))
    catalogue = build_catalogue([tmp_path], CONFIG, ALL_TRAIN)
    assert [track.n_samples for track in catalogue.tracks] == [2700]
    segment = cut_segment(catalogue, catalogue.tracks[0], 300, CONFIG)
    assert (segment.recording, segment.offset) == (0, 300)
    fade = 40  # 5 ms on both sides of the join
    np.testing.assert_array_equal(
        segment.audio[: 1200 - fade], load_audio(first)[0][300 : 1500 - fade]
    )
    np.testing.assert_array_equal(segment.audio[1200 + fade :], load_audio(second)[0][fade:800])
    assert np.all(np.abs(segment.audio[1198:1202]) < 0.05)  # faded: no click


@pytest.mark.parametrize(("short", "n_tracks", "n_skipped"), [("pad", 2, 0), ("skip", 1, 1)])
def test_short_recordings_can_be_padded_or_skipped(tmp_path, short, n_tracks, n_skipped):
    write(tmp_path / "long.wav", noise(3000, 1))
    write(tmp_path / "short.wav", noise(500, 2))
    config = SegmentConfig(sample_rate=RATE, n_samples=2000, short=short)
    catalogue = build_catalogue([tmp_path], config, ALL_TRAIN)
    assert (len(catalogue.tracks), len(catalogue.skipped)) == (n_tracks, n_skipped)
    if short == "pad":
        padded = cut_segment(catalogue, catalogue.tracks[1], 0, config).audio
        assert not padded[500:].any()
        assert padded[:500].any()


def test_no_recording_is_in_two_splits_and_each_folder_is_in_all_three(tmp_path):
    folders(tmp_path, 3, 10)
    split = SplitConfig(validation=0.2, test=0.2)
    catalogue = build_catalogue([tmp_path], CONFIG, split, seed=5)
    for folder in ("f0", "f1", "f2"):
        names = [r.split for r in catalogue.recordings if r.folder == folder]
        assert [names.count(split) for split in SPLITS] == [6, 2, 2]
    for track in catalogue.tracks:
        assert {catalogue.recordings[i].split for i in track.recordings} == {track.split}


def test_a_split_by_folder_separates_folders(tmp_path):
    folders(tmp_path, 6, 3)
    split = SplitConfig(by="folder", validation=0.2, test=0.2)
    catalogue = build_catalogue([tmp_path], CONFIG, split)
    by_folder = {r.folder: set() for r in catalogue.recordings}
    for recording in catalogue.recordings:
        by_folder[recording.folder].add(recording.split)
    assert all(len(splits) == 1 for splits in by_folder.values())
    assert set().union(*by_folder.values()) == set(SPLITS)


def test_patterns_choose_the_split(tmp_path):
    folders(tmp_path, 4, 2)
    split = SplitConfig(test_match=("f3",), validation_match=("*/f1/*",))
    catalogue = build_catalogue([tmp_path], CONFIG, split)
    splits = {(r.folder, r.split) for r in catalogue.recordings}
    assert splits == {("f0", "train"), ("f1", "validation"), ("f2", "train"), ("f3", "test")}


def test_the_pattern_of_splits_keeps_the_fractions_at_every_length():
    config = SplitConfig(validation=0.1, test=0.2)
    long = split_pattern(SPLITS, config, 1000)
    assert [long.count(split) for split in SPLITS] == [700, 100, 200]
    assert split_pattern(SPLITS, config, 37) == long[:37]
    for length in range(1, 1000):
        assert abs(long[:length].count("test") - 0.2 * length) <= 1


def test_silent_segments_are_drawn_again(tmp_path):
    audio = np.zeros(40_000, np.float32)
    audio[30_000:34_000] = noise(4000, 1)
    write(tmp_path / "mostly-silent.wav", audio)
    config = SegmentConfig(sample_rate=RATE, n_samples=2000, max_redraws=200)
    catalogue = build_catalogue([tmp_path], config, ALL_TRAIN)
    for seed in range(5):
        segment, unreadable = draw_segment(catalogue, "train", config, np.random.default_rng(seed))
        assert np.mean(segment.audio.astype(float) ** 2) >= config.min_mean_square
        assert unreadable == []


def test_silent_recordings_are_an_error(tmp_path):
    write(tmp_path / "silent.wav", np.zeros(5000, np.float32))
    catalogue = build_catalogue([tmp_path], CONFIG, ALL_TRAIN)
    with pytest.raises(RecordingError, match="louder than a mean square of 1e-05"):
        draw_segment(catalogue, "train", CONFIG, np.random.default_rng(0))
    with pytest.raises(RecordingError, match="silent"):
        consecutive_segments(tmp_path / "silent.wav", CONFIG)


def test_unreadable_recordings_are_skipped_or_an_error_if_strict(tmp_path):
    write(tmp_path / "good.wav", noise(4000, 1))
    (tmp_path / "bad.wav").write_text("not audio")
    catalogue = build_catalogue([tmp_path], CONFIG, ALL_TRAIN)
    assert len(catalogue.recordings) == 1
    assert [Path(path).name for path, _ in catalogue.skipped] == ["bad.wav"]
    with pytest.raises(RecordingError, match=r"bad\.wav"):
        build_catalogue([tmp_path], CONFIG, ALL_TRAIN, strict=True)
    (tmp_path / "good.wav").unlink()
    with pytest.raises(InputError, match=r"no recording could be read \(found 1\)"):
        build_catalogue([tmp_path], CONFIG, ALL_TRAIN)


def test_the_peak_is_at_the_given_level():
    audio = normalise_peak(noise(1000, 1), -12.0)
    assert 20 * np.log10(np.abs(audio).max()) == pytest.approx(-12.0, abs=1e-4)
    silence = np.zeros(10, np.float32)
    np.testing.assert_array_equal(normalise_peak(silence, -12.0), silence)


def test_consecutive_segments_cover_a_recording(tmp_path):
    path = write(tmp_path / "a.wav", noise(5200, 1))
    segments = consecutive_segments(path, CONFIG)
    assert [segment.offset for segment in segments] == [0, 2000, 4000]
    assert not segments[2].audio[1200:].any()
    np.testing.assert_array_equal(cut_recording(path, 2000, CONFIG), load_audio(path)[0][2000:4000])
    with pytest.raises(InputError, match=r"no segment can start at 1\.00 s \(found 0\.65 s"):
        cut_recording(path, RATE, CONFIG)


def test_a_small_dataset_has_training_recordings(tmp_path):
    folders(tmp_path, 1, 3)
    split = SplitConfig(validation=0.4, test=0.5)
    assert sorted(build_catalogue([tmp_path], CONFIG, split).splits()) == sorted(SPLITS)


@pytest.mark.parametrize("peak", [1e-45, 1e-41, 1e-30])
def test_a_tiny_peak_is_silence_and_never_infinite(peak):
    """float32 cannot hold the factor that normalises it."""
    quiet = np.array([0.0, peak, -peak / 2], dtype=np.float32)
    assert is_silent(quiet)
    np.testing.assert_array_equal(normalise_peak(quiet, -12.0), quiet)
    assert np.abs(normalise_peak(1e12 * quiet + np.float32(1e-18), 0.0)).max() == pytest.approx(1)


def test_impossible_configurations_are_refused():
    with pytest.raises(ConfigError, match=r"level_dbfs: .*found 1000\.0, expected .*-120"):
        SegmentConfig(level_dbfs=1000.0)
    with pytest.raises(InputError, match="Give first, mean, loudest, or a number"):
        SegmentConfig(channel="left")
    with pytest.raises(ConfigError, match="from 1 to 1,000,000 Hz"):
        SegmentConfig(sample_rate=3 * 10**18)
    with pytest.raises(ConfigError, match="no recordings left for training"):
        SplitConfig(validation=0.5, test=0.5)
    with pytest.raises(ConfigError, match="join, pad or skip"):
        SegmentConfig(short="stretch")
