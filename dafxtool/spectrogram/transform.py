"""Audio <-> standardised spectrograms (arrays)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SpectrogramConfig
from dafxtool.spectrogram.stft import (
    compressed_magnitude,
    expand,
    standardise,
    unstandardise,
)
from dafxtool.utils.threads import threads_for

if TYPE_CHECKING:
    from torch import Tensor

    Channels = Sequence[Tensor]  # dry and wet, each (n_bins, n_frames)

MIN_DEVIATION = 1e-6


def compressed_channels(pair: NDArray[np.float32], config: SpectrogramConfig) -> Channels:
    """audio (2, n_samples) -> compressed magnitudes of dry and wet, on the CPU.

    One after the other, so that what is worked on stays in the processor's cache.
    """
    sound = np.ascontiguousarray(pair, dtype=np.float32)
    return [compressed_magnitude(channel, config) for channel in sound]


def standardise_channels(
    channels: Channels, config: SpectrogramConfig, mean: float, deviation: float, output: Tensor
) -> tuple[float, float]:
    """Standardise a pair's compressed magnitudes into output (2, n_bins, n_frames), on the CPU.

    Returns the constants: those given or, with segment standardisation, the pair's own. The
    magnitudes are worked on where they are.
    """
    if config.standardisation == "segment":
        count = sum(each.numel() for each in channels)
        mean = sum(float(each.sum()) for each in channels) / count
        squares = sum(float((each - mean).square_().sum()) for each in channels)
        deviation = max(MIN_DEVIATION, (squares / count) ** 0.5)
    mean, deviation = float(np.float32(mean)), float(np.float32(deviation))  # as they are stored
    for channel, place in zip(channels, output, strict=True):
        place.copy_(channel.sub_(mean).div_(deviation).to(output.dtype))
    return mean, deviation


def compressed_pairs(audio: NDArray[np.float32], config: SpectrogramConfig, device: str) -> Tensor:
    """audio (n, 2, n_samples) -> compressed magnitudes (n, 2, n_bins, n_frames) on the device."""
    import torch

    sound = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32)).to(device)
    return compressed_magnitude(sound, config)


def analyse(
    audio: NDArray[np.float32],
    config: SpectrogramConfig,
    mean: float,
    deviation: float,
    device: str = "cpu",
    dtype: str = "float32",
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Standardised spectrograms (n, 2, n_bins, n_frames) of audio (n, 2, n_samples), as dtype.

    Also returns the constants (n, 2) that take each back: mean and deviation, the ones given or,
    with segment standardisation, those of each pair.
    """
    values, constants = spectra(audio, config, mean, deviation, device, dtype)
    return values.cpu().numpy(), constants


def spectra(
    audio: NDArray[np.float32],
    config: SpectrogramConfig,
    mean: float,
    deviation: float,
    device: str = "cpu",
    dtype: str = "float32",
) -> tuple[Tensor, NDArray[np.float32]]:
    """What `analyse` returns, the spectrograms left on the device."""
    import torch

    if device == "cpu":
        values = torch.empty((len(audio), 2, *config.shape), dtype=getattr(torch, dtype))

        def work(position: int) -> tuple[float, float]:
            channels = compressed_channels(audio[position], config)
            return standardise_channels(channels, config, mean, deviation, values[position])

        constants = _for_each(work, len(audio))
        return values, np.array(constants, np.float32).reshape(-1, 2)
    compressed = compressed_pairs(audio, config, device)
    found = torch.tensor([[mean, deviation]], device=compressed.device).expand(len(audio), 2)
    if config.standardisation == "segment":
        flat = compressed.flatten(1)
        own = flat.std(dim=1, correction=0).clamp_min(MIN_DEVIATION)
        found = torch.stack([flat.mean(dim=1), own], dim=1)
    pair = found[..., None, None, None]
    values = standardise(compressed, pair[:, 0], pair[:, 1]).to(getattr(torch, dtype))
    return values, found.cpu().numpy()


def _for_each(work: Callable[[int], Any], count: int) -> list[Any]:
    """work(0), work(1), ... in threads, unless this is one of them."""
    import torch

    if count < 2 or torch.get_num_threads() == 1:
        return list(map(work, range(count)))
    with threads_for("cpu") as threads:
        return list(threads.map(work, range(count)))


def linear_magnitude(
    spectrogram: NDArray[Any],
    constants: NDArray[np.float32],
    config: SpectrogramConfig,
) -> NDArray[np.float32]:
    """Standardised (n, 2, n_bins, n_frames) back to linear magnitude, by constants (n, 2).

    What a decoder makes negative becomes 0 before the power law is undone.
    """
    import torch

    values = torch.from_numpy(np.asarray(spectrogram, dtype=np.float32))
    pair = torch.from_numpy(np.asarray(constants, dtype=np.float32))[..., None, None, None]
    return expand(unstandardise(values, pair[:, 0], pair[:, 1]), config).numpy()
