"""Predict the wet spectrogram from a known dry one and the style.

- The front filters the power of the dry spectrogram, because the powers of components with
  unrelated phases add up. The style sets the filters: direct gains, causal lags (echoes, rooms)
  and shifts up and down in frequency (modulators). They are not negative, so nothing cancels.
  The power law of the spectrogram follows.
- Convolutions over time predict components of the change, and gains of bands at each frame. The
  style scales and shifts their channels (FiLM, Perez et al. 2018, arXiv:1709.07871).

Gains multiply the dry magnitudes. So they preserve harmonics that the linear basis does not span.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

N_LAGS = 96  # frames, the direct sound not counted
N_REGIONS = 4  # of frequency, each with its own direct gain and lags
SHIFT_SHARE = 176 / 1025  # of the bins: the largest shift
FIRST_SHIFT = 2  # bins: half the width of a Hann window's main lobe
N_STYLE_BANDS = 48  # gains and offsets that hold for the whole segment
N_FRAME_BANDS = 32  # gains at each frame
N_INPUT_BANDS = 128
STYLE_WIDTHS = (256, 128)
FULL_SCALE = 8.0  # standardised units above silence
FIRST_LEVEL = 0.08  # of lags and shifts, as a share of the dry magnitude after the power law
SMALLEST_POWER = 1e-13  # of full scale: 0.1 standardised units after the power law


class DryPredictor(nn.Module):
    """Predict wet frames from dry frames, their components and a style.

    floor  value of silence in a standardised spectrogram
    """

    floor: Tensor
    regions: Tensor
    style_bands: Tensor
    frame_bands: Tensor
    input_bands: Tensor
    lag_index: Tensor
    shift_cosines: Tensor

    def __init__(
        self,
        shape: tuple[int, int],
        n_components: int,
        n_style: int,
        width: int,
        n_blocks: int,
        exponent: float,
    ) -> None:
        super().__init__()
        n_bins, n_frames = shape
        self.power = 2 / exponent
        self.n_lags = min(N_LAGS, n_frames - 1)
        n_shifts = max(0, round(SHIFT_SHARE * n_bins) - FIRST_SHIFT)
        self._create_buffers(n_bins, n_frames, n_shifts)
        n_hidden = STYLE_WIDTHS[1]
        self.style_network = nn.Sequential(
            nn.Linear(n_style, STYLE_WIDTHS[0]),
            nn.SiLU(),
            nn.Linear(STYLE_WIDTHS[0], n_hidden),
            nn.SiLU(),
        )
        n_regions, n_bands = len(self.regions), len(self.style_bands)
        self.sizes = (n_regions, n_regions * self.n_lags, n_shifts, n_bands, n_bands)
        self.front_layer = nn.Linear(n_hidden, sum(self.sizes))
        self.first = nn.Conv1d(n_components + len(self.input_bands), width, 1)
        self.blocks = nn.ModuleList(Block(width, 2**index, n_hidden) for index in range(n_blocks))
        last = zeroed(nn.Conv1d(width, n_components + len(self.frame_bands), 1))
        self.last = nn.Sequential(group_norm(width), nn.SiLU(), last)
        with torch.no_grad():
            levels = torch.ones(n_regions + sum(self.sizes[1:3]))
            levels[n_regions:] = FIRST_LEVEL
            self.front_layer.bias[: len(levels)] = levels.expm1().log()  # inverse softplus
            zeroed_rows = slice(len(levels), None)
            self.front_layer.weight[zeroed_rows] = 0
            self.front_layer.bias[zeroed_rows] = 0

    def _create_buffers(self, n_bins: int, n_frames: int, n_shifts: int) -> None:
        self.register_buffer("floor", torch.zeros(()))
        for name, n_bands in {
            "regions": N_REGIONS,
            "style_bands": N_STYLE_BANDS,
            "frame_bands": N_FRAME_BANDS,
            "input_bands": N_INPUT_BANDS,
        }.items():
            hats = hat_functions(n_bins, max(1, min(n_bands, n_bins // 4)))
            self.register_buffer(name, hats, persistent=False)
        frame = torch.arange(n_frames)
        lag = frame[:, None] - frame[None]  # of the output frame (row) behind the input frame
        outside = (lag < 0) | (lag > self.n_lags)
        index = (lag + 1).masked_fill(outside, 0)  # 0: no filter coefficient
        self.register_buffer("lag_index", index, persistent=False)
        self.region_bins = neighbouring_regions(self.regions)
        shift = torch.arange(FIRST_SHIFT, FIRST_SHIFT + n_shifts, dtype=torch.float64)
        position = torch.arange(n_bins, dtype=torch.float64)
        cosines = 2 * torch.cos(math.pi / max(1, n_bins - 1) * shift[:, None] * position)
        self.register_buffer("shift_cosines", cosines, persistent=False)

    def forward(self, dry: Tensor, components: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """Return wet frames (batch, n_frames, n_bins) and a correction of their components.

        dry         (batch, n_frames, n_bins) standardised
        components  (batch, n_frames, n_components) of dry, standardised
        style       (batch, n_style)
        """
        hidden = self.style_network(style)
        with torch.autocast(dry.device.type, enabled=False):
            settings = self.front_layer(hidden.float()).split(self.sizes, dim=1)
            magnitude = self.front(dry, *settings[:3])
            bands = (magnitude - FULL_SCALE / 4) @ self.input_bands.T / self.input_bands.sum(dim=1)
        inputs = torch.cat([components, bands], dim=2).transpose(1, 2)
        inner = self.first(inputs)
        for block in self.blocks:
            inner = block(inner, hidden)
        added, frame_gain = (
            self.last(inner)
            .float()
            .transpose(1, 2)
            .split((components.shape[2], len(self.frame_bands)), dim=2)
        )
        gain = 1 + (settings[3] @ self.style_bands)[:, None] + frame_gain @ self.frame_bands
        wet = magnitude * gain + (settings[4] @ self.style_bands)[:, None] + self.floor
        return wet, added

    def front(self, dry: Tensor, direct: Tensor, lags: Tensor, shifts: Tensor) -> Tensor:
        """Filter dry frames; return magnitudes above the floor (batch, n_frames, n_bins)."""
        power = ((dry - self.floor).clamp_min(0) / FULL_SCALE).pow(self.power)
        direct, lags, shifts = (
            functional.softplus(each).pow(self.power) for each in (direct, lags, shifts)
        )
        total = self._filtered(power, direct, lags)
        if shifts.shape[1]:
            total = total + self._shifted(power, shifts)
        return (total + SMALLEST_POWER).pow(1 / self.power) * FULL_SCALE

    def _filtered(self, power: Tensor, direct: Tensor, lags: Tensor) -> Tensor:
        """Filter powers over time, with the filter of each region: direct gain, then lags."""
        n = len(power)
        filters = torch.cat([direct[..., None], lags.view(n, len(self.regions), -1)], dim=2)
        matrices = functional.pad(filters, (1, 0))[:, :, self.lag_index].transpose(1, 2)
        filtered = []
        for first, bins in self.region_bins:
            regions = slice(first, first + 2)
            sources = power[:, None, :, bins] * self.regions[regions, None, bins]
            filtered.append(matrices[:, :, regions].flatten(2) @ sources.flatten(1, 2))
        return torch.cat(filtered, dim=2)

    def _shifted(self, power: Tensor, shifts: Tensor) -> Tensor:
        """Add up powers shifted by whole bins, mirrored at both ends of the spectrum."""
        # By the FFT of the even continuation, in float64: rounding errors have to stay far below
        # the quietest bin, because the power law raises them.
        even = torch.cat([power, power[..., 1:-1].flip(-1)], dim=-1).double()
        spectrum = torch.fft.rfft(even).real
        response = shifts.double() @ self.shift_cosines
        shifted = torch.fft.irfft(spectrum * response[:, None], even.shape[-1])
        return shifted[..., : power.shape[-1]].clamp_min(0).float()


class Block(nn.Module):
    """Pre-activation residual block over time (He et al. 2016, arXiv:1603.05027)."""

    def __init__(self, n_channels: int, dilation: int, n_film: int) -> None:
        super().__init__()
        self.before = nn.Sequential(
            group_norm(n_channels),
            nn.SiLU(),
            nn.Conv1d(n_channels, n_channels, 3, 1, dilation, dilation),
            group_norm(n_channels),
        )
        self.film = zeroed(nn.Linear(n_film, 2 * n_channels))
        self.after = nn.Sequential(nn.SiLU(), zeroed(nn.Conv1d(n_channels, n_channels, 1)))

    def forward(self, hidden: Tensor, film: Tensor) -> Tensor:
        scale, shift = self.film(film)[:, :, None].chunk(2, dim=1)
        output: Tensor = hidden + self.after(self.before(hidden) * (1 + scale) + shift)
        return output


def group_norm(n_channels: int) -> nn.GroupNorm:
    """Build a group normalisation (Wu & He 2018, arXiv:1803.08494)."""
    return nn.GroupNorm(8 if n_channels % 8 == 0 else 1, n_channels)


def zeroed(layer: nn.Linear | nn.Conv1d) -> nn.Module:
    """Set a layer's parameters to zero, and return the layer."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def neighbouring_regions(hats: Tensor) -> list[tuple[int, slice]]:
    """Divide bins into spans in which only the hats k and k + 1 are not zero: (k, span)."""
    first = (hats > 0).int().argmax(dim=0).clamp(max=max(0, len(hats) - 2))
    edges = [0, *(torch.nonzero(first.diff())[:, 0] + 1).tolist(), hats.shape[1]]
    return [(int(first[i]), slice(i, j)) for i, j in itertools.pairwise(edges)]


def hat_functions(n_bins: int, n_bands: int) -> Tensor:
    """Return triangular bands (n_bands, n_bins) on a mel scale; each bin's weights sum to 1."""
    highest_mel = 2595.0 * math.log10(1.0 + 12_000 / 700.0)
    mel = np.linspace(0.0, highest_mel, n_bands)
    centres = 700.0 * (10.0 ** (mel / 2595.0) - 1.0) / 12_000 * (n_bins - 1)
    rows = [np.interp(np.arange(n_bins), centres, row) for row in np.eye(n_bands)]
    return torch.tensor(np.stack(rows), dtype=torch.float32)
