"""The level that an effect gives: measured against gains that are known beforehand."""

import csv
import json

import h5py
import numpy as np
import pytest
from audio_files import noise, write_file
from datasets import N_SAMPLES, RATE, SPLIT

from dafxtool.audio.reader import load_audio
from dafxtool.config import SegmentConfig
from dafxtool.dataset.pair import effect_level_db, level_recordings, render_with_gains
from dafxtool.dataset.render import render, rerender_row
from dafxtool.effects.apply import parse_effect
from dafxtool.errors import ConfigError
from dafxtool.storage import PAIRS, Hdf5Reader

PEAK = 10 ** (-12 / 20)


def config(level, **values):
    return SegmentConfig(RATE, N_SAMPLES, level=level, **values)


def segment(peak=0.03):
    samples = noise(N_SAMPLES)[0]
    return samples * np.float32(peak / np.abs(samples).max())


def render_effect(level, text, samples=None):
    effect, setting = parse_effect(text)
    effect = effect.at(RATE)
    samples = segment() if samples is None else samples
    audio, _, gains_db = render_with_gains(samples, effect, effect.complete(setting), config(level))
    return audio, np.array(gains_db)


@pytest.mark.parametrize("level", ["match", "keep"])
@pytest.mark.parametrize("gain_db", [-24.0, 0.0, 12.0, 20.0])
def test_the_own_level_of_a_gain_is_the_gain(level, gain_db):
    audio, gains_db = render_effect(level, f"gain:gain={gain_db}")
    assert effect_level_db(audio, gains_db) == pytest.approx(gain_db, abs=1e-4)
    np.testing.assert_allclose(audio[0], segment() * 10 ** (gains_db[0] / 20), rtol=1e-5)
    assert np.abs(audio).max() <= 1


def test_keep_leaves_the_level_in_the_pair_and_match_does_not():
    rms = {}
    for level in ("keep", "match"):
        audio, gains_db = render_effect(level, "gain:gain=12")
        rms[level] = np.sqrt(np.mean(np.square(audio, dtype=float), axis=1))
        assert np.abs(audio[0]).max() == pytest.approx(PEAK, rel=1e-5)
        assert gains_db[0] == pytest.approx(20 * np.log10(PEAK / 0.03), abs=1e-4)
        assert gains_db[1] - gains_db[0] == pytest.approx(0 if level == "keep" else -12, abs=1e-4)
    assert 20 * np.log10(rms["keep"][1] / rms["keep"][0]) == pytest.approx(12, abs=1e-4)
    assert rms["match"][1] == pytest.approx(rms["match"][0], rel=1e-5)


def test_beyond_full_scale_both_are_lowered_by_the_same_factor():
    audio, gains_db = render_effect("keep", "gain:gain=20")
    assert np.abs(audio[1]).max() == pytest.approx(1, abs=1e-5)
    assert np.abs(audio[0]).max() == pytest.approx(0.1, rel=1e-4)
    assert gains_db[0] == gains_db[1] == pytest.approx(-20 - 20 * np.log10(0.03), abs=1e-3)


def test_silence_has_gains_and_no_level():
    silence = np.zeros(N_SAMPLES, np.float32)
    for level in ("match", "keep"):
        audio, gains_db = render_effect(level, "gain:gain=6", silence)
        assert not audio.any()
        assert gains_db.tolist() == [0, 0]
        assert np.isnan(effect_level_db(audio, gains_db))


@pytest.mark.parametrize("level", ["match", "keep"])
def test_recordings_of_both_sides_are_levelled_alike(level):
    dry, wet = segment(), 5 * segment(0.1)[::-1]
    audio, gains_db = level_recordings(dry, wet, config(level))
    for stored, original, gain_db in zip(audio, (dry, wet), gains_db, strict=True):
        np.testing.assert_allclose(stored, original * 10 ** (gain_db / 20), rtol=1e-5, atol=1e-7)
    assert (gains_db[0] == gains_db[1]) == (level == "keep")


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "dry"
    folder.mkdir()
    for index in range(3):
        write_file(folder / f"{index}.wav", 0.1 * (1 + index) * noise(RATE), RATE)
    return folder


@pytest.mark.parametrize("level", ["match", "keep"])
def test_files_store_the_gains_and_rows_are_rendered_again(recordings, tmp_path, level):
    effects = [parse_effect(text) for text in ("gain:gain=12", "overdrive")]
    effects = [(effect.at(RATE), fixed) for effect, fixed in effects]
    for output in ("pairs.h5", "folder"):
        render([recordings], tmp_path / output, effects, config(level), SPLIT, 4)
    with Hdf5Reader(tmp_path / "pairs.h5", PAIRS) as pairs:
        audio, labels = pairs.rows(slice(None)), pairs.labels
        assert pairs.configuration["segments"]["level"] == level
    own = effect_level_db(audio, labels.gains_db)
    np.testing.assert_allclose(own[labels.effect == 0], 12, atol=1e-4)
    for row in (0, 1, 6):
        np.testing.assert_array_equal(rerender_row(tmp_path / "pairs.h5", row), audio[row])
    with (tmp_path / "folder" / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, gains_db in zip(rows, labels.gains_db, strict=True):
        stored = [float(row["dry_gain_db"]), float(row["wet_gain_db"])]
        np.testing.assert_allclose(stored, gains_db, atol=1e-5)
    for name in ("dry", "wet"):
        samples, _ = load_audio(tmp_path / "folder" / rows[2][name])
        np.testing.assert_array_equal(samples, audio[2][("dry", "wet").index(name)])


def test_a_file_without_gains_is_read(pairs_file, tmp_path):
    copy = tmp_path / "older.h5"
    copy.write_bytes(pairs_file.read_bytes())
    with h5py.File(copy, "r+") as file:
        del file["dry_gain_db"], file["wet_gain_db"]
    with Hdf5Reader(copy, PAIRS) as pairs:
        assert np.isnan(pairs.labels.gains_db).all()
        assert pairs.labels.gains_db.shape == (len(pairs), 2)


def test_level_is_a_value_of_the_configuration_and_the_command_line(recordings, tmp_path, invoke):
    with pytest.raises(ConfigError):
        config("loud")
    (tmp_path / "keep.toml").write_text('[segments]\nlevel = "keep"\n')
    common = ("render", recordings, "--effect", "gain:gain=12", "--pairs-per-effect", 3, "-q")
    for options in (("--config", tmp_path / "keep.toml"), ("--level", "keep")):
        size = ("--sample-rate", RATE, "--segment-seconds", N_SAMPLES / RATE, "--workers", 1)
        output = ("-o", tmp_path / "keep.h5", "--overwrite")
        result = invoke(*common, *options, *size, *output)
        assert result.exit_code == 0, result.output
        with h5py.File(tmp_path / "keep.h5") as file:
            saved = json.loads(file["configuration"][()])
            np.testing.assert_array_equal(file["dry_gain_db"], file["wet_gain_db"])
        assert saved["segments"]["level"] == "keep"


def test_a_run_reads_recordings_as_its_pairs_were_read(recordings, tmp_path):
    from datasets import SPECTROGRAM, chosen, with_training

    from dafxtool.models.run import load_run
    from dafxtool.spectrogram.compute import compute_spectrograms
    from dafxtool.training.train import train

    segments = config("keep", level_dbfs=-20.0, channel="1")
    render([recordings], tmp_path / "p.h5", chosen("gain", "clean"), segments, SPLIT, 8)
    compute_spectrograms(tmp_path / "p.h5", tmp_path / "s.h5", SPECTROGRAM)
    train(tmp_path / "s.h5", tmp_path / "run", with_training(max_steps=1, label_steps=1), "cpu")
    trained = load_run(tmp_path / "run", "cpu").configuration.segments
    assert (trained.level, trained.level_dbfs, trained.channel) == ("keep", -20.0, "1")
