"""Describe the settings of an effect by fixed formulas, beside those of `descriptors`.

They answer what those leave open for rooms, tone controls and modulators:

- decay: each band's wet power is a share of the wet power a frame before plus shares of the dry
  power, by least squares relative to the level: how long a room sounds, at which frequencies;
- spectrum: mean and standard deviation over time of the wet bands, and the mean of the dry ones. A
  tone control after a distortion is seen in the wet spectrum, not in the difference;
- ripple: cosine coefficients along frequency of the mean logarithmic gain of the loud bins, signed
  and from the first on. Echoes within a few samples leave slow ripples, such as the two channels of
  a reverberator that are mixed;
- peak: position, height and sharpness of the largest peak of the filter along frequency from dry to
  wet. So the logarithm of a carrier's frequency is one number, not a choice of steps;
- repeats: position and height of the largest peak of the filter over time, the heights at twice and
  three times its lag, and their ratios. The second echo over the first is a delay's feedback.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

N_DECAY_BANDS = 16
LEVEL_FLOOR = 1e-3  # of a band's mean power: quieter frames have little weight
SILENCE = 1e-9  # of the dry band's mean power: a wet band below it is silent
SMALLEST_POWER = 1e-20
RIDGE = 1e-3  # on normalised columns
SMALL_GAIN = 1e-4  # of powers, added before logarithms
LARGEST_DECAY, SMALLEST_DECAY = 1.2, -0.5
N_RIPPLES = 96  # samples: longest echo time
SMALL_MAGNITUDE = 0.05  # in standardised units above silence
RIPPLE_SCALE = 0.01
PEAK_SHARPNESS = 12.0  # exponent of the peak's height in the mean position
SMALLEST_PEAK = 1e-4
SMALL_HEIGHT = 0.05  # of an echo, added in ratios
LARGEST_RATIO = 3.0


def decay_descriptors(dry: Tensor, wet: Tensor) -> Tensor:
    """Fit wet[t] = a wet[t - 1] + b dry[t] + c dry[t - 1] in each band: (batch, 3 * n_bands).

    dry, wet  powers (batch, n_frames, n_bands)

    Returns a, the logarithm of b, and the logarithm of the gain (b + c) / (1 - a).
    """
    if dry.shape[1] < 2:
        dry, wet = dry.expand(-1, 2, -1), wet.expand(-1, 2, -1)
    means = wet.mean(dim=1, keepdim=True), dry.mean(dim=1, keepdim=True)
    floor = LEVEL_FLOOR * means[0] + SILENCE * means[1] + SMALLEST_POWER
    weight = 1 / (wet[:, 1:] + wet[:, :-1] + floor)
    causes = torch.stack([wet[:, :-1], dry[:, 1:], dry[:, :-1]], dim=3) * weight[..., None]
    target = wet[:, 1:] * weight
    gram = torch.einsum("ntbi,ntbj->nbij", causes, causes).double()
    moment = torch.einsum("ntbi,ntb->nbi", causes, target).double()
    scale = gram.diagonal(dim1=2, dim2=3).sqrt().clamp_min(1e-6)
    gram = gram / (scale[..., None] * scale[..., None, :])
    gram = gram + RIDGE * torch.eye(3, dtype=gram.dtype, device=gram.device)
    solution = torch.linalg.solve(gram, (moment / scale)[..., None])[..., 0] / scale
    decay, now, before = solution.to(dry.dtype).unbind(dim=2)
    gain = (now + before).clamp_min(0) / (1 - decay).clamp_min(0.02)
    return torch.cat(
        [
            decay.clamp(SMALLEST_DECAY, LARGEST_DECAY),
            (now.clamp_min(0) + SMALL_GAIN).log(),
            (gain + SMALL_GAIN).log(),
        ],
        dim=1,
    )


def spectrum_descriptors(dry: Tensor, wet: Tensor) -> Tensor:
    """Return mean and standard deviation of the wet bands, and mean of the dry: (batch, 3 n_bands).

    dry, wet  bands (batch, n_frames, n_bands) above silence; means are relative to all bands'
    """
    means = [each.mean(dim=1) for each in (dry, wet)]
    means = [each / each.mean(dim=1, keepdim=True).clamp_min(1e-6) for each in means]
    return torch.cat([means[1], wet.std(dim=1, correction=0), means[0]], dim=1)


def ripple_descriptors(dry: Tensor, wet: Tensor) -> Tensor:
    """Return cosine coefficients along frequency of the mean gain of loud bins: (batch, n).

    dry, wet  (batch, n_frames, n_bins) above silence
    """
    n_bins = dry.shape[2]
    weight = dry.square()
    ratio = (wet + SMALL_MAGNITUDE).log() - (dry + SMALL_MAGNITUDE).log()
    gain = (ratio * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-6)
    gain = gain - gain.mean(dim=1, keepdim=True)
    gain = gain * torch.hann_window(n_bins, periodic=False, dtype=gain.dtype, device=gain.device)
    position = torch.arange(n_bins, dtype=gain.dtype, device=gain.device)
    lag = torch.arange(1, min(N_RIPPLES, n_bins - 1) + 1, dtype=gain.dtype, device=gain.device)
    cosines = (math.pi / (n_bins - 1) * position[:, None] * lag).cos()
    return gain @ cosines * RIPPLE_SCALE


def peak_descriptors(response: Tensor, first: int) -> Tensor:
    """Describe the largest peak of a response to shifts (batch, n): (batch, 5).

    first  shift of the first value, in bins

    Returns the logarithm of its position, the mean logarithm of the positions of peaks as high as
    it, its height, that relative to the mean height, and the concentration of the peaks.
    """
    logarithm = torch.arange(
        first, first + response.shape[1], dtype=response.dtype, device=response.device
    ).log()
    height, index = response.max(dim=1)
    weight = _peak_weight(response, height)
    level = response.abs().mean(dim=1) + SMALLEST_PEAK
    return torch.stack(
        [
            logarithm[index],
            weight @ logarithm,
            height,
            (height.clamp_min(0) / level + SMALLEST_PEAK).log(),
            weight.square().sum(dim=1).log(),
        ],
        dim=1,
    )


def repeat_descriptors(response: Tensor) -> Tensor:
    """Describe the first echo and its repeats in a filter over time (batch, n_lags): (batch, 9).

    response  from lag 0 on; only the first half can contain the first echo
    """
    n_lags = response.shape[1]
    if n_lags < 4:
        return response.new_zeros(len(response), 9)
    first = response[:, 1 : n_lags // 2]
    logarithm = torch.arange(1, n_lags // 2, dtype=response.dtype, device=response.device).log()
    height, index = first.max(dim=1)
    heights = [_around(response, (index + 1) * number) for number in (2, 3)]
    direct = response[:, 0]
    return torch.stack(
        [
            logarithm[index],
            _peak_weight(first, height) @ logarithm,
            height,
            direct,
            *heights,
            *(_ratio(each, height) for each in heights),
            _ratio(height, direct.abs()),
        ],
        dim=1,
    )


def _around(response: Tensor, lag: Tensor) -> Tensor:
    """Return the largest value within one lag of `lag`; 0 behind the end of the response."""
    lags = lag[:, None] + torch.arange(-1, 2, device=lag.device)
    is_inside = lags < response.shape[1]
    values = response.gather(1, lags.clamp(max=response.shape[1] - 1))
    return torch.where(is_inside, values, values.new_zeros(())).amax(dim=1)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    return (a / (b.clamp_min(0) + SMALL_HEIGHT)).clamp(-LARGEST_RATIO, LARGEST_RATIO)


def _peak_weight(response: Tensor, height: Tensor) -> Tensor:
    """Weigh the values of a response (batch, n) by how near they are to its peak's height."""
    relative = response / height[:, None].clamp_min(SMALLEST_PEAK)
    return (PEAK_SHARPNESS * relative.clamp_min(0)).softmax(dim=1)
