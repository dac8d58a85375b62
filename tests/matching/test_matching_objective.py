"""Check the distance of the search, which ignores the level and has a noise floor."""

import numpy as np
import pytest
from synthetic_notes import synthetic_notes

from dafxtool.matching.objective import Objective, outer_distance


@pytest.mark.parametrize("gain", [0.1, 1.0, 4.0])
def test_the_distance_ignores_the_level(gain):
    audio = synthetic_notes()
    assert Objective(audio).distance(gain * audio) == pytest.approx(0, abs=1e-5)
    assert outer_distance(gain * audio, audio) == pytest.approx(0, abs=1e-4)


def test_noise_below_the_floor_does_not_count():
    audio = synthetic_notes()
    noise = np.random.default_rng(1).standard_normal(audio.size).astype(np.float32)
    quiet, loud = audio + 1e-6 * noise, audio + 1e-2 * noise
    objective = Objective(audio)
    assert objective.distance(quiet) < 2e-3
    assert objective.distance(loud) > 50 * objective.distance(quiet)


def test_samples_before_the_start_do_not_count():
    audio = synthetic_notes()
    changed = audio.copy()
    changed[:20_000] = 0.3
    assert Objective(audio, start=20_000).distance(changed) == 0
    assert Objective(audio).distance(changed) > 0


def test_bins_above_the_highest_frequency_do_not_count():
    audio = synthetic_notes()
    tone = 0.05 * np.sin(2 * np.pi * 11_000 / 24_000 * np.arange(audio.size))
    with_tone = (audio + tone).astype(np.float32)
    assert Objective(audio).distance(with_tone) > 3 * Objective(audio, highest=0.8).distance(
        with_tone
    )


def test_silence_has_a_finite_distance():
    audio = synthetic_notes()
    assert np.isfinite(Objective(audio).distance(np.zeros_like(audio)))
    assert np.isfinite(outer_distance(np.zeros_like(audio), audio))
