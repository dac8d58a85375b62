"""Recordings become pairs: aligned, levelled, cut, split, with settings; each fault is reported."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import soundfile
from datasets import CONFIGURATION, SEGMENTS, SPLIT, write_recordings

import dafxtool
from dafxtool import presets, storage
from dafxtool.audio.level import normalise_peak
from dafxtool.audio.reader import load_audio
from dafxtool.audio.resample import resample
from dafxtool.dataset.render import render, rerender_row
from dafxtool.effects.apply import parse_effect
from dafxtool.effects.effect import Effect
from dafxtool.errors import (
    ArgumentError,
    EffectError,
    InputError,
    OutputExistsError,
    RecordingError,
)

RATE = 16_000
SEGMENT = {"sample_rate": 8000, "n_samples": 8000, "min_mean_square": 1e-7}
LATE = 441


def music(seconds=6.0, seed=0):
    """Decaying notes of random pitch at random times."""
    rng = np.random.default_rng(seed)
    audio = 1e-4 * rng.standard_normal(round(seconds * RATE))
    for start in rng.integers(0, audio.size - RATE // 2, round(5 * seconds)):
        time = np.arange(RATE // 2) / RATE
        pitch = rng.uniform(100, 700)
        note = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 6))
        audio[start : start + RATE // 2] += 0.1 * note * np.exp(-8 * time)
    return audio.astype(np.float32)


def write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.T, rate, "FLOAT")
    return path


def late(samples, n=LATE):
    return np.concatenate([np.zeros(n, np.float32), samples])


def load(path):
    with storage.Hdf5Reader(path, storage.PAIRS) as reader:
        return reader.labels, reader.rows(slice(None)), reader.configuration


def do_import(folder, *arguments, **options):
    segments = SEGMENT | options.pop("segments", {})
    return dafxtool.import_pairs(
        *arguments, output=folder / "p.h5", preset="small", segments=segments, **options
    )


def test_a_late_recording_is_aligned_to_the_sample(tmp_path):
    dry = music()
    write(tmp_path / "dry.wav", dry)
    write(tmp_path / "wet.wav", late(0.5 * dry))
    result = do_import(tmp_path, tmp_path / "dry.wav", tmp_path / "wet.wav", effect="amp:gain=5dB")
    (recording,) = result.recordings
    assert (recording.latency, recording.is_inverted, recording.drift_ppm) == (LATE, False, 0)
    assert recording.latency_ms == pytest.approx(1000 * LATE / RATE)
    labels, audio, configuration = load(tmp_path / "p.h5")
    assert len(labels) == result.n_pairs == 6
    assert labels.offset.tolist() == [8000 * i for i in range(6)]
    assert labels.setting_text == ["amp:gain=5"] * 6
    effect = Effect.from_dict(labels.effects[0])
    assert (effect.is_recorded, effect.parameters[0].unit) == (True, "dB")
    at_rate = load_audio(tmp_path / "dry.wav", 8000)[0]
    for row in range(6):
        expected = normalise_peak(at_rate[8000 * row : 8000 * (row + 1)], -12)
        np.testing.assert_allclose(audio[row, 0], expected, atol=1e-6)
        np.testing.assert_allclose(audio[row, 1], expected, atol=1e-4)
    # The wet recording has half the level: its gain is 6 dB more.
    np.testing.assert_allclose(labels.gains_db[:, 1] - labels.gains_db[:, 0], 6.02, atol=0.02)
    assert configuration["settings"] == storage.IMPORTED
    with pytest.raises(InputError, match="imported"):
        rerender_row(tmp_path / "p.h5", 0)


def test_the_level_can_be_kept(tmp_path):
    dry = music()
    write(tmp_path / "dry.wav", dry)
    write(tmp_path / "wet.wav", 0.5 * dry)
    paths = (tmp_path / "dry.wav", tmp_path / "wet.wav")
    do_import(tmp_path, *paths, effect="amp", segments={"level": "keep"})
    _, audio, _ = load(tmp_path / "p.h5")
    np.testing.assert_allclose(audio[:, 1], 0.5 * audio[:, 0], atol=1e-6)


CASES = {
    "inverted": (lambda wet: late(-wet), RATE, LATE, "polarity"),
    "first second missing": (lambda wet: wet[RATE:], RATE, -RATE, ""),
    "another rate": (lambda wet: resample(late(wet), RATE, 48_000), 48_000, LATE, ""),
    "stereo": (lambda wet: np.stack([late(wet)] * 2), RATE, LATE, ""),
    "half as long": (lambda wet: late(wet[: wet.size // 2]), RATE, LATE, ""),
    "three seconds missing": (lambda wet: wet[3 * RATE :], RATE, -3 * RATE, ""),
    "identical": (lambda wet: wet, RATE, 0, "identical"),
}


@pytest.mark.parametrize("case", CASES)
def test_recordings_of_every_kind(tmp_path, case):
    change, rate, latency, words = CASES[case]
    dry = music()
    write(tmp_path / "dry.wav", dry)
    write(tmp_path / "wet.wav", change(dry), rate)
    result = do_import(tmp_path, tmp_path / "dry.wav", tmp_path / "wet.wav", effect="amp")
    (recording,) = result.recordings
    assert recording.latency == latency
    assert words in " ".join(recording.remarks)
    _, audio, _ = load(tmp_path / "p.h5")
    sign = -1 if recording.is_inverted else 1
    assert recording.is_inverted == (case == "inverted")
    # The effect is none: every wet segment is the dry one.
    error = np.square(audio[:, 0] - sign * audio[:, 1]).sum(axis=1)
    assert (error < 1e-3 * np.square(audio[:, 0]).sum(axis=1)).all()


def test_half_a_second_is_reported_as_uncertain(tmp_path):
    dry = music()
    write(tmp_path / "dry.wav", dry)
    write(tmp_path / "wet.wav", dry[2 * RATE : 5 * RATE // 2])
    result = do_import(tmp_path, tmp_path / "dry.wav", tmp_path / "wet.wav", effect="amp")
    (recording,) = result.recordings
    assert recording.latency == pytest.approx(-2 * RATE, abs=8)
    assert "uncertain" in " ".join(recording.remarks)


def test_drift_is_corrected(tmp_path):
    dry = music(24)
    write(tmp_path / "dry.wav", dry)
    write(tmp_path / "wet.wav", resample(late(dry), 1_000_000, 1_000_100))
    result = do_import(tmp_path, tmp_path / "dry.wav", tmp_path / "wet.wav", effect="amp")
    (recording,) = result.recordings
    assert recording.drift_ppm == pytest.approx(100, abs=8)
    assert any("ppm" in text for text in recording.remarks)
    _, audio, _ = load(tmp_path / "p.h5")
    likeness = [np.corrcoef(dry, wet)[0, 1] for dry, wet in audio]
    assert min(likeness) > 0.99  # without the correction, 2.4 ms at the end: no likeness at all


@pytest.mark.parametrize("latency", [0, 441, -100])
def test_a_given_latency_is_used(tmp_path, latency):
    dry = music()
    write(tmp_path / "dry.wav", dry)
    write(tmp_path / "wet.wav", late(dry))
    paths = (tmp_path / "dry.wav", tmp_path / "wet.wav")
    result = do_import(tmp_path, *paths, effect="amp", latency=latency)
    assert result.recordings[0].latency == latency
    assert any("seems to be 441" in text for text in result.recordings[0].remarks) == (
        latency != LATE
    )


def test_unusable_pairs_are_skipped_with_their_reason(tmp_path):
    for number in range(4):
        write(tmp_path / f"dry/{number}.wav", music(seed=number))
    write(tmp_path / "wet/0.wav", music(seed=0))
    write(tmp_path / "wet/1.wav", music(seed=9))
    write(tmp_path / "wet/2.wav", np.zeros(6 * RATE, np.float32))
    (tmp_path / "wet/3.wav").write_bytes(b"no audio")
    write(tmp_path / "wet/other.wav", music())
    result = do_import(tmp_path, tmp_path / "dry", tmp_path / "wet", effect="amp")
    assert [each.wet.name for each in result.recordings] == ["0.wav"]
    reasons = {path.rsplit("/", 1)[1]: reason for path, reason in result.skipped}
    assert "not the same performance" in reasons["1.wav"]
    assert "silence" in reasons["2.wav"]
    assert set(reasons) == {"1.wav", "2.wav", "3.wav", "other.wav"}
    with pytest.raises(RecordingError):
        do_import(
            tmp_path, tmp_path / "dry", tmp_path / "wet", effect="amp", strict=True, overwrite=True
        )


def test_silent_segments_are_dropped_and_counted(tmp_path):
    dry = music()
    dry[RATE : 3 * RATE] = 0
    write(tmp_path / "dry.wav", dry)
    result = do_import(tmp_path, tmp_path / "dry.wav", tmp_path / "dry.wav", effect="amp")
    assert (result.n_pairs, result.recordings[0].n_silent) == (4, 2)


def test_a_table_gives_effects_settings_and_splits(tmp_path):
    lines = ["dry,wet,effect,gain [dB],split"]
    for number, split in enumerate(("train", "test", "validation")):
        dry = music(3, number)
        write(tmp_path / f"d{number}.wav", dry)
        for gain in (3, 6):
            write(tmp_path / f"w{number}-{gain}.wav", late(dry, 10 * gain))
            lines.append(f"d{number}.wav,w{number}-{gain}.wav,amp {number},{gain},{split}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    result = do_import(tmp_path, tmp_path / "t.csv")
    assert result.pairs_per_effect == {"amp-0": 6, "amp-1": 6, "amp-2": 6}
    assert result.pairs_per_split == {"train": 6, "validation": 6, "test": 6}
    assert [each.latency for each in result.recordings] == [30, 60] * 3
    labels, _, _ = load(tmp_path / "p.h5")
    assert {labels.setting_of(row)["gain"] for row in range(len(labels))} == {3, 6}
    splits = {(labels.path_of(row)[-6:], labels.split_of(row)) for row in range(len(labels))}
    assert splits == {("d0.wav", "train"), ("d1.wav", "test"), ("d2.wav", "validation")}


def test_a_rendered_folder_comes_back_as_it_was(tmp_path):
    write_recordings(tmp_path / "in")
    chosen = [parse_effect(t) for t in ("lead=overdrive > delay", "delay:time=100", "clean")]
    arguments = ([tmp_path / "in"], chosen, SEGMENTS, SPLIT, 4)
    render(arguments[0], tmp_path / "folder", *arguments[1:])
    render(arguments[0], tmp_path / "r.h5", *arguments[1:])
    result = dafxtool.import_pairs(tmp_path / "folder", output=tmp_path / "p.h5")
    assert result.n_pairs == 12
    (labels, audio, _), (expected, expected_audio, _) = (
        load(tmp_path / "p.h5"),
        load(tmp_path / "r.h5"),
    )
    np.testing.assert_array_equal(audio, expected_audio)
    assert labels.effects == expected.effects
    assert labels.setting_text == expected.setting_text
    np.testing.assert_array_equal(labels.setting, expected.setting)
    np.testing.assert_array_equal(labels.split, expected.split)
    np.testing.assert_array_equal(labels.offset, expected.offset)
    assert [labels.path_of(i) for i in range(12)] == [expected.path_of(i) for i in range(12)]
    np.testing.assert_allclose(labels.gains_db, expected.gains_db, atol=1e-5)
    first = next((tmp_path / "folder").glob("*_wet.wav"))
    write(first, np.zeros(5, np.float32))
    again = dafxtool.import_pairs(tmp_path / "folder", output=tmp_path / "q.h5")
    assert (again.n_pairs, len(again.skipped)) == (11, 1)
    (tmp_path / "folder/pairs.json").write_text("[]")
    with pytest.raises(InputError):
        dafxtool.import_pairs(tmp_path / "folder", output=tmp_path / "z.h5")
    with pytest.raises(ArgumentError):
        dafxtool.import_pairs(tmp_path / "folder", output=tmp_path / "z.h5", effect="amp")


def test_wrong_arguments(tmp_path):
    write(tmp_path / "dry.wav", music(2))
    pair = (tmp_path / "dry.wav", tmp_path / "dry.wav")
    with pytest.raises(InputError, match="no name"):
        do_import(tmp_path, *pair)
    with pytest.raises(InputError):
        do_import(tmp_path, tmp_path / "nothing", tmp_path / "dry.wav", effect="amp")
    with pytest.raises(RecordingError):
        segments = {"n_samples": 80_000, "short": "skip"}
        do_import(tmp_path, *pair, effect="amp", segments=segments, strict=True)
    with pytest.raises(InputError, match="too short"):
        do_import(tmp_path, *pair, effect="amp", segments={"n_samples": 80_000, "short": "skip"})
    assert not (tmp_path / "p.h5").exists()
    do_import(tmp_path, *pair, effect="amp", segments={"n_samples": 80_000})
    _, audio, _ = load(tmp_path / "p.h5")
    assert audio.shape == (1, 2, 80_000)
    assert not audio[0, :, 16_000:].any()
    with pytest.raises(OutputExistsError):
        do_import(tmp_path, *pair, effect="amp")


def test_other_commands_say_that_a_folder_of_pairs_has_to_be_imported(tmp_path):
    write(tmp_path / "takes/dry/a.wav", music(2))
    shutil.copytree(tmp_path / "takes/dry", tmp_path / "takes/wet")
    for function in (dafxtool.compute_spectrograms, dafxtool.train):
        with pytest.raises(InputError, match="dafxtool import"):
            function(tmp_path / "takes")
    from dafxtool.api import checks

    with pytest.raises(InputError, match="dafxtool import"):
        checks.check_sources([tmp_path / "takes"], (storage.PAIRS,))
    assert checks.folders_of_pairs([tmp_path / "takes", tmp_path]) == [tmp_path / "takes"]


@pytest.mark.slow
def test_import_to_latents(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ["dry,wet,effect,gain [dB]"]
    for number in range(6):
        dry = music(9, number)
        write(tmp_path / f"d{number}.wav", dry)
        wet = dafxtool.apply_effect(dry, RATE, f"overdrive:drive={10 + 5 * number}")
        write(tmp_path / f"w{number}.wav", late(wet))
        lines.append(f"d{number}.wav,w{number}.wav,amp,{10 + 5 * number}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    (tmp_path / "config.toml").write_text(presets.to_toml(CONFIGURATION), "utf-8")
    dafxtool.import_pairs("t.csv", config="config.toml")
    dafxtool.compute_spectrograms(config="config.toml")
    result = dafxtool.train(config="config.toml", steps=1, device="cpu")
    latents = dafxtool.embed("pairs.h5", run=result.run)
    assert latents.labels.effect_names == ["amp"]
    assert len(latents) == len(load(tmp_path / "pairs.h5")[0])
    with pytest.raises(EffectError, match="imported"):
        dafxtool.sweep("pairs.h5", run=result.run)
    dafxtool.reconstruct("pairs.h5", run=result.run, output=tmp_path / "r.png")
