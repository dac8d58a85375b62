"""Compute STFTs, magnitudes, and the power law and standardisation of the model's input.

Audio is float32 (..., n_samples). Spectra are complex64 and magnitudes float32, both
(..., n_bins, n_frames). Functions accept tensors on any device and numpy arrays, which count as
CPU tensors. They return tensors on the same device.

The STFT is the unnormalised one of torch, torchaudio and librosa: periodic Hann window, frame k
centred on sample k * hop_length, reflected ends. Audio of n_fft / 2 samples or fewer is too short
to reflect and is padded with zeros.

Model input is magnitude -> compress -> standardise; the inverse is unstandardise -> expand.
Importing this module does not import torch, which takes seconds to load.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SpectrogramConfig
from dafxtool.errors import ConfigError, InputError

if TYPE_CHECKING:
    from torch import Tensor

    Array = Tensor | NDArray[Any]
    Stat = float | Tensor

# Lower limit of the window envelope, as a fraction of its maximum. Dividing float32 rounding errors
# by smaller values would be audible.
SMALLEST_ENVELOPE = 1e-7


def as_audio(audio: Array) -> Tensor:
    """Convert audio to a float32 tensor (..., n_samples) on the same device.

    InputError  there are no samples, or they are complex
    """
    import torch

    samples = torch.as_tensor(audio)
    if samples.ndim == 0 or samples.shape[-1] == 0 or samples.is_complex():
        raise InputError(
            f"audio: not real samples (found shape {tuple(samples.shape)} of {samples.dtype}, "
            "expected (..., n_samples) with n_samples > 0). Pass audio."
        )
    return samples.to(torch.float32)


def window_of(config: SpectrogramConfig, device: Any) -> Tensor:
    """Return the periodic Hann window (window_length,)."""
    return _window(config.window_length, str(device))


@lru_cache(maxsize=16)
def _window(length: int, device: str) -> Tensor:
    import torch

    return torch.hann_window(length, periodic=True, device=device)


def pad_mode(n_samples: int, n_fft: int) -> str:
    """Return the padding of a centred STFT: "reflect", or "constant" for too short audio."""
    return "reflect" if n_samples > n_fft // 2 else "constant"


def stft(audio: Array, config: SpectrogramConfig) -> Tensor:
    """Compute the complex spectrum (..., n_bins, n_frames) of audio (..., n_samples).

    n_samples may differ from the configuration's.
    """
    import torch

    samples = as_audio(audio)
    spectrum = torch.stft(
        _pad(samples.reshape(-1, samples.shape[-1]), config),
        config.n_fft,
        config.hop_length,
        config.window_length,
        window_of(config, samples.device),
        center=False,
        return_complex=True,
    )
    return spectrum.reshape(*samples.shape[:-1], *spectrum.shape[-2:])


def _pad(samples: Tensor, config: SpectrogramConfig) -> Tensor:
    """Pad (n, n_samples) by n_fft / 2 samples on each side.

    Several times as fast as torch.stft(center=True), which pads the same values.
    """
    import torch

    half = config.n_fft // 2
    if pad_mode(samples.shape[-1], config.n_fft) == "constant":
        return torch.nn.functional.pad(samples, (half, half))
    before = samples[:, 1 : half + 1].flip(-1)
    after = samples[:, -half - 1 : -1].flip(-1)
    return torch.cat([before, samples, after], dim=-1)


def istft(spectrum: Tensor, config: SpectrogramConfig, n_samples: int) -> Tensor:
    """Return the audio (..., n_samples) whose STFT is nearest to spectrum (..., n_bins, n_frames).

    Least squares without the reflected ends (Griffin & Lim 1984, equation 6). If windows overlap
    by half and n_samples - 1 is no multiple of the hop, no frame may contain the last few samples;
    they fade to 0.

    InputError  the frames are too few for n_samples
    """
    import torch

    frames = torch.fft.irfft(spectrum.reshape(-1, *spectrum.shape[-2:]), config.n_fft, dim=-2)
    first = (config.n_fft - config.window_length) // 2
    window = window_of(config, frames.device)
    frames = frames[:, first : first + config.window_length] * window[:, None]
    squares = (window.square()[:, None]).expand(1, -1, frames.shape[-1])
    total, envelope = (_overlap_add(each, config) for each in (frames, squares))
    centre = config.n_fft // 2 - first  # padding before the audio, in samples
    span = slice(centre, centre + n_samples)
    limit = SMALLEST_ENVELOPE * float(envelope.max())
    samples = total[:, span] / envelope[:, span].clamp_min(limit)
    if samples.shape[-1] < n_samples:
        raise InputError(
            f"spectrum: too few frames for {n_samples} samples (found {spectrum.shape[-1]}, which "
            f"last {samples.shape[-1]} samples at a hop of {config.hop_length}). Use a smaller "
            "n_samples."
        )
    return samples.reshape(*spectrum.shape[:-2], n_samples)


def _overlap_add(frames: Tensor, config: SpectrogramConfig) -> Tensor:
    """Add frames (batch, window_length, n_frames), each a hop after the last: (batch, length)."""
    import torch

    length = config.window_length + (frames.shape[-1] - 1) * config.hop_length
    total = torch.nn.functional.fold(
        frames, (1, length), (1, config.window_length), stride=(1, config.hop_length)
    )
    return total[:, 0, 0]


def magnitude(audio: Array, config: SpectrogramConfig) -> Tensor:
    """Compute the linear magnitude (..., n_bins, n_frames) of audio (..., n_samples)."""
    return modulus(stft(audio, config))


def modulus(spectrum: Tensor) -> Tensor:
    """Return the absolute value of a complex tensor.

    On a CPU numpy computes it, several times as fast as torch.
    """
    import torch

    if spectrum.device.type != "cpu" or spectrum.requires_grad:
        return spectrum.abs()
    return torch.from_numpy(np.abs(spectrum.numpy()))


def compress(magnitude: Array, config: SpectrogramConfig) -> Tensor:
    """Apply the power law magnitude ** exponent to linear magnitudes of any shape."""
    import torch

    return _power(torch.as_tensor(magnitude), config.exponent)


def expand(compressed: Array, config: SpectrogramConfig) -> Tensor:
    """Undo `compress`. Negative values, which decoders produce, become 0 instead of NaN."""
    import torch

    return _power(torch.as_tensor(compressed).clamp_min(0.0), 1.0 / config.exponent)


def compressed_magnitude(audio: Array, config: SpectrogramConfig) -> Tensor:
    """Compute compress(magnitude(audio)) in place, with one array less."""
    linear = magnitude(audio, config)
    return _power(linear, config.exponent, linear)


def _power(values: Tensor, exponent: float, output: Tensor | None = None) -> Tensor:
    """Raise non-negative values to a power.

    float32 on a CPU uses logarithms: three times as fast as torch's power, with a relative error
    of a few millionths.
    """
    import torch

    has_fast_log = values.device.type == "cpu" and values.dtype == torch.float32
    if not has_fast_log or values.requires_grad or exponent == 1:
        return values**exponent
    return torch.log2(values, out=output).mul_(exponent).exp2_()


def standardise(compressed: Array, mean: Stat, std: Stat) -> Tensor:
    """Subtract the mean and divide by the standard deviation.

    mean, std    numbers, or tensors that broadcast against the spectrograms
    ConfigError  one is not finite, or std is not above 0
    """
    import torch

    stats = [torch.as_tensor(mean), torch.as_tensor(std)]
    if not (all(bool(stat.isfinite().all()) for stat in stats) and bool((stats[1] > 0).all())):
        raise ConfigError(
            f"standardisation: unusable statistics (found mean {mean} and std {std}, expected "
            "finite numbers and std above 0). Use audio that is not silent."
        )
    return torch.as_tensor(compressed).sub(mean).div_(std)


def unstandardise(standardised: Array, mean: Stat, std: Stat) -> Tensor:
    """Undo `standardise`."""
    import torch

    return torch.as_tensor(standardised) * std + mean


def mel_filterbank(n_bins: int, n_bands: int, sample_rate: int) -> Tensor:
    """Build triangular filters, equally spaced on the HTK mel scale from 0 Hz to half the rate.

    sample_rate  Hz
    returns      (n_bins, n_bands); a band narrower than a bin may be all zero

    Equal to `torchaudio.functional.melscale_fbanks` with its defaults, bit by bit. Mel scale:
    O'Shaughnessy 1987, "Speech Communication", as in HTK.
    """
    import torch

    highest_mel = 2595.0 * math.log10(1.0 + sample_rate / 2 / 700.0)
    mel_points = torch.linspace(0.0, highest_mel, n_bands + 2)
    points_hz = 700.0 * (10.0 ** (mel_points / 2595.0) - 1.0)
    bins_hz = torch.linspace(0, sample_rate // 2, n_bins)
    width_hz = points_hz.diff()
    distance_hz = points_hz[None] - bins_hz[:, None]
    falling = -distance_hz[:, :-2] / width_hz[:-1]
    rising = distance_hz[:, 2:] / width_hz[1:]
    return torch.minimum(falling, rising).clamp_min(0.0)
