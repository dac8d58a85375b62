"""Short-time Fourier transform of audio, and the magnitudes that the model sees.

Audio is float32 (..., n_samples), spectra are complex64 and magnitudes float32, both
(..., n_bins, n_frames). Everything is batched and stays on the audio's device; numpy arrays are
taken for CPU tensors, and tensors come back. The transform is the plain, unnormalised one of
torch, torchaudio and librosa: periodic Hann window, frame k centred on sample k * hop_length, ends
mirrored. Recordings of n_fft / 2 samples or fewer are too short to mirror: zeros surround them.

The way to the model is magnitude -> compress -> standardise, the way back unstandardise -> expand.
Importing this module does not import torch: the configuration is wanted without it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import ConfigError, InputError

if TYPE_CHECKING:
    from torch import Tensor

    Array = Tensor | NDArray[Any]
    Constant = float | Tensor
from dafxtool.config import SpectrogramConfig

# Below this share of its largest value the squared window no longer determines a sample: float32's
# rounding, divided by it, would be heard.
SMALLEST_ENVELOPE = 1e-7


def as_audio(audio: Array) -> Tensor:
    """Float32 tensor (..., n_samples) where it was; InputError when there are no samples."""
    import torch

    sound = torch.as_tensor(audio)
    if sound.ndim == 0 or sound.shape[-1] == 0 or sound.is_complex():
        raise InputError(
            f"audio of shape {tuple(sound.shape)} and type {sound.dtype} holds no samples: wanted "
            "real numbers (..., n_samples)."
        )
    return sound.to(torch.float32)


def window_of(config: SpectrogramConfig, device: Any) -> Tensor:
    """(window_length,): the periodic Hann window."""
    return _window(config.window_length, str(device))


@lru_cache(maxsize=16)
def _window(length: int, device: str) -> Tensor:
    import torch

    return torch.hann_window(length, periodic=True, device=device)


def padding_mode(n_samples: int, config: SpectrogramConfig) -> str:
    """What the centred transform sees beyond the ends: their mirror image, or zeros."""
    return "reflect" if n_samples > config.n_fft // 2 else "constant"


def stft(audio: Array, config: SpectrogramConfig) -> Tensor:
    """Complex spectrum (..., n_bins, n_frames) of audio (..., n_samples) of any length."""
    import torch

    sound = as_audio(audio)
    spectrum = torch.stft(
        _padded(sound.reshape(-1, sound.shape[-1]), config),
        config.n_fft,
        config.hop_length,
        config.window_length,
        window_of(config, sound.device),
        center=False,
        return_complex=True,
    )
    return spectrum.reshape(*sound.shape[:-1], *spectrum.shape[-2:])


def _padded(sound: Tensor, config: SpectrogramConfig) -> Tensor:
    """(n, n_samples + n_fft), n_fft / 2 on each side: torch takes several times as long."""
    import torch

    half = config.n_fft // 2
    if padding_mode(sound.shape[-1], config) == "constant":
        return torch.nn.functional.pad(sound, (half, half))
    before = sound[:, 1 : half + 1].flip(-1)
    after = sound[:, -half - 1 : -1].flip(-1)
    return torch.cat([before, sound, after], dim=-1)


def istft(spectrum: Tensor, config: SpectrogramConfig, n_samples: int) -> Tensor:
    """Audio (..., n_samples) whose stft is nearest to the spectrum (..., n_bins, n_frames).

    Least squares, the mirrored ends left out (Griffin & Lim 1984, equation 6). Where n_samples - 1
    is no multiple of the hop and windows overlap by half, no frame may tell the last few samples:
    they fade to 0.
    """
    import torch

    frames = torch.fft.irfft(spectrum.reshape(-1, *spectrum.shape[-2:]), config.n_fft, dim=-2)
    first = (config.n_fft - config.window_length) // 2
    window = window_of(config, frames.device)
    frames = frames[:, first : first + config.window_length] * window[:, None]
    squares = (window.square()[:, None]).expand(1, -1, frames.shape[-1])
    total, envelope = (_overlap_add(each, config) for each in (frames, squares))
    centre = config.n_fft // 2 - first  # of a frame: what the stft's padding put before the audio
    kept = slice(centre, centre + n_samples)
    limit = SMALLEST_ENVELOPE * float(envelope.max())
    sound = total[:, kept] / envelope[:, kept].clamp_min(limit)
    if sound.shape[-1] < n_samples:
        raise InputError(
            f"{spectrum.shape[-1]} frames cannot make {n_samples} samples: they reach "
            f"{sound.shape[-1]} at a hop of {config.hop_length}."
        )
    return sound.reshape(*spectrum.shape[:-2], n_samples)


def _overlap_add(frames: Tensor, config: SpectrogramConfig) -> Tensor:
    """(batch, window_length, n_frames) -> (batch, length), each frame a hop after the last."""
    import torch

    length = config.window_length + (frames.shape[-1] - 1) * config.hop_length
    added = torch.nn.functional.fold(
        frames, (1, length), (1, config.window_length), stride=(1, config.hop_length)
    )
    return added[:, 0, 0]


def magnitude(audio: Array, config: SpectrogramConfig) -> Tensor:
    """Linear magnitude (..., n_bins, n_frames) of audio (..., n_samples)."""
    return modulus(stft(audio, config))


def modulus(spectrum: Tensor) -> Tensor:
    """Absolute value of a complex tensor; on a CPU by numpy, which is several times quicker."""
    import torch

    if spectrum.device.type != "cpu" or spectrum.requires_grad:
        return spectrum.abs()
    return torch.from_numpy(np.abs(spectrum.numpy()))


def compress(magnitude: Array, config: SpectrogramConfig) -> Tensor:
    """Linear magnitude to the power law's `magnitude ** exponent`; of any shape."""
    import torch

    return _power(torch.as_tensor(magnitude), config.exponent)


def expand(compressed: Array, config: SpectrogramConfig) -> Tensor:
    """Undo `compress`; a decoder's negative values become silence instead of NaN."""
    import torch

    return _power(torch.as_tensor(compressed).clamp_min(0.0), 1.0 / config.exponent)


def compressed_magnitude(audio: Array, config: SpectrogramConfig) -> Tensor:
    """compress(magnitude(audio)) with one array less."""
    linear = magnitude(audio, config)
    return _power(linear, config.exponent, linear)


def _power(values: Tensor, exponent: float, output: Tensor | None = None) -> Tensor:
    """values ** exponent, none of them negative; float32 on a CPU through logarithms.

    That is three times as quick as torch's power, and right to a few millionths.
    """
    import torch

    quick = values.device.type == "cpu" and values.dtype == torch.float32
    if not quick or values.requires_grad or exponent == 1:
        return values**exponent
    return torch.log2(values, out=output).mul_(exponent).exp2_()


def standardise(compressed: Array, mean: Constant, deviation: Constant) -> Tensor:
    """Less the mean, over the standard deviation, which are kept with whatever is made of it.

    Both are numbers, or tensors that broadcast against the spectrograms.
    """
    import torch

    constants = [torch.as_tensor(mean), torch.as_tensor(deviation)]
    if not (all(bool(c.isfinite().all()) for c in constants) and bool((constants[1] > 0).all())):
        raise ConfigError(
            f"a mean of {mean} and a deviation of {deviation} standardise nothing: the deviation "
            "has to be above 0."
        )
    return torch.as_tensor(compressed).sub(mean).div_(deviation)


def unstandardise(standardised: Array, mean: Constant, deviation: Constant) -> Tensor:
    """Undo `standardise`."""
    import torch

    return torch.as_tensor(standardised) * deviation + mean


def mel_filterbank(n_bins: int, n_bands: int, sample_rate: int) -> Tensor:
    """Build triangular filters, equally spaced on the HTK mel scale from 0 Hz to half the rate.

    sample_rate  Hz
    returns      (n_bins, n_bands); a band narrower than a bin may be all zero

    The same bits as `torchaudio.functional.melscale_fbanks` with its defaults. Mel scale:
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
