"""Phase retrieval: projections, fixed points and the convergence of the methods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dafxtool.config import SpectrogramConfig
from dafxtool.errors import ConfigError, InputError
from dafxtool.spectrogram.fast_stft import FastStft
from dafxtool.spectrogram.metrics import multi_resolution_distance
from dafxtool.spectrogram.pghi import hann_gamma, pghi_phase
from dafxtool.spectrogram.phase_retrieval import (
    METHODS,
    RaarSchedule,
    griffin_lim,
    invert,
    project_onto_magnitudes,
    raar,
    spectral_convergence_db,
)
from dafxtool.spectrogram.stft import istft, magnitude, stft

CONFIG = SpectrogramConfig(n_samples=24_000)
SIZES = ((2048, 512, 2048), (4096, 2048, 4096), (4096, 1024, 2048), (512, 100, 401))


def sized(n_fft: int, hop_length: int, window_length: int) -> SpectrogramConfig:
    return replace(CONFIG, n_fft=n_fft, hop_length=hop_length, window_length=window_length)


def plucks(n_samples: int = 24_000) -> np.ndarray:
    """Return two notes like those of a plucked string: higher partials decay faster."""
    time_s = np.arange(n_samples) / CONFIG.sample_rate
    audio = np.zeros(n_samples)
    for onset_s, pitch_hz in ((0.02, 196.0), (0.45, 261.6)):
        elapsed_s = np.maximum(time_s - onset_s, 0)
        for partial in range(1, 16):
            sine = np.sin(2 * np.pi * partial * pitch_hz * elapsed_s)
            audio += 0.2 / partial * sine * np.exp(-(2 + partial) * elapsed_s)
    return audio.astype(np.float32)


def noise(*shape: int) -> np.ndarray:
    return (0.3 * np.random.default_rng(1).standard_normal(shape)).astype(np.float32)


def spectrum_of_noise(transform: FastStft) -> torch.Tensor:
    real, imaginary = torch.from_numpy(noise(2, transform.n_frames, transform.config.n_bins))
    return torch.complex(real, imaginary)


def error_db(result, expected) -> float:
    result, expected = np.asarray(result), np.asarray(expected)
    return 20 * np.log10(np.linalg.norm(result - expected) / np.linalg.norm(expected) + 1e-15)


@pytest.mark.parametrize("n_samples", [24_000, 12_345, 3000, 700, 1])
@pytest.mark.parametrize("sizes", SIZES)
def test_fast_stft_equals_stft_and_is_inverted(sizes, n_samples):
    config = sized(*sizes)
    transform, audio = FastStft(config, n_samples), torch.from_numpy(noise(n_samples))
    expected = stft(audio, config).transpose(0, 1)
    result = transform.analyse(audio)
    np.testing.assert_allclose(result.abs(), expected.abs(), atol=2e-4)
    shifted = torch.polar(expected.abs(), transform.shift_phase(expected.angle()))
    np.testing.assert_allclose(shifted, result, atol=2e-3)
    last = 30 if 2 * config.hop_length == config.window_length else 0  # in no frame
    np.testing.assert_allclose(
        transform.synthesise(result)[: n_samples - last], audio[: n_samples - last], atol=1e-3
    )


def test_fast_stft_accepts_batches():
    transform, audio = FastStft(CONFIG, 5000), torch.from_numpy(noise(3, 5000))
    spectrum = transform.analyse(audio)
    assert spectrum.shape == (3, 10, 1025)
    np.testing.assert_allclose(spectrum[1], transform.analyse(audio[1]), atol=1e-4)
    np.testing.assert_allclose(transform.synthesise(spectrum), audio, atol=1e-5)


@pytest.mark.parametrize("sizes", SIZES)
def test_projections_are_idempotent(sizes):
    transform = FastStft(sized(*sizes), 12_000)
    spectrum = spectrum_of_noise(transform)
    target = spectrum.abs().flip(0)
    for project in (transform.project, lambda each: project_onto_magnitudes(each, target)):
        once = project(spectrum)
        assert error_db(project(once), once) < -100
        assert error_db(once, spectrum) > -20  # the projection changed the spectrum


@pytest.mark.parametrize("sizes", SIZES)
def test_the_projection_is_orthogonal(sizes):
    """The residual is orthogonal to the spectrum of any audio, so no audio is nearer."""
    config = sized(*sizes)
    transform = FastStft(config, 12_000)
    spectrum = spectrum_of_noise(transform)
    spectrum[:, 0].imag.zero_()  # as in the transform of real audio
    spectrum[:, -1].imag.zero_()
    residual = spectrum - transform.project(spectrum)
    other = transform.analyse(torch.from_numpy(noise(12_000)))
    weights = torch.full((config.n_bins,), 2.0)  # negative frequencies count, too
    weights[[0, -1]] = 1.0

    def product(one: torch.Tensor, two: torch.Tensor) -> float:
        return float((weights * (one * two.conj()).real).double().sum())

    limit = 1e-4 * (product(residual, residual) * product(other, other)) ** 0.5
    assert abs(product(residual, other)) < limit


def test_iterations_accept_batches():
    transform, steps = FastStft(CONFIG, 5000), METHODS["fast"].raar
    target = transform.analyse(torch.from_numpy(noise(3, 5000))).abs()
    first = torch.polar(target, target.flip(1))

    def inverted(first: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return griffin_lim(raar(first, target, transform, 4, steps), target, transform, 2)

    batch = inverted(first, target)
    for row in range(3):
        assert error_db(batch[row], inverted(first[row], target[row])) < -60


def test_the_spectrum_of_audio_is_a_fixed_point():
    transform, audio = FastStft(CONFIG, 24_000), torch.from_numpy(plucks())
    spectrum = transform.analyse(audio)
    target = spectrum.abs()
    steps = RaarSchedule(b=0.95, last_b=0.95, g=1.6)
    assert error_db(raar(spectrum, target, transform, 5, steps), spectrum) < -90
    assert error_db(griffin_lim(spectrum, target, transform, 5), audio) < -90


@pytest.mark.parametrize("sizes", SIZES)
def test_raar_equals_the_formula(sizes):
    """Compare with Luke's formula in terms of both projections."""
    transform = FastStft(sized(*sizes), 12_000)
    spectrum = spectrum_of_noise(transform)
    target = transform.analyse(torch.from_numpy(plucks(12_000))).abs()
    steps = RaarSchedule(b=1.05, last_b=0.8, g=1.7)
    plain, before = spectrum, spectrum.clone()
    for b in np.linspace(steps.b, steps.last_b, 4).tolist():
        near = project_onto_magnitudes(plain, target)
        beyond = transform.project((1 + steps.g) * near - steps.g * plain)
        plain = b * (plain + beyond) + (1 - 2 * b) * near
    result = raar(spectrum, target, transform, 4, steps)
    assert error_db(result, project_onto_magnitudes(plain, target)) < -50
    assert error_db(result, project_onto_magnitudes(spectrum, target)) > -10  # they did travel
    torch.testing.assert_close(spectrum, before, rtol=0, atol=0)


def test_momentum_on_the_audio_is_momentum_on_the_spectrum():
    transform = FastStft(CONFIG, 9000)
    spectrum = spectrum_of_noise(transform)
    target = transform.analyse(torch.from_numpy(plucks(9000))).abs()
    ahead = last = transform.project(spectrum)
    for _ in range(3):
        now = transform.project(project_onto_magnitudes(ahead, target))
        ahead, last = now + 0.99 * (now - last), now
    result = transform.analyse(griffin_lim(spectrum, target, transform, 3))
    assert error_db(result, last) < -60


def test_results_are_written_to_out_and_kept():
    transform = FastStft(CONFIG, 5000)
    first, second = (transform.analyse(torch.from_numpy(noise(2, 5000)[each])) for each in (0, 1))
    selected, audio = first.clone(), torch.empty(5000)
    expected = transform.synthesise(first)
    assert transform.synthesise(first, audio) is audio
    transform.synthesise(second)
    torch.testing.assert_close(first, selected, rtol=0, atol=0)
    torch.testing.assert_close(audio, expected, rtol=0, atol=0)
    target = second.abs()
    expected = project_onto_magnitudes(first, target)
    assert project_onto_magnitudes(first, target, first) is first
    torch.testing.assert_close(first, expected, rtol=0, atol=0)


@pytest.mark.parametrize("sizes", SIZES)
def test_the_true_phase_recovers_the_audio(sizes):
    config, audio = sized(*sizes), plucks()
    target = magnitude(audio, config)
    result = invert(target, config, 24_000, phase_from=audio)
    assert error_db(result.audio, audio) < -60
    assert result.convergence_db < -80
    named = invert(target, config, 24_000, iterations=0, phase=stft(audio, config).angle())
    assert error_db(named.audio, audio) < -80


@pytest.mark.parametrize("sizes", SIZES[:3])
def test_fast_converges_much_better_than_griffin_lim(sizes):
    config, audio = sized(*sizes), plucks()
    target = magnitude(audio, config)
    reference = invert(target, config, 24_000, "griffin-lim").convergence_db
    result = invert(target, config, 24_000)
    assert result.method == "fast"
    assert result.convergence_db < min(-25, reference - 5)


def test_best_converges_better_than_fast():
    target = magnitude(plucks(), CONFIG)
    fast, best = (invert(target, CONFIG, method=name).convergence_db for name in ("fast", "best"))
    assert best < fast - 2


def test_griffin_lim_converges_like_torchaudio():
    from torchaudio.transforms import GriffinLim

    target = magnitude(plucks(), CONFIG)
    torch.manual_seed(0)
    theirs = GriffinLim(2048, n_iter=32, hop_length=512, power=1, length=24_000)(target)
    expected = spectral_convergence_db(theirs, target, CONFIG)
    result = invert(target, CONFIG, 24_000, "griffin-lim").convergence_db
    assert result == pytest.approx(expected, abs=2)


def test_the_phase_of_the_dry_recording_improves_the_result():
    dry = plucks()
    wet = np.tanh(4 * dry).astype(np.float32)
    target = magnitude(wet, CONFIG)
    blind, known = (invert(target, CONFIG, 24_000, phase_from=each) for each in (None, dry))
    assert known.convergence_db < blind.convergence_db
    assert error_db(known.audio, wet) < -20 < error_db(blind.audio, wet)


def test_a_known_phase_needs_fewer_iterations():
    dry, fast = plucks(9000), METHODS["fast"]
    target = magnitude(dry, CONFIG)
    blind, known = (invert(target, CONFIG, 9000, phase_from=each) for each in (None, dry))
    assert (blind.iterations, known.iterations) == (fast.iterations, fast.known_iterations)
    assert invert(target, CONFIG, 9000, iterations=3, phase_from=dry).iterations == 3


def test_the_pghi_phase_is_far_better_than_a_random_one():
    target = magnitude(plucks(), CONFIG)
    random, gradient = (
        invert(target, CONFIG, method=name, iterations=0) for name in ("griffin-lim", "fast")
    )
    assert gradient.convergence_db < random.convergence_db - 8


@pytest.mark.parametrize("frequency_hz", [1000.0, 1003.7, 4321.0])
@pytest.mark.parametrize("sizes", SIZES[:3])
def test_the_pghi_phase_advances_at_the_frequency_of_a_tone(sizes, frequency_hz):
    config = sized(*sizes)
    angle = 2 * np.pi * frequency_hz * np.arange(24_000) / config.sample_rate
    target = magnitude(np.sin(angle), config).T.contiguous().numpy()
    phase = pghi_phase(target, config)
    peak = round(frequency_hz * config.n_fft / config.sample_rate)
    advance = np.diff(phase[4:-4, peak].astype(np.float64))
    expected = 2 * np.pi * frequency_hz * config.hop_length / config.sample_rate
    assert np.abs(np.angle(np.exp(1j * (advance - expected)))).max() < 0.15


def test_the_gaussian_for_a_hann_window_is_the_published_one():
    assert hann_gamma(CONFIG) == pytest.approx(0.25645 * 2048**2, rel=2e-3)


def test_decoded_magnitudes_are_inverted_no_worse_than_by_griffin_lim():
    """Magnitudes blurred and noisy, like a decoder's, are the STFT of no audio."""
    clean = magnitude(plucks(), CONFIG).numpy()
    blurred = np.stack([np.convolve(row, [0.25, 0.5, 0.25], "same") for row in clean])
    decoded = blurred * np.exp(0.3 * noise(*clean.shape))
    reference = invert(decoded, CONFIG, method="griffin-lim").convergence_db
    result = invert(decoded, CONFIG, consistent=False).convergence_db
    assert result < reference


def test_few_iterations_keep_a_known_phase_that_decoded_magnitudes_would_move():
    """Measured beside other STFTs than the one that was inverted."""
    audio = plucks()
    clean = magnitude(audio, CONFIG).numpy()
    decoded = clean * np.exp(0.3 * noise(*clean.shape))
    few, many = (
        invert(decoded, CONFIG, len(audio), "fast", n, phase_from=audio, consistent=False)
        for n in (None, 48)
    )
    assert few.iterations < many.iterations
    distances = [multi_resolution_distance(each.audio, audio) for each in (few, many)]
    assert distances[0] < distances[1]


def test_the_same_seed_gives_the_same_audio():
    target = magnitude(noise(9000), CONFIG)
    first, repeated, other = (
        invert(target, CONFIG, 9000, iterations=4, seed=seed).audio for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, repeated)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("method", METHODS)
def test_silence_stays_silence(method):
    result = invert(np.zeros((1025, 10), np.float32), CONFIG, 5000, method)
    assert result.audio.shape == (5000,)
    assert not result.audio.any()


def test_silent_frames_between_notes_stay_silent():
    audio = np.concatenate([plucks(8192), np.zeros(16_384, np.float32), plucks(8192)])
    result = invert(magnitude(audio, CONFIG), CONFIG, len(audio)).audio
    assert np.abs(result[8192 + 2048 : -8192 - 2048]).max() < 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_samples", [1, 2, 511, 1023, 1025, 2047, 7777])
def test_inversion_of_short_and_odd_lengths(method, n_samples):
    target = magnitude(0.1 + noise(n_samples), CONFIG)
    result = invert(target, CONFIG, n_samples, method, iterations=8)
    assert result.audio.shape == (n_samples,)
    assert result.audio.dtype == np.float32
    assert result.convergence_db < -3
    convergence_db = spectral_convergence_db(result.audio, target, CONFIG)
    assert convergence_db == pytest.approx(result.convergence_db, abs=0.05)


@pytest.mark.parametrize("gain", [1e-12, 1e12])
def test_a_gain_of_the_magnitude_is_a_gain_of_the_audio(gain):
    target = magnitude(plucks(8000), CONFIG)
    result = invert(target * gain, CONFIG, 8000, iterations=4).audio / gain
    assert error_db(result, invert(target, CONFIG, 8000, iterations=4).audio) < -60


def test_negative_values_count_as_silence():
    target = magnitude(plucks(9000), CONFIG).numpy()
    holes = target < np.median(target)
    result, expected = (
        invert(np.where(holes, value, target), CONFIG, 9000, iterations=4).audio
        for value in (-1.0, 0.0)
    )
    np.testing.assert_array_equal(result, expected)


def test_the_length_follows_from_the_frames():
    assert len(invert(np.ones((1025, 47), np.float32), CONFIG, iterations=0).audio) == 24_000
    assert len(invert(np.ones((1025, 11), np.float32), CONFIG, iterations=0).audio) == 5120


def test_numpy_arrays_and_transposed_tensors_are_accepted():
    target = magnitude(plucks(5000), CONFIG)
    one = invert(target, CONFIG, 5000, iterations=2).audio
    two = invert(target.contiguous().numpy(), CONFIG, 5000, iterations=2).audio
    np.testing.assert_array_equal(one, two)


def test_the_convergence_equals_the_formula():
    audio = plucks(9000)
    target = magnitude(audio, CONFIG)
    assert spectral_convergence_db(audio, 2 * target, CONFIG) == pytest.approx(-6.0206, abs=1e-3)
    assert spectral_convergence_db(0 * audio, target, CONFIG) == pytest.approx(0, abs=1e-6)
    half = istft(stft(audio, CONFIG) * 0.5, CONFIG, 9000)
    assert spectral_convergence_db(half, target, CONFIG) == pytest.approx(-6.0206, abs=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_undefined_magnitudes_are_refused(value):
    wrong = np.ones((1025, 5), np.float32)
    wrong[3, 2] = value
    with pytest.raises(InputError, match="infinite or NaN"):
        invert(wrong, CONFIG)


def test_unusable_arguments_are_reported():
    target = np.ones((1025, 5), np.float32)
    with pytest.raises(InputError, match=r"magnitude: .*expected \(1025, n_frames\)"):
        invert(target.T, CONFIG)
    with pytest.raises(InputError, match=r"n_samples: .*found 2560, expected 2048 to 2559"):
        invert(target, CONFIG, 2560)
    with pytest.raises(InputError, match=r"iterations: .*found -1"):
        invert(target, CONFIG, iterations=-1)
    with pytest.raises(InputError, match=r"phase_from: .*expected finite \(2048,\)"):
        invert(target, CONFIG, 2048, phase_from=np.ones(2047))
    with pytest.raises(InputError, match=r"phase: .*expected finite \(1025, 5\)"):
        invert(target, CONFIG, phase=np.ones((5, 1025)))
    with pytest.raises(InputError, match="Choose one"):
        invert(target, CONFIG, 2048, phase=target, phase_from=np.ones(2048))
    with pytest.raises(ConfigError, match="griffin-lim, fast, best"):
        invert(target, CONFIG, method="quick")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_converges_like_the_cpu():
    target = magnitude(plucks(), CONFIG)
    here, there = (invert(target, CONFIG, 24_000, device=each) for each in ("cpu", "cuda"))
    assert there.convergence_db == pytest.approx(here.convergence_db, abs=1.5)
