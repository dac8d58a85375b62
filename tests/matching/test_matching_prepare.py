"""Check the alignment of a dry and a wet recording."""

import numpy as np
import pytest
from synthetic_notes import synthetic_notes

from dafxtool.audio.resample import resample
from dafxtool.audio.writer import save_audio
from dafxtool.effects.builtin import apply_effect, builtin_effects
from dafxtool.errors import InputError
from dafxtool.matching.prepare import align, loudest_window, prepare_files

RATE = 24_000
EFFECTS = builtin_effects()
NAMES = ("dry.wav", "wet.wav")


def delayed(samples, n_samples):
    if n_samples >= 0:
        return np.concatenate([np.zeros(n_samples, np.float32), samples])
    return samples[-n_samples:]


@pytest.mark.parametrize("latency", [0, 1, 240, 5000, -24_000])
@pytest.mark.parametrize(
    "effect",
    [
        ("clean", {}),
        ("delay", {"time": 310, "feedback": 60, "mix": 70}),
        ("compressor", {}),
        ("low-pass", {"cutoff": 3000}),
        ("overdrive", {}),
    ],
    ids=lambda effect: effect[0],
)
def test_the_latency_is_that_of_the_direct_sound(latency, effect):
    dry = synthetic_notes(4)
    wet = delayed(apply_effect(EFFECTS[effect[0]], dry, RATE, effect[1]), latency)
    prepared = align(dry, wet, RATE, 1.0, NAMES)
    assert abs(prepared.latency_samples - latency) <= 3  # a filter adds a sample or two
    assert prepared.wet.shape == dry.shape
    assert any("aligned" in remark for remark in prepared.remarks) == (
        prepared.latency_samples != 0
    )


def test_the_opposite_polarity_is_noticed():
    dry = synthetic_notes(4)
    prepared = align(dry, -dry, RATE, 1.0, NAMES)
    np.testing.assert_array_equal(prepared.wet, dry)
    assert prepared.remarks == ("wet.wav has the opposite polarity.",)


def test_a_short_excerpt_is_found_in_its_recording():
    dry = synthetic_notes(6)
    prepared = align(dry, dry[60_000:67_200], RATE, 1.0, NAMES)
    assert (prepared.first, prepared.last) == (60_000, 67_200)


def test_a_tremolo_does_not_prevent_alignment():
    dry = synthetic_notes(4)
    wet = apply_effect(EFFECTS["tremolo"], dry, RATE, {"depth": 100})
    assert align(dry, wet, RATE, 1.0, NAMES).latency_samples == 0


def test_another_performance_is_refused():
    with pytest.raises(InputError, match=r"wet\.wav: not the same performance.*--like"):
        align(synthetic_notes(4), synthetic_notes(4, seed=9), RATE, 1.0, NAMES)


def test_silent_and_short_recordings_are_refused(tmp_path):
    save_audio(tmp_path / "dry.wav", synthetic_notes(), RATE)
    save_audio(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    save_audio(tmp_path / "short.wav", synthetic_notes(0.1), RATE)
    for name, problem in (
        ("silent", "digital silence.*Give a recording"),
        ("short", "too short to match"),
    ):
        with pytest.raises(InputError, match=rf"{name}\.wav: {problem}"):
            prepare_files(tmp_path / "dry.wav", tmp_path / f"{name}.wav")
        with pytest.raises(InputError, match=rf"{name}\.wav: {problem}"):
            prepare_files(tmp_path / f"{name}.wav", tmp_path / "dry.wav")


def test_rates_and_channels_may_differ(tmp_path):
    dry = synthetic_notes(3, 44_100)
    save_audio(tmp_path / "dry.wav", dry, 44_100)
    other = resample(dry, 44_100, 22_050)
    save_audio(tmp_path / "wet.wav", np.stack([other, other]), 22_050)
    prepared = prepare_files(tmp_path / "dry.wav", tmp_path / "wet.wav")
    assert prepared.sample_rate == 44_100
    assert prepared.latency_samples == 0
    assert 0.45 < prepared.highest <= 0.5


def test_the_mean_of_a_stereo_recording_is_recognised(tmp_path):
    left, right = synthetic_notes(3), synthetic_notes(3, seed=5)
    save_audio(tmp_path / "dry.wav", np.stack([left, right]), RATE)
    save_audio(tmp_path / "wet.wav", (left + right) / 2, RATE)
    prepared = prepare_files(tmp_path / "dry.wav", tmp_path / "wet.wav")
    np.testing.assert_allclose(prepared.dry, prepared.wet, atol=1e-6)


def test_the_loudest_window_is_chosen():
    quiet = np.full(60 * RATE, 1e-4, np.float32)
    quiet[40 * RATE : 48 * RATE] = synthetic_notes(8)
    start, end = loudest_window(quiet, 0, quiet.size, 8 * RATE, RATE)
    assert (start, end) == (40 * RATE, 48 * RATE)
    assert loudest_window(synthetic_notes(30), 0, 30 * RATE, 8 * RATE, RATE)[0] == 0
