"""Copies of recordings: one content under several names and in several formats."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audio_files import write_file
from datasets import N_SAMPLES, RATE, SPLIT, chosen

from dafxtool.audio.find_recordings import find_recordings
from dafxtool.audio.reader import read_info
from dafxtool.config import SPLITS, SegmentConfig, SplitConfig
from dafxtool.dataset.copies import content_of, copies_among, originals, read_contents
from dafxtool.dataset.recordings import build_catalogue, recording_rows
from dafxtool.dataset.render import render
from dafxtool.errors import ConfigError

NATIVE = 24_000  # Hz
CONFIG = SegmentConfig(RATE, N_SAMPLES)
SECONDS = 4


def take(seed, seconds=SECONDS):
    """Notes with noise: takes of one melody differ in timing, level and noise only."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(NATIVE * seconds)) / NATIVE
    audio = 0.02 * rng.standard_normal(len(time_s))
    for note, pitch_hz in enumerate((220, 277, 330, 440, 392, 330, 262, 220)):
        since = time_s - note * seconds / 8 - 0.02 * rng.uniform()
        envelope = (since > 0) * np.exp(-6 * np.maximum(since, 0))
        vibrato = 0.3 * np.sin(2 * np.pi * 5 * since + rng.uniform(0, 6))
        pitch = 2 * np.pi * pitch_hz * rng.uniform(0.99, 1.01)
        for harmonic in (1, 2, 3, 4, 5):
            audio += 0.1 / harmonic * envelope * np.sin(harmonic * (pitch * since + vibrato))
    return (np.round(audio * 32_768) / 32_768).astype(np.float32)[None]


def contents_of(*paths):
    return read_contents([(path, read_info(path)) for path in paths])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_file(tmp_path_factory.mktemp("original") / "a.wav", take(0), NATIVE)


def variants():
    import soxr

    audio = take(0)
    late = np.concatenate([np.zeros((1, 1200), np.float32), audio], axis=1)
    resampled = soxr.resample(audio[0], NATIVE, 16_000)[None]
    mp3 = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}
    return {
        "flac": ("b.flac", audio, NATIVE, None, {}),
        "24 bits": ("b.wav", audio, NATIVE, "PCM_24", {}),
        "stereo": ("b.wav", np.repeat(audio, 2, axis=0), NATIVE, None, {}),
        "mp3": ("b.mp3", audio, NATIVE, None, mp3),
        "ogg": ("b.ogg", audio, NATIVE, None, {}),
        "opus": ("b.opus", audio, NATIVE, "OPUS", {}),
        "other rate": ("b.wav", resampled, 16_000, None, {}),
        "other level": ("b.wav", 0.1 * audio, NATIVE, None, {}),
        "polarity": ("b.wav", -audio, NATIVE, None, {}),
        "delay": ("b.wav", late, NATIVE, None, {}),
    }


@pytest.mark.parametrize("kind", list(variants()))
def test_a_copy_in_another_form_is_recognised(original, tmp_path, kind):
    name, audio, rate, subtype, options = variants()[kind]
    copy = write_file(tmp_path / name, audio, rate, subtype, **options)
    known = contents_of(original)
    assert copies_among(contents_of(copy), known) == {0: str(original)}
    assert originals([*known, *contents_of(copy)]) == [0, 0]


def test_an_exact_copy_has_the_same_digest(original, tmp_path):
    flac = write_file(tmp_path / "b.flac", take(0), NATIVE)
    wav, copy = contents_of(original, flac)
    assert wav.fingerprint.digest == copy.fingerprint.digest
    short = [write_file(tmp_path / f"s.{end}", take(0, 0.2), NATIVE) for end in ("wav", "flac")]
    assert originals(contents_of(*short)) == [0, 0]  # too short for a sketch


def test_takes_of_one_melody_and_silence_are_no_copies(tmp_path):
    paths = [write_file(tmp_path / f"{seed}.wav", take(seed), NATIVE) for seed in range(6)]
    silence = np.zeros((1, SECONDS * NATIVE), np.float32)
    paths += [write_file(tmp_path / f"silent{i}.wav", silence, NATIVE) for i in range(2)]
    assert originals(contents_of(*paths)) == list(range(8))


def test_a_copy_is_recognised_without_its_original(original, tmp_path):
    known = contents_of(original)
    missing = [replace(known[0], path=str(tmp_path / "elsewhere.wav"))]
    ogg = write_file(tmp_path / "b.wav", 0.5 * take(0), NATIVE)
    assert copies_among(contents_of(ogg), missing) == {0: str(tmp_path / "elsewhere.wav")}
    other = write_file(tmp_path / "c.wav", take(1), NATIVE)
    assert copies_among(contents_of(other), missing) == {}


@pytest.fixture
def songs(tmp_path):
    """Ten songs as WAV in one folder, and seven of them as FLAC or Ogg in another one."""
    for seed in range(10):
        write_file(folder(tmp_path, "songs") / f"{seed}.wav", take(seed, 2), NATIVE)
        if seed < 7:
            name = f"copy{seed}.{'flac' if seed % 2 else 'ogg'}"
            write_file(folder(tmp_path, "archive") / name, take(seed, 2), NATIVE)
    return tmp_path


def folder(root, name):
    (root / name).mkdir(exist_ok=True)
    return root / name


def splits_of(catalogue):
    return {recording.path[-9:]: recording.split for recording in catalogue.recordings}


@pytest.mark.parametrize("by", ["recording", "folder"])
def test_copies_are_in_one_split(songs, by):
    for seed in range(5):
        split = SplitConfig(by, 0.2, 0.2)
        catalogue = build_catalogue([songs], CONFIG, split, seed)
        splits = splits_of(catalogue)
        assert len(catalogue.copies) == 7
        for index in range(7):
            copy = f"opy{index}.{'flac' if index % 2 else 'ogg'}"[-9:]
            own = next(s for name, s in splits.items() if name.endswith(copy))
            assert own == splits[f"ngs/{index}.wav"]
    rows = recording_rows(catalogue)
    assert content_of(rows[0]).fingerprint.digest == catalogue.recordings[0].digest


def test_a_copy_that_a_pattern_names_takes_its_original_along(songs):
    split = SplitConfig("recording", 0.2, 0.2, test_match=("copy1.flac",))
    splits = splits_of(build_catalogue([songs], CONFIG, split))
    assert splits["ngs/1.wav"] == "test"
    assert [splits[f"ngs/{i}.wav"] for i in range(10)].count("test") == 1


def test_recordings_are_not_compared_if_copies_are_ignored(songs):
    split = SplitConfig("recording", 0.2, 0.2, copies="ignore")
    catalogue = build_catalogue([songs], CONFIG, split)
    assert catalogue.copies == ()
    assert {each.digest for each in catalogue.recordings} == {""}
    with pytest.raises(ConfigError):
        SplitConfig(copies="some")


def test_render_names_the_copies(songs, tmp_path, invoke):
    result = render([songs], tmp_path / "p.h5", chosen("clean"), CONFIG, SPLIT, 2)
    assert len(result.copies) == 7
    size = ("--sample-rate", RATE, "--segment-seconds", 0.5, "--workers", 1, "-q")
    output = ("--effect", "clean", "--pairs-per-effect", 2, "-o", tmp_path / "c.h5")
    shown = invoke("render", songs, *size, *output).stdout
    assert "7 recordings with the content of another one" in shown


def test_a_copy_of_training_data_is_named(pairs_file, run, run_folder, tmp_path, invoke):
    from dafxtool import storage
    from dafxtool.audio.reader import load_audio
    from dafxtool.latents.embed import embed

    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as pairs:
        recordings = pairs.labels.recordings
    by_split = {
        split: next(each["path"] for each in recordings if each["split"] == split)
        for split in SPLITS
    }
    for split, path in by_split.items():
        audio, rate = load_audio(Path(path))
        write_file(tmp_path / f"copy-{split}.flac", 0.5 * audio[None], rate)
    for split in SPLITS:
        warnings = embed([tmp_path / f"copy-{split}.flac"], run).warnings
        assert bool(warnings) == (split != "test"), split
    shown = invoke("embed", tmp_path, "--run", run_folder, "-q", "-o", tmp_path / "l.csv").stdout
    assert "copy-train.flac" in shown
    assert "copy-test.flac" not in shown


@pytest.mark.corpus
def test_real_recordings_are_no_copies_of_each_other(corpus):
    paths = find_recordings([corpus])
    assert originals(contents_of(*paths)) == list(range(len(paths)))
