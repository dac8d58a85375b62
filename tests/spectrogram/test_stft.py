"""STFT compared with theory, torchaudio and librosa; every step compared with its inverse."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from dafxtool.config import SpectrogramConfig
from dafxtool.errors import ConfigError, InputError
from dafxtool.spectrogram.stft import (
    compress,
    expand,
    istft,
    magnitude,
    mel_filterbank,
    standardise,
    stft,
    unstandardise,
)

CONFIG = SpectrogramConfig(n_samples=24_000)
SIZES = ((2048, 512, 2048), (4096, 2048, 4096), (4096, 1024, 2048))


def sized(n_fft: int, hop_length: int, window_length: int) -> SpectrogramConfig:
    return replace(CONFIG, n_fft=n_fft, hop_length=hop_length, window_length=window_length)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return (0.3 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def test_a_tone_peaks_in_its_own_bin_with_half_the_windows_area():
    """A cosine of amplitude a at a bin's centre gives a * sum(window) / 2, half beside it."""
    bin_number, amplitude = 40, 0.5
    time_s = np.arange(CONFIG.n_samples) / CONFIG.sample_rate
    tone = amplitude * np.cos(2 * np.pi * CONFIG.frequencies_hz()[bin_number] * time_s)
    result = magnitude(tone, CONFIG)[:, 4:-4]  # without the reflected ends
    assert set(result.argmax(dim=0).tolist()) == {bin_number}
    peak = amplitude * (CONFIG.window_length / 2) / 2
    np.testing.assert_allclose(result[bin_number], peak, rtol=1e-4)
    np.testing.assert_allclose(result[bin_number + 1], peak / 2, rtol=1e-3)
    assert result[bin_number + 2].max() < 1e-3 * peak


@pytest.mark.parametrize("sizes", SIZES)
def test_equals_torchaudio(sizes):
    from torchaudio.transforms import Spectrogram

    n_fft, hop_length, window_length = sizes
    theirs = Spectrogram(n_fft, win_length=window_length, hop_length=hop_length, power=1)
    audio = noise(24_000)
    expected = theirs(torch.from_numpy(audio))
    result = magnitude(audio, sized(*sizes))
    np.testing.assert_allclose(result, expected, atol=2e-6 * float(expected.max()))


@pytest.mark.parametrize("sizes", SIZES)
def test_equals_librosa(sizes):
    librosa = pytest.importorskip("librosa")
    n_fft, hop, window = sizes
    audio = noise(24_000)
    expected = librosa.stft(
        audio, n_fft=n_fft, hop_length=hop, win_length=window, pad_mode="reflect"
    )
    result = stft(audio, sized(*sizes)).numpy()
    np.testing.assert_allclose(result, expected, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("n_samples", [24_577, 12_289, 4097])
def test_istft_undoes_stft(sizes, n_samples):
    audio = torch.from_numpy(noise(2, n_samples))
    config = sized(*sizes)
    np.testing.assert_allclose(istft(stft(audio, config), config, n_samples), audio, atol=1e-5)


@pytest.mark.parametrize("n_samples", [1, 2, 100, 1023, 1024, 1025, 2047, 9999])
def test_istft_undoes_stft_of_short_and_odd_lengths(n_samples):
    audio = torch.from_numpy(noise(n_samples))
    spectrum = stft(audio, CONFIG)
    assert spectrum.shape == (1025, n_samples // 512 + 1)
    np.testing.assert_allclose(istft(spectrum, CONFIG, n_samples), audio, atol=1e-5)


def test_a_batch_equals_its_members():
    audio = noise(2, 3, 5000)
    result = magnitude(audio, CONFIG)
    assert result.shape == (2, 3, 1025, 10)
    assert result.dtype == torch.float32
    assert stft(audio, CONFIG).dtype == torch.complex64
    # The FFT of another batch size may use another algorithm.
    np.testing.assert_allclose(result[1, 2], magnitude(audio[1, 2], CONFIG), atol=1e-4)


def test_gain_lowers_the_spectrogram_by_its_decibels():
    audio = noise(24_000)
    halved = magnitude(audio * np.float32(0.5), CONFIG)  # exact, also in bins near zero
    drop_db = 20 * torch.log10(magnitude(audio, CONFIG) / halved)
    np.testing.assert_allclose(drop_db, 20 * np.log10(2), atol=1e-4)


def test_gradients_reach_the_audio():
    audio = torch.from_numpy(noise(5000)).requires_grad_()
    magnitude(audio, CONFIG).sum().backward()
    assert audio.grad is not None and bool(torch.isfinite(audio.grad).all())


# Half a unit in the last place (2^-24, 2^-11) of the standardised value, which is below 16 here;
# undoing the power law multiplies a relative error by 1 / 0.3, and the mean costs further digits.
@pytest.mark.parametrize(("dtype", "bound_db"), [(torch.float32, -110), (torch.float16, -55)])
def test_model_input_is_inverted_to_linear_magnitude(dtype, bound_db):
    linear = magnitude(noise(24_000), CONFIG)
    stored = standardise(compress(linear, CONFIG), mean=1.7, std=0.6).to(dtype)
    result = expand(unstandardise(stored.float(), mean=1.7, std=0.6), CONFIG)
    error_db = 20 * torch.log10(torch.linalg.norm(result - linear) / torch.linalg.norm(linear))
    assert float(error_db) < bound_db


def test_standardising_by_own_stats_gives_mean_0_and_std_1():
    values = compress(magnitude(noise(24_000), CONFIG), CONFIG).double()
    result = standardise(values, float(values.mean()), float(values.std()))
    assert float(result.mean()) == pytest.approx(0, abs=1e-9)
    assert float(result.std()) == pytest.approx(1, abs=1e-9)


def test_expand_maps_negative_values_to_silence():
    assert expand(torch.tensor([-2.0, -0.0, 1.0]), CONFIG).tolist() == [0.0, 0.0, 1.0]


def test_axes_are_in_hertz_and_seconds():
    assert CONFIG.shape == (1025, 47)
    assert CONFIG.frequencies_hz()[[0, -1]].tolist() == [0.0, 12_000.0]
    assert CONFIG.frame_times_s()[[0, 1]].tolist() == [0.0, 512 / 24_000]


def test_a_hint_warns_of_windows_that_overlap_by_less_than_three_quarters():
    assert CONFIG.invertible_hint() is None
    for sizes in SIZES[1:]:
        assert "overlap" in str(sized(*sizes).invertible_hint())


def test_a_configuration_is_rebuilt_from_its_values():
    assert SpectrogramConfig(**asdict(CONFIG)) == CONFIG


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_fft": 0}, r"n_fft: .*found 0\b"),
        ({"hop_length": 512.0}, r"hop_length: .*found 512\.0"),
        ({"n_fft": 2047, "window_length": 2047}, "n_fft: .*even"),
        ({"window_length": 4096}, "window_length: longer than n_fft"),
        ({"hop_length": 1025}, "hop_length: more than half the window_length"),
        ({"exponent": 0}, r"exponent: .*found 0\b"),
        ({"exponent": 1.5}, r"exponent: .*found 1\.5"),
        ({"standardisation": "batch"}, "standardisation: .*dataset or segment"),
    ],
)
def test_impossible_configurations_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **values)


def test_unusable_arrays_are_refused():
    with pytest.raises(InputError, match=r"not real samples \(found shape \(2, 0\)"):
        stft(np.zeros((2, 0), np.float32), CONFIG)
    with pytest.raises(InputError, match="too few frames for 9999 samples"):
        istft(stft(noise(2000), CONFIG), CONFIG, 9999)
    with pytest.raises(ConfigError, match=r"found mean 0\.0 and std 0\.0"):
        standardise(torch.ones(3), 0.0, 0.0)


def test_importing_the_module_does_not_import_torch():
    program = "import sys, dafxtool.spectrogram.stft; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_equals_the_cpu():
    audio = torch.from_numpy(noise(4, 24_000))
    result = magnitude(audio.cuda(), CONFIG)
    assert result.device.type == "cuda"
    np.testing.assert_allclose(result.cpu(), magnitude(audio, CONFIG), atol=1e-3)


@pytest.mark.parametrize("exponent", [0.1, 0.3, 1.0])
def test_the_power_law_has_a_relative_error_of_a_few_millionths(exponent):
    """Check the logarithms of the CPU from 0 over the smallest numbers to the largest."""
    linear = np.concatenate([[0.0, 1e-42], np.logspace(-37, 5, 5000)]).astype(np.float32)
    config = replace(CONFIG, exponent=exponent)
    result = compress(linear, config)
    expected = linear.astype(np.float64) ** exponent
    np.testing.assert_allclose(result, expected, rtol=4e-6)
    np.testing.assert_allclose(expand(result, config)[2:], linear[2:], rtol=1e-4)


@pytest.mark.parametrize(
    "n_bins, n_bands, rate",
    [(513, 64, 24_000), (1025, 128, 24_000), (2049, 128, 24_000), (33, 40, 8_000)],
)
@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
def test_mel_filterbank_equals_torchaudio(n_bins, n_bands, rate):
    from torchaudio import functional

    reference = functional.melscale_fbanks(n_bins, 0.0, rate / 2, n_bands, rate)
    assert torch.equal(mel_filterbank(n_bins, n_bands, rate), reference)
