"""Recognise audio that an effect left as it was."""

from __future__ import annotations

import numpy as np
import pytest

from dafxtool.audio.level import is_same_audio

N_SAMPLES = 8000


def noise(seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, N_SAMPLES).astype(np.float32)


def with_difference(difference_db):
    """Return audio with uncorrelated noise at a level relative to it."""
    return noise() + np.float32(10 ** (difference_db / 20)) * noise(1)


@pytest.mark.parametrize(
    ("difference_db", "is_same"), [(-120, True), (-81, True), (-79, False), (-40, False)]
)
def test_the_limit_is_80_db_below_the_audio(difference_db, is_same):
    assert is_same_audio(noise(), with_difference(difference_db)) is is_same


@pytest.mark.parametrize("gain", [1e-6, 0.5, 3.0, -1.0])
def test_level_and_sign_are_no_difference(gain):
    assert is_same_audio(noise(), noise() * np.float32(gain))
    assert not is_same_audio(noise(), with_difference(-60) * np.float32(gain))


def test_only_a_known_latency_is_no_difference():
    late = np.concatenate([np.zeros(37, np.float32), noise()[:-37]])
    assert is_same_audio(noise(), late, (0, 37))
    assert not is_same_audio(noise(), late)
    assert not is_same_audio(noise(), late, (0, 36, N_SAMPLES, -1))


def test_silence_is_not_the_same_as_anything():
    silence = np.zeros(N_SAMPLES, np.float32)
    assert not is_same_audio(silence, silence)
    assert not is_same_audio(noise(), silence) and not is_same_audio(silence, noise())
