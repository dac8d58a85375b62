"""Latency, polarity, drift and lost samples are found where they are known."""

from __future__ import annotations

import numpy as np
import pytest

import dafxtool
from dafxtool.audio.alignment import align, is_consistent, undo_drift
from dafxtool.audio.resample import resample

RATE = 16_000
LATE = 441
EFFECTS = ("clean", "delay:mix=70", "reverb:mix=60", "tremolo", "phaser")
FILTERED = ("overdrive", "low-pass", "bit-crusher:bits=4")  # whose own delay is a few samples


def music(seconds=12.0, seed=0):
    """Plucked notes: decaying harmonics at random times, a little noise."""
    rng = np.random.default_rng(seed)
    audio = 1e-3 * rng.standard_normal(round(seconds * RATE))
    for start in np.sort(rng.integers(0, audio.size - RATE, round(4 * seconds))):
        time = np.arange(RATE) / RATE
        pitch = 110 * 2 ** (rng.integers(0, 30) / 12)
        note = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 12))
        audio[start : start + RATE] += 0.1 * note * np.exp(-6 * time)
    return audio.astype(np.float32)


DRY = music()


def wet_of(text, dry=DRY):
    return dafxtool.apply_effect(dry, RATE, text)


def late(wet, n_samples=LATE):
    return np.concatenate([np.zeros(n_samples, np.float32), wet])


@pytest.mark.parametrize("text", EFFECTS)
def test_latency_is_exact_and_polarity_known(text):
    found = align(DRY, late(wet_of(text)), RATE)
    assert (found.latency, found.is_inverted, found.drift, found.jump) == (LATE, False, 0.0, 0)
    found = align(DRY, late(-wet_of(text)), RATE)
    assert (found.latency, found.is_inverted) == (LATE, True)


@pytest.mark.parametrize("text", FILTERED)
def test_filters_delay_by_a_few_samples_themselves(text):
    assert align(DRY, late(wet_of(text)), RATE).latency - LATE in range(4)


def test_a_missing_first_second_is_a_negative_latency():
    assert align(DRY, wet_of("delay")[RATE:], RATE).latency == -RATE


@pytest.mark.parametrize(
    ("text", "parts_per_million"), [("clean", -80), ("overdrive", 50), ("delay:mix=70", -50)]
)
def test_drift_is_found_and_undone(text, parts_per_million):
    dry = music(30)
    wet = resample(late(wet_of(text, dry)), 1_000_000, 1_000_000 + parts_per_million)
    found = align(dry, wet, RATE)
    assert found.drift * 1e6 == pytest.approx(parts_per_million, abs=8)
    assert abs(found.latency - LATE) < 1e-3 * RATE
    steady = align(dry, undo_drift(wet, found.drift), RATE)
    assert steady.drift == 0
    assert steady.latency == found.latency


def test_dropped_samples_are_not_drift():
    dry = music(30)
    wet = late(wet_of("overdrive", dry))
    half = wet.size // 2
    found = align(dry, np.concatenate([wet[:half], wet[half + 200 :]]), RATE)
    assert (found.drift, found.jump) == (0.0, -200)


def test_other_performances_are_not_aligned():
    for seed in (1, 2):
        assert align(DRY, music(seed=seed), RATE) is None
    assert align(DRY, np.zeros_like(DRY), RATE) is None


def test_a_shifted_pitch_is_aligned_by_its_levels():
    found = align(DRY, wet_of("pitch-shift:semitones=3"), RATE)
    assert not found.is_sharp
    assert abs(found.latency) <= 0.02 * RATE


def few_notes(seconds=3.0, seed=3):
    """Decaying tones without noise: the impulse response between two copies has high lobes."""
    rng = np.random.default_rng(seed)
    audio = np.zeros(round(seconds * RATE))
    for start in range(0, audio.size - RATE, RATE // 2):
        time = np.arange(RATE) / RATE
        pitch = 110 * 2 ** (rng.integers(0, 12) / 12)
        note = sum(np.sin(2 * np.pi * pitch * k * time) / k**2 for k in range(1, 9))
        audio[start : start + RATE] += 0.2 * note * np.exp(-5 * time)
    return audio.astype(np.float32)


def without_treble(dry):
    return resample(resample(dry, RATE, 4000), 4000, RATE)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "dry",
    [few_notes(), without_treble(music()), without_treble(few_notes())],
    ids=["few notes", "no treble", "both"],
)
def test_lobes_of_the_correlation_are_not_the_direct_sound(dry, sign):
    found = align(dry, late(sign * dry), RATE)
    assert (found.latency, found.is_inverted) == (LATE, sign < 0)
    distorted = np.tanh(8 * dry / np.abs(dry).max())
    found = align(dry, late(sign * distorted), RATE)
    assert abs(found.latency - LATE) <= 1e-3 * RATE
    assert found.is_inverted == (sign < 0)


@pytest.mark.parametrize("parts_per_million", [-100, 100])
def test_drift_is_found_in_short_recordings(parts_per_million):
    dry = music(8)
    wet = resample(late(dry), 1_000_000, 1_000_000 + parts_per_million)
    found = align(dry, wet, RATE)
    assert found.drift * 1e6 == pytest.approx(parts_per_million, abs=20)
    assert not found.is_inverted


@pytest.mark.parametrize("text", ["clean", "overdrive", "delay:mix=70", "reverb:mix=60", "chorus"])
def test_parts_of_an_aligned_recording_have_its_latency(text):
    wet = late(wet_of(text))
    assert is_consistent(DRY, wet, align(DRY, wet, RATE), RATE)


@pytest.mark.parametrize("text", ["clean", "delay:mix=70"])
def test_an_alignment_at_another_speed_is_noticed(text):
    dry = music(8, 5)
    wet = resample(late(wet_of(text, dry)), 1_000_000, 1_000_500)
    found = align(dry, wet, RATE)
    assert found.drift == 0  # not found: so large a drift blurs the response
    assert not is_consistent(dry, wet, found, RATE)
