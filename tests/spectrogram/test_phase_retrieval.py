"""Inverting magnitudes: what projections and fixed points have to be, and how near methods get."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dafxtool.config import SpectrogramConfig
from dafxtool.errors import ConfigError, InputError
from dafxtool.spectrogram.pghi import hann_gamma, pghi_phase
from dafxtool.spectrogram.phase_retrieval import (
    METHODS,
    Frames,
    RaarSchedule,
    griffin_lim,
    invert,
    onto_magnitudes,
    raar,
    spectral_convergence_db,
)
from dafxtool.spectrogram.stft import istft, magnitude, stft

CONFIG = SpectrogramConfig(n_samples=24_000)
SIZES = ((2048, 512, 2048), (4096, 2048, 4096), (4096, 1024, 2048), (512, 100, 401))


def sized(n_fft: int, hop_length: int, window_length: int) -> SpectrogramConfig:
    return replace(CONFIG, n_fft=n_fft, hop_length=hop_length, window_length=window_length)


def plucks(n_samples: int = 24_000) -> np.ndarray:
    """Two notes like those of a plucked string: partials that die away, higher ones sooner."""
    time_s = np.arange(n_samples) / CONFIG.sample_rate
    sound = np.zeros(n_samples)
    for begin_s, pitch_hz in ((0.02, 196.0), (0.45, 261.6)):
        since = np.maximum(time_s - begin_s, 0)
        for partial in range(1, 16):
            swing = np.sin(2 * np.pi * partial * pitch_hz * since)
            sound += 0.2 / partial * swing * np.exp(-(2 + partial) * since)
    return sound.astype(np.float32)


def noise(*shape: int) -> np.ndarray:
    return (0.3 * np.random.default_rng(1).standard_normal(shape)).astype(np.float32)


def spectrum_of_noise(frames: Frames) -> torch.Tensor:
    real, imaginary = torch.from_numpy(noise(2, frames.n_frames, frames.config.n_bins))
    return torch.complex(real, imaginary)


def error_db(found, wanted) -> float:
    found, wanted = np.asarray(found), np.asarray(wanted)
    return 20 * np.log10(np.linalg.norm(found - wanted) / np.linalg.norm(wanted) + 1e-15)


@pytest.mark.parametrize("n_samples", [24_000, 12_345, 3000, 700, 1])
@pytest.mark.parametrize("sizes", SIZES)
def test_frames_are_those_of_the_stft_and_go_back(sizes, n_samples):
    config = sized(*sizes)
    frames, sound = Frames(config, n_samples), torch.from_numpy(noise(n_samples))
    wanted = stft(sound, config).transpose(0, 1)
    found = frames.analyse(sound)
    np.testing.assert_allclose(found.abs(), wanted.abs(), atol=2e-4)
    turned = torch.polar(wanted.abs(), frames.turned(wanted.angle()))
    np.testing.assert_allclose(turned, found, atol=2e-3)
    last = 30 if 2 * config.hop_length == config.window_length else 0  # no frame tells these
    np.testing.assert_allclose(
        frames.synthesise(found)[: n_samples - last], sound[: n_samples - last], atol=1e-3
    )


def test_frames_take_batches():
    frames, sound = Frames(CONFIG, 5000), torch.from_numpy(noise(3, 5000))
    spectrum = frames.analyse(sound)
    assert spectrum.shape == (3, 10, 1025)
    np.testing.assert_allclose(spectrum[1], frames.analyse(sound[1]), atol=1e-4)
    np.testing.assert_allclose(frames.synthesise(spectrum), sound, atol=1e-5)


@pytest.mark.parametrize("sizes", SIZES)
def test_projecting_twice_is_projecting_once(sizes):
    frames = Frames(sized(*sizes), 12_000)
    spectrum = spectrum_of_noise(frames)
    target = spectrum.abs().flip(0)
    for project in (frames.project, lambda each: onto_magnitudes(each, target)):
        once = project(spectrum)
        assert error_db(project(once), once) < -100
        assert error_db(once, spectrum) > -20  # it did move


@pytest.mark.parametrize("sizes", SIZES)
def test_no_audio_is_nearer_than_the_projection(sizes):
    """The projection is orthogonal: what is left over stands upright on every audio's spectrum."""
    config = sized(*sizes)
    frames = Frames(config, 12_000)
    spectrum = spectrum_of_noise(frames)
    spectrum[:, 0].imag.zero_()  # the transform of real audio has none there
    spectrum[:, -1].imag.zero_()
    rest = spectrum - frames.project(spectrum)
    other = frames.analyse(torch.from_numpy(noise(12_000)))
    weights = torch.full((config.n_bins,), 2.0)  # a bin stands for its mirror image, too
    weights[[0, -1]] = 1.0

    def product(one: torch.Tensor, two: torch.Tensor) -> float:
        return float((weights * (one * two.conj()).real).double().sum())

    limit = 1e-4 * (product(rest, rest) * product(other, other)) ** 0.5
    assert abs(product(rest, other)) < limit


def test_iterations_take_batches():
    frames, steps = Frames(CONFIG, 5000), METHODS["fast"].reflections
    target = frames.analyse(torch.from_numpy(noise(3, 5000))).abs()
    first = torch.polar(target, target.flip(1))

    def inverted(first: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return griffin_lim(raar(first, target, frames, 4, steps), target, frames, 2)

    together = inverted(first, target)
    for row in range(3):
        assert error_db(together[row], inverted(first[row], target[row])) < -60


def test_a_true_spectrum_is_a_fixed_point_of_every_step():
    frames, sound = Frames(CONFIG, 24_000), torch.from_numpy(plucks())
    spectrum = frames.analyse(sound)
    target = spectrum.abs()
    steps = RaarSchedule(b=0.95, last_b=0.95, g=1.6)
    assert error_db(raar(spectrum, target, frames, 5, steps), spectrum) < -90
    assert error_db(griffin_lim(spectrum, target, frames, 5), sound) < -90


@pytest.mark.parametrize("sizes", SIZES)
def test_reflections_are_those_of_the_formula(sizes):
    """Luke's, with the projections as they are, though only one of them is ever worked out."""
    frames = Frames(sized(*sizes), 12_000)
    spectrum = spectrum_of_noise(frames)
    target = frames.analyse(torch.from_numpy(plucks(12_000))).abs()
    steps = RaarSchedule(b=1.05, last_b=0.8, g=1.7)
    plain, before = spectrum, spectrum.clone()
    for b in np.linspace(steps.b, steps.last_b, 4).tolist():
        near = onto_magnitudes(plain, target)
        beyond = frames.project((1 + steps.g) * near - steps.g * plain)
        plain = b * (plain + beyond) + (1 - 2 * b) * near
    found = raar(spectrum, target, frames, 4, steps)
    assert error_db(found, onto_magnitudes(plain, target)) < -50
    assert error_db(found, onto_magnitudes(spectrum, target)) > -10  # they did travel
    torch.testing.assert_close(spectrum, before, rtol=0, atol=0)


def test_momentum_on_the_audio_is_momentum_on_the_spectrum():
    frames = Frames(CONFIG, 9000)
    spectrum = spectrum_of_noise(frames)
    target = frames.analyse(torch.from_numpy(plucks(9000))).abs()
    ahead = last = frames.project(spectrum)
    for _ in range(3):
        now = frames.project(onto_magnitudes(ahead, target))
        ahead, last = now + 0.99 * (now - last), now
    found = frames.analyse(griffin_lim(spectrum, target, frames, 3))
    assert error_db(found, last) < -60


def test_results_go_where_they_are_wanted_and_last():
    frames = Frames(CONFIG, 5000)
    first, second = (frames.analyse(torch.from_numpy(noise(2, 5000)[each])) for each in (0, 1))
    kept, sound = first.clone(), torch.empty(5000)
    wanted = frames.synthesise(first)
    assert frames.synthesise(first, sound) is sound
    frames.synthesise(second)
    torch.testing.assert_close(first, kept, rtol=0, atol=0)
    torch.testing.assert_close(sound, wanted, rtol=0, atol=0)
    target = second.abs()
    wanted = onto_magnitudes(first, target)
    assert onto_magnitudes(first, target, first) is first
    torch.testing.assert_close(first, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("sizes", SIZES)
def test_the_true_phase_gives_the_signal_back(sizes):
    config, sound = sized(*sizes), plucks()
    target = magnitude(sound, config)
    found = invert(target, config, 24_000, phase_from=sound)
    assert error_db(found.audio, sound) < -60
    assert found.convergence_db < -80
    given = invert(target, config, 24_000, iterations=0, phase=stft(sound, config).angle())
    assert error_db(given.audio, sound) < -80


@pytest.mark.parametrize("sizes", SIZES[:3])
def test_fast_is_much_nearer_than_griffin_lim(sizes):
    config, sound = sized(*sizes), plucks()
    target = magnitude(sound, config)
    reference = invert(target, config, 24_000, "griffin-lim").convergence_db
    found = invert(target, config, 24_000)
    assert found.method == "fast"
    assert found.convergence_db < min(-25, reference - 5)


def test_best_is_nearer_than_fast():
    target = magnitude(plucks(), CONFIG)
    fast, best = (invert(target, CONFIG, method=name).convergence_db for name in ("fast", "best"))
    assert best < fast - 2


def test_griffin_lim_is_as_near_as_torchaudio_s():
    from torchaudio.transforms import GriffinLim

    target = magnitude(plucks(), CONFIG)
    torch.manual_seed(0)
    theirs = GriffinLim(2048, n_iter=32, hop_length=512, power=1, length=24_000)(target)
    wanted = spectral_convergence_db(theirs, target, CONFIG)
    found = invert(target, CONFIG, 24_000, "griffin-lim").convergence_db
    assert found == pytest.approx(wanted, abs=2)


def test_the_dry_recordings_phase_is_a_better_start_than_none():
    dry = plucks()
    wet = np.tanh(4 * dry).astype(np.float32)
    target = magnitude(wet, CONFIG)
    blind, known = (invert(target, CONFIG, 24_000, phase_from=each) for each in (None, dry))
    assert known.convergence_db < blind.convergence_db
    assert error_db(known.audio, wet) < -20 < error_db(blind.audio, wet)


def test_a_known_phase_is_a_shorter_way():
    dry, fast = plucks(9000), METHODS["fast"]
    target = magnitude(dry, CONFIG)
    blind, known = (invert(target, CONFIG, 9000, phase_from=each) for each in (None, dry))
    assert (blind.iterations, known.iterations) == (fast.iterations, fast.known_iterations)
    assert invert(target, CONFIG, 9000, iterations=3, phase_from=dry).iterations == 3


def test_a_start_from_the_gradient_is_far_nearer_than_a_random_one():
    target = magnitude(plucks(), CONFIG)
    random, gradient = (
        invert(target, CONFIG, method=name, iterations=0) for name in ("griffin-lim", "fast")
    )
    assert gradient.convergence_db < random.convergence_db - 8


@pytest.mark.parametrize("frequency_hz", [1000.0, 1003.7, 4321.0])
@pytest.mark.parametrize("sizes", SIZES[:3])
def test_the_gradient_s_phase_turns_at_the_frequency_of_a_tone(sizes, frequency_hz):
    config = sized(*sizes)
    turned = 2 * np.pi * frequency_hz * np.arange(24_000) / config.sample_rate
    target = magnitude(np.sin(turned), config).T.contiguous().numpy()
    phase = pghi_phase(target, config)
    peak = round(frequency_hz * config.n_fft / config.sample_rate)
    advance = np.diff(phase[4:-4, peak].astype(np.float64))
    wanted = 2 * np.pi * frequency_hz * config.hop_length / config.sample_rate
    assert np.abs(np.angle(np.exp(1j * (advance - wanted)))).max() < 0.15


def test_the_gaussian_for_a_hann_window_is_the_published_one():
    assert hann_gamma(CONFIG) == pytest.approx(0.25645 * 2048**2, rel=2e-3)


def test_decoded_magnitudes_are_inverted_no_worse_than_by_griffin_lim():
    """Blurred and noisy, as a decoder makes them: no signal has these."""
    clean = magnitude(plucks(), CONFIG).numpy()
    blurred = np.stack([np.convolve(row, [0.25, 0.5, 0.25], "same") for row in clean])
    decoded = blurred * np.exp(0.3 * noise(*clean.shape))
    reference = invert(decoded, CONFIG, method="griffin-lim").convergence_db
    found = invert(decoded, CONFIG, consistent=False).convergence_db
    assert found < reference


def test_one_seed_gives_one_sound():
    target = magnitude(noise(9000), CONFIG)
    first, again, other = (
        invert(target, CONFIG, 9000, iterations=4, seed=seed).audio for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("method", METHODS)
def test_silence_stays_silence(method):
    found = invert(np.zeros((1025, 10), np.float32), CONFIG, 5000, method)
    assert found.audio.shape == (5000,)
    assert not found.audio.any()


def test_silent_frames_between_sounds_stay_silent():
    sound = np.concatenate([plucks(8192), np.zeros(16_384, np.float32), plucks(8192)])
    found = invert(magnitude(sound, CONFIG), CONFIG, len(sound)).audio
    assert np.abs(found[8192 + 2048 : -8192 - 2048]).max() < 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_samples", [1, 2, 511, 1023, 1025, 2047, 7777])
def test_short_and_odd_lengths(method, n_samples):
    target = magnitude(0.1 + noise(n_samples), CONFIG)
    found = invert(target, CONFIG, n_samples, method, iterations=8)
    assert found.audio.shape == (n_samples,)
    assert found.audio.dtype == np.float32
    assert found.convergence_db < -3
    told = spectral_convergence_db(found.audio, target, CONFIG)
    assert told == pytest.approx(found.convergence_db, abs=0.05)


@pytest.mark.parametrize("gain", [1e-12, 1e12])
def test_loudness_changes_nothing_but_loudness(gain):
    target = magnitude(plucks(8000), CONFIG)
    found = invert(target * gain, CONFIG, 8000, iterations=4).audio / gain
    assert error_db(found, invert(target, CONFIG, 8000, iterations=4).audio) < -60


def test_negative_values_count_as_silence():
    target = magnitude(plucks(9000), CONFIG).numpy()
    holes = target < np.median(target)
    found, wanted = (
        invert(np.where(holes, value, target), CONFIG, 9000, iterations=4).audio
        for value in (-1.0, 0.0)
    )
    np.testing.assert_array_equal(found, wanted)


def test_the_length_follows_from_the_frames():
    assert len(invert(np.ones((1025, 47), np.float32), CONFIG, iterations=0).audio) == 24_000
    assert len(invert(np.ones((1025, 11), np.float32), CONFIG, iterations=0).audio) == 5120


def test_numpy_and_transposed_tensors_are_taken():
    target = magnitude(plucks(5000), CONFIG)
    one = invert(target, CONFIG, 5000, iterations=2).audio
    two = invert(target.contiguous().numpy(), CONFIG, 5000, iterations=2).audio
    np.testing.assert_array_equal(one, two)


def test_the_convergence_is_the_formula_s():
    sound = plucks(9000)
    target = magnitude(sound, CONFIG)
    assert spectral_convergence_db(sound, 2 * target, CONFIG) == pytest.approx(-6.0206, abs=1e-3)
    assert spectral_convergence_db(0 * sound, target, CONFIG) == pytest.approx(0, abs=1e-6)
    half = istft(stft(sound, CONFIG) * 0.5, CONFIG, 9000)
    assert spectral_convergence_db(half, target, CONFIG) == pytest.approx(-6.0206, abs=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_undefined_magnitudes_are_refused(value):
    wrong = np.ones((1025, 5), np.float32)
    wrong[3, 2] = value
    with pytest.raises(InputError, match="infinite or undefined"):
        invert(wrong, CONFIG)


def test_mistakes_are_sentences():
    target = np.ones((1025, 5), np.float32)
    with pytest.raises(InputError, match="wanted \\(n_bins, n_frames\\) with the 1025 bins"):
        invert(target.T, CONFIG)
    with pytest.raises(InputError, match="2048 to 2559 samples, not of 2560"):
        invert(target, CONFIG, 2560)
    with pytest.raises(InputError, match="-1 iterations"):
        invert(target, CONFIG, iterations=-1)
    with pytest.raises(InputError, match="wanted \\(2048,\\)"):
        invert(target, CONFIG, 2048, phase_from=np.ones(2047))
    with pytest.raises(InputError, match="wanted finite \\(1025, 5\\)"):
        invert(target, CONFIG, phase=np.ones((5, 1025)))
    with pytest.raises(InputError, match="choose one"):
        invert(target, CONFIG, 2048, phase=target, phase_from=np.ones(2048))
    with pytest.raises(ConfigError, match="griffin-lim, fast, best"):
        invert(target, CONFIG, method="quick")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gets_as_near_as_the_cpu():
    target = magnitude(plucks(), CONFIG)
    here, there = (invert(target, CONFIG, 24_000, device=each) for each in ("cpu", "cuda"))
    assert there.convergence_db == pytest.approx(here.convergence_db, abs=1.5)
