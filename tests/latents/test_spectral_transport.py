"""Check the fit and the interpolation of filters on known filters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dafxtool.config import SpectrogramConfig
from dafxtool.errors import InputError
from dafxtool.latents.spectral_transport import (
    FilterFit,
    Filters,
    interpolate_filters,
    move_mass,
    transport,
)
from dafxtool.spectrogram.stft import compress, magnitude

CONFIG = SpectrogramConfig(n_samples=32_768, n_fft=512, hop_length=256, window_length=512)


@pytest.fixture(scope="module")
def power():
    """Return power (257, 129) of short partials, with noise far below them."""
    rng = np.random.default_rng(4)
    values = 1e-4 * rng.exponential(size=CONFIG.shape)
    for _ in range(60):
        first = rng.integers(0, 120)
        values[rng.integers(3, 250), first : first + rng.integers(2, 9)] += rng.exponential()
    return values.astype(np.float32)


def filters(power, lags=None, shifts=None, direct=0.6):
    """Return filters with these gains at these lags (frames) and shifts (bins)."""
    fit = FilterFit(power, CONFIG)
    result = Filters(np.zeros(fit.n_lags), np.zeros(fit.n_shifts))
    result.lags[0] = direct
    for lag, mass in (lags or {}).items():
        result.lags[lag] = mass
    for shift, mass in (shifts or {}).items():
        result.shifts[shift - result.first_shift] = mass
    return result


def test_a_filter_is_estimated_from_its_output(power):
    true = filters(power, {6: 0.3, 12: 0.1}, {20: 0.2})
    (estimate,) = FilterFit(power, CONFIG).fit(true.apply(power))
    np.testing.assert_allclose(estimate.lags, true.lags, atol=0.01)
    np.testing.assert_allclose(estimate.shifts, true.shifts, atol=0.01)


def test_one_mass_moves_to_the_middle_of_the_logarithm():
    positions = np.arange(1, 33)
    a, b = np.zeros(32), np.zeros(32)
    a[4 - 1], b[16 - 1] = 0.5, 0.5
    middle = move_mass(a, b, positions, 0.5)
    assert positions[np.argmax(middle)] == 8
    np.testing.assert_allclose(middle.sum(), 0.5)
    np.testing.assert_allclose(middle[8 - 1], 0.5, rtol=1e-6)


def test_two_echoes_keep_their_order_and_their_levels():
    positions = np.arange(1, 65)
    a, b = np.zeros(64), np.zeros(64)
    a[[4 - 1, 8 - 1]] = 0.3, 0.1
    b[[16 - 1, 32 - 1]] = 0.3, 0.1
    middle = move_mass(a, b, positions, 0.5)
    np.testing.assert_allclose(middle[[8 - 1, 16 - 1]], [0.3, 0.1], rtol=1e-6)


@pytest.mark.parametrize("t", [0.0, 1.0])
def test_the_ends_are_the_given_filters(power, t):
    a = filters(power, {3: 0.2, 9: 0.05}, {11: 0.1}, direct=0.4)
    b = filters(power, {20: 0.4}, {25: 0.3, 40: 0.1}, direct=0.8)
    result, expected = interpolate_filters(a, b, t), (a, b)[int(t)]
    np.testing.assert_allclose(result.lags, expected.lags, atol=1e-9)
    np.testing.assert_allclose(result.shifts, expected.shifts, atol=1e-9)


def test_mass_at_one_end_only_fades_in_amplitude(power):
    result = interpolate_filters(filters(power, {5: 0.4}), filters(power), 0.5)
    assert result.lags[5] == pytest.approx(0.1)
    assert result.lags[1:].sum() == pytest.approx(0.1)


def test_equal_filters_do_not_change(power):
    same = filters(power, {5: 0.4, 6: 0.1}, {30: 0.2})
    np.testing.assert_allclose(interpolate_filters(same, same, 0.3).lags, same.lags, atol=1e-9)


@pytest.mark.parametrize(
    "ends, middle",
    [
        (({"lags": {6: 0.5}}, {"lags": {24: 0.5}}), {"lags": {12: 0.5}}),
        (({"shifts": {10: 0.5}}, {"shifts": {40: 0.5}}), {"shifts": {20: 0.5}}),
    ],
    ids=["echo", "ring modulator"],
)
def test_the_middle_has_one_echo_and_not_two(power, ends, middle):
    dry, a, b, truth = (
        np.sqrt(each)
        for each in (power, *(filters(power, **e).apply(power) for e in (*ends, middle)))
    )
    steps = transport(dry, a, b, np.float32([0, 0.5, 1]), CONFIG)
    np.testing.assert_allclose(steps[0], a, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(steps[2], b, rtol=1e-3, atol=1e-4)
    law = [compress(each, CONFIG).numpy() for each in (a, b, truth, steps[1])]
    cross_fade = np.mean(np.square((law[0] + law[1]) / 2 - law[2]))
    assert np.mean(np.square(law[3] - law[2])) < 0.1 * cross_fade


def test_spectrograms_without_a_filter_model_are_cross_faded():
    rng = np.random.default_rng(2)
    dry, a, b = rng.exponential(size=(3, *CONFIG.shape)).astype(np.float32)
    middle = transport(dry, a, b, np.float32([0.5]), CONFIG)[0]
    law = [compress(each, CONFIG).numpy() for each in (a, b, middle)]
    assert np.abs(law[2] - (law[0] + law[1]) / 2).mean() < 0.02 * np.abs(law[0] - law[1]).mean()


@pytest.mark.parametrize("exponent", [0.3, 1.0])
def test_a_late_start_gives_no_loud_bins(exponent):
    """The gains of lags that only reach silence are arbitrary and must not be audible."""
    config = replace(CONFIG, exponent=exponent)
    time_s = np.arange(CONFIG.n_samples) / CONFIG.sample_rate
    for seed in range(6):
        rng = np.random.default_rng(seed)
        audio = sum(
            np.sin(2 * np.pi * rng.uniform(80, 9000) * time_s + rng.uniform(0, 6)) for _ in range(9)
        )
        late = int(0.85 * CONFIG.n_samples)
        audio = np.where(np.arange(CONFIG.n_samples) < late, 0, audio)
        audio = audio * np.exp(-6 * np.maximum(0, time_s - time_s[late]))
        dry, a, b = (
            magnitude(np.float32(audio + np.pad(0.5 * audio, (lag, 0))[: len(audio)]), config)
            for lag in (0, 600, 3000)
        )
        steps = transport(dry.numpy(), a.numpy(), b.numpy(), np.float32([0.25, 0.5]), config)
        assert steps.max() <= 1.1 * max(float(a.max()), float(b.max()))


@pytest.mark.parametrize("level", [1e-12, 1e-20])
def test_audio_after_near_silence(power, level):
    power = power.copy()
    power[:, :80] *= level
    dry, a, b = (np.sqrt(filters(power, lags).apply(power)) for lags in ({}, {4: 0.5}, {16: 0.5}))
    middle = transport(dry, a, b, np.float32([0.5]), CONFIG)
    assert np.isfinite(middle).all()


def test_a_failed_fit_gives_a_cross_fade(power, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("too many iterations")

    monkeypatch.setattr("dafxtool.latents.spectral_transport.nnls", fails)
    a, b = (np.sqrt(filters(power, lags).apply(power)) for lags in ({4: 0.5}, {16: 0.5}))
    middle = transport(np.sqrt(power), a, b, np.float32([0.5]), CONFIG)[0]
    law = [compress(each, CONFIG).numpy() for each in (a, b, middle)]
    np.testing.assert_allclose(law[2], (law[0] + law[1]) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_bins, n_frames", [(3, 4), (5, 1), (33, 2)])
def test_small_spectrograms(n_bins, n_frames):
    config = SpectrogramConfig(
        n_samples=64, n_fft=2 * (n_bins - 1), hop_length=1, window_length=2 * (n_bins - 1)
    )
    rng = np.random.default_rng(1)
    dry, a, b = rng.exponential(size=(3, n_bins, n_frames)).astype(np.float32)
    assert np.isfinite(transport(dry, a, b, np.float32([0, 0.4, 1]), config)).all()


def test_silence_stays_silence():
    silence = np.zeros(CONFIG.shape, np.float32)
    assert not transport(silence, silence, silence, np.float32([0, 0.5, 1]), CONFIG).any()


def test_other_shapes_are_refused():
    ones = np.ones(CONFIG.shape, np.float32)
    with pytest.raises(InputError, match="not of one recording"):
        transport(ones, ones[:, 1:], ones, np.float32([0.5]), CONFIG)
