"""Distances between recordings and between spectrograms, levels and mel features."""

import numpy as np
import pytest

from dafxtool.audio.level import level_db
from dafxtool.evaluation.features import mel_features
from dafxtool.spectrogram.metrics import (
    LOWEST_MAGNITUDE,
    RESOLUTIONS,
    log_spectral_distance_db,
    multi_resolution_distance,
)

RATE = 24_000


def noise(seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(RATE).astype(np.float32)


@pytest.mark.parametrize("gain_db", [-12.0, 3.0])
def test_log_spectral_distance_of_a_gain_equals_the_gain(gain_db):
    magnitude = np.random.default_rng(0).uniform(0.1, 1, (2, 33, 9)).astype(np.float32)
    result = log_spectral_distance_db(magnitude * 10 ** (gain_db / 20), magnitude)
    np.testing.assert_allclose(result, abs(gain_db), rtol=1e-4)


def test_bins_far_below_the_loudest_one_are_not_compared():
    magnitude = np.full((33, 9), 1e-6, dtype=np.float32)
    magnitude[5] = 1.0
    other = magnitude.copy()
    other[6:] = 1e-9
    assert log_spectral_distance_db(other, magnitude) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("n_samples", [200, 512, 513, 960, 1025])
def test_audio_shorter_than_a_window_has_finite_distances(n_samples):
    audio = noise()[:n_samples]
    assert multi_resolution_distance(audio, audio) == 0.0
    assert np.isfinite(multi_resolution_distance(0.5 * audio, audio))
    assert np.isfinite(mel_features(audio[None, None], RATE)).all()


@pytest.mark.parametrize("n_samples", [100, 700, RATE + 1])
def test_multi_resolution_distance_equals_that_of_torch(n_samples):
    torch = pytest.importorskip("torch")
    audio, other = noise()[:n_samples], noise(1)[:n_samples] ** 3
    audio, other = np.resize(audio, n_samples), np.resize(other, n_samples)
    expected = []
    for n_fft, hop, window in RESOLUTIONS:
        mode = "reflect" if n_samples > n_fft // 2 else "constant"
        estimate, target = (
            torch.stft(
                torch.from_numpy(x),
                n_fft,
                hop,
                window,
                torch.hann_window(window),
                pad_mode=mode,
                return_complex=True,
            )
            .abs()
            .clamp_min(LOWEST_MAGNITUDE)
            for x in (audio, other)
        )
        convergence = torch.linalg.norm(target - estimate) / torch.linalg.norm(target)
        expected.append(float(convergence + (target.log() - estimate.log()).abs().mean()))
    found = multi_resolution_distance(audio, other)
    assert found == pytest.approx(np.mean(expected), rel=1e-4)


def test_multi_resolution_distance_of_a_gain():
    """A gain g gives a convergence of 1 - g and a log-magnitude difference of log(1 / g)."""
    audio = noise()
    assert multi_resolution_distance(audio, audio) == 0.0
    result = multi_resolution_distance(0.5 * audio, audio)
    assert result == pytest.approx(0.5 + np.log(2), rel=1e-2)
    assert multi_resolution_distance(noise(1), audio) > result / 2


def test_level_is_of_the_root_mean_square():
    time_s = np.arange(RATE) / RATE
    sine = np.sin(2 * np.pi * 100 * time_s).astype(np.float32)
    np.testing.assert_allclose(level_db(np.stack([sine, 0.1 * sine])), [-3.01, -23.01], atol=0.01)
    assert level_db(np.zeros(10, np.float32)) == -120


def test_mel_features_contain_mean_and_std():
    steady = mel_features(np.stack([noise(), noise()])[None], RATE)
    assert steady.shape == (1, 2 * 128)
    np.testing.assert_array_equal(steady[:, :128], steady[:, 128:])
    assert np.isfinite(mel_features(np.zeros((1, 2, RATE), np.float32), RATE)).all()
