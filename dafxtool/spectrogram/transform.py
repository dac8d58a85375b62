"""Convert arrays of audio to standardised spectrograms, and back to linear magnitudes."""

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

MIN_STD = 1e-6


def compressed_channels(pair: NDArray[np.float32], config: SpectrogramConfig) -> Channels:
    """Compute the compressed magnitudes of dry and wet audio (2, n_samples) on the CPU.

    The channels are computed one after the other, so that the data stays in the processor's cache.
    """
    samples = np.ascontiguousarray(pair, dtype=np.float32)
    return [compressed_magnitude(channel, config) for channel in samples]


def standardise_channels(
    channels: Channels, config: SpectrogramConfig, mean: float, std: float, output: Tensor
) -> tuple[float, float]:
    """Standardise a pair's compressed magnitudes into output (2, n_bins, n_frames), on the CPU.

    Returns (mean, std): those given or, with segment standardisation, the pair's own. Overwrites
    the channels.
    """
    if config.standardisation == "segment":
        count = sum(each.numel() for each in channels)
        mean = sum(float(each.sum()) for each in channels) / count
        squares = sum(float((each - mean).square_().sum()) for each in channels)
        std = max(MIN_STD, (squares / count) ** 0.5)
    mean, std = float(np.float32(mean)), float(np.float32(std))  # the stored precision
    for channel, target in zip(channels, output, strict=True):
        target.copy_(channel.sub_(mean).div_(std).to(output.dtype))
    return mean, std


def compressed_pairs(audio: NDArray[np.float32], config: SpectrogramConfig, device: str) -> Tensor:
    """Compute compressed magnitudes (n, 2, n_bins, n_frames) of audio (n, 2, n_samples)."""
    import torch

    samples = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32)).to(device)
    return compressed_magnitude(samples, config)


def analyse(
    audio: NDArray[np.float32],
    config: SpectrogramConfig,
    mean: float,
    std: float,
    device: str = "cpu",
    dtype: str = "float32",
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Compute standardised spectrograms (n, 2, n_bins, n_frames) of audio (n, 2, n_samples).

    Also returns stats (n, 2), the mean and standard deviation that invert the standardisation:
    those given or, with segment standardisation, those of each pair.

    dtype  of the spectrograms
    """
    values, stats = analyse_to_tensor(audio, config, mean, std, device, dtype)
    return values.cpu().numpy(), stats


def analyse_to_tensor(
    audio: NDArray[np.float32],
    config: SpectrogramConfig,
    mean: float,
    std: float,
    device: str = "cpu",
    dtype: str = "float32",
) -> tuple[Tensor, NDArray[np.float32]]:
    """Compute the results of `analyse`, and leave the spectrograms on the device."""
    import torch

    if device == "cpu":
        values = torch.empty((len(audio), 2, *config.shape), dtype=getattr(torch, dtype))

        def analyse_pair(index: int) -> tuple[float, float]:
            channels = compressed_channels(audio[index], config)
            return standardise_channels(channels, config, mean, std, values[index])

        pair_stats = _map_range(analyse_pair, len(audio))
        return values, np.array(pair_stats, np.float32).reshape(-1, 2)
    compressed = compressed_pairs(audio, config, device)
    stats = torch.tensor([[mean, std]], device=compressed.device).expand(len(audio), 2)
    if config.standardisation == "segment":
        flat = compressed.flatten(1)
        segment_std = flat.std(dim=1, correction=0).clamp_min(MIN_STD)
        stats = torch.stack([flat.mean(dim=1), segment_std], dim=1)
    per_pair = stats[..., None, None, None]
    values = standardise(compressed, per_pair[:, 0], per_pair[:, 1]).to(getattr(torch, dtype))
    return values, stats.cpu().numpy()


def _map_range(function: Callable[[int], Any], count: int) -> list[Any]:
    """Return [function(0), function(1), ...], in threads unless torch is limited to one."""
    import torch

    if count < 2 or torch.get_num_threads() == 1:
        return list(map(function, range(count)))
    with threads_for("cpu") as threads:
        return list(threads.map(function, range(count)))


def linear_magnitude(
    spectrogram: NDArray[Any],
    stats: NDArray[np.float32],
    config: SpectrogramConfig,
) -> NDArray[np.float32]:
    """Convert standardised spectrograms (n, 2, n_bins, n_frames) to linear magnitudes.

    stats  (n, 2) mean and standard deviation of each, as `analyse` returns them

    Negative values, which decoders produce, become 0 before the power law is inverted.
    """
    import torch

    values = torch.from_numpy(np.asarray(spectrogram, dtype=np.float32))
    per_pair = torch.from_numpy(np.asarray(stats, dtype=np.float32))[..., None, None, None]
    return expand(unstandardise(values, per_pair[:, 0], per_pair[:, 1]), config).numpy()
