"""Descriptors: what an effect does to a segment, whatever the recording, in fixed formulas.

They compare the wet channel of a pair of spectrograms with its dry one and sum over time, so that
they hold nothing of when something sounded, and little of what:

- echoes: the filter over time that leads from dry to wet, by regularised division in the Fourier
  domain (a Wiener filter), in four regions of frequency, its lags in logarithmic steps;
- difference: mean and deviation over time of wet minus dry, in each band;
- level: the mean of wet minus dry in each band where the dry band is soft, ..., where it is loud;
- flux: how much each band moves from frame to frame, dry and wet;
- texture: how rough the spectrum is along frequency in each band, dry and wet.

Linear probes tell effects and settings from them better than from principal components of the
spectrograms or from mean mel spectra: docs/model.md has the figures.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from dafxtool.principal import split_frames

N_BANDS = 64
N_COARSE_BANDS = 32
N_REGIONS = 4
N_LEVELS = 4
N_LAG_STEPS = 20
MOST_LAGS = 100  # frames
REGULARISATION = 0.02  # of the mean power: where the dry segment has nothing, nothing is divided
NOMINAL_RATE_HZ = 24_000  # of the mel scale's bend; bands are shares of the Nyquist frequency
SMALLEST_MOVEMENT = 1e-3  # in standardised units


class Descriptors(nn.Module):
    """Spectrograms (batch, 2, n_bins, n_frames) -> descriptors (batch, n_descriptors), float32."""

    bands: Tensor
    coarse_bands: Tensor

    def __init__(self, n_bins: int, n_frames: int) -> None:
        super().__init__()
        self.n_lags = max(1, min(MOST_LAGS, n_frames - 1))
        steps = np.geomspace(1, self.n_lags, N_LAG_STEPS + 1).round().astype(int)
        self._edges = [int(step) for step in np.unique(steps)]
        self.register_buffer("bands", band_averages(n_bins, N_BANDS), persistent=False)
        self.register_buffer(
            "coarse_bands", band_averages(n_bins, N_COARSE_BANDS), persistent=False
        )
        with torch.no_grad():
            self.n_descriptors = self(torch.zeros(1, 2, n_bins, n_frames)).shape[1]

    def forward(self, spectrogram: Tensor) -> Tensor:
        dry, wet = split_frames(spectrogram)  # (batch, n_frames, n_bins)
        dry_bands, wet_bands = dry @ self.bands, wet @ self.bands
        difference = wet_bands - dry_bands
        parts = [
            self._echoes(dry_bands, wet_bands),
            difference.mean(dim=1),
            difference.std(dim=1, correction=0),
            _by_level(dry_bands, difference),
            _flux(dry_bands),
            _flux(wet_bands),
            self._texture(dry),
            self._texture(wet),
        ]
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def _echoes(self, dry: Tensor, wet: Tensor) -> Tensor:
        """(batch, N_REGIONS, lags): the largest and the mean response in each step of lags."""
        length = 2 * dry.shape[1]
        dry, wet = (
            torch.fft.rfft(x - x.mean(dim=1, keepdim=True), length, dim=1) for x in (dry, wet)
        )
        cross, power = _in_regions(dry.conj() * wet), _in_regions(dry.abs().square())
        floor = REGULARISATION * power.mean(dim=1, keepdim=True) + 1e-9
        response = torch.fft.irfft(cross / (power + floor), length, dim=1)
        response = response[:, : self.n_lags].transpose(1, 2)
        steps = [response[..., a:b] for a, b in zip(self._edges, self._edges[1:], strict=False)]
        steps = [step for step in steps if step.shape[-1]]
        return torch.stack(
            [
                response[..., 0],
                *(step.amax(dim=-1) for step in steps),
                *(step.mean(dim=-1) for step in steps),
            ],
            dim=-1,
        )

    def _texture(self, frames: Tensor) -> Tensor:
        """(batch, bands): logarithm of the mean difference between neighbouring bins."""
        rough = frames.diff(dim=2).abs() @ self.coarse_bands[1:]
        return (rough.mean(dim=1) + SMALLEST_MOVEMENT).log()


def band_averages(n_bins: int, n_bands: int) -> Tensor:
    """(n_bins, n_bands): triangles on a mel scale that average bins; every band has some."""
    from torchaudio.functional import melscale_fbanks

    n_bands = max(N_REGIONS, min(n_bands, n_bins // 4 // N_REGIONS * N_REGIONS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about bands between two bins, which get the nearest one
        bands = melscale_fbanks(n_bins, 0.0, NOMINAL_RATE_HZ / 2, n_bands, NOMINAL_RATE_HZ)
    centres = torch.linspace(0, n_bins - 1, n_bands).round().long()
    empty = bands.sum(dim=0) == 0
    bands[centres[empty], torch.arange(n_bands)[empty]] = 1.0
    return bands / bands.sum(dim=0)


def _in_regions(bands: Tensor) -> Tensor:
    """Sums of neighbouring bands: (batch, n, n_bands) -> (batch, n, N_REGIONS)."""
    return bands.unflatten(2, (N_REGIONS, -1)).sum(dim=3)


def _by_level(dry: Tensor, difference: Tensor) -> Tensor:
    """(batch, N_LEVELS, n_bands): mean difference in the frames of each quarter of dry level."""
    order = dry.argsort(dim=1, stable=True)
    quarters = difference.gather(1, order).tensor_split(N_LEVELS, dim=1)
    return torch.stack([part.sum(dim=1) / max(1, part.shape[1]) for part in quarters], dim=1)


def _flux(bands: Tensor) -> Tensor:
    """(batch, n_bands): logarithm of the mean movement from frame to frame."""
    movement = bands.diff(dim=1).abs().sum(dim=1) / max(1, bands.shape[1] - 1)
    return (movement + SMALLEST_MOVEMENT).log()
