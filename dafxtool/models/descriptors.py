"""Descriptors: what an effect does to a segment, whatever the recording, in fixed formulas.

They compare the wet channel of a pair of spectrograms with its dry one and sum over time, so that
they hold nothing of when something sounded, and little of what:

- echoes: the filter over time that leads from dry to wet, by regularised division in the Fourier
  domain (a Wiener filter), in four regions of frequency, its lags in logarithmic steps;
- comb: the ripples along frequency that echoes shorter than a frame leave in the difference of wet
  and dry, by their period (a cepstrum, Bogert, Healy & Tukey 1963);
- shift: the filter along frequency that leads from dry to wet, its lags in logarithmic steps, up
  and down together and up less down: a ring modulator moves every partial by its own frequency;
- difference: mean and deviation over time of wet minus dry, in each band;
- level: the mean of wet minus dry in each band where the dry band is soft, ..., where it is loud;
- fine: mean difference and level once more, with what is small drawn large: which effect it is that
  is set to do little shows in a pattern far below the deviation over effects;
- flux: how much each band moves from frame to frame, dry and wet;
- texture: how rough the spectrum is along frequency in each band, dry and wet;
- transfer: the logarithmic gain of each band, its shape with what is small magnified, and how much
  of a bin's course over time a constant gain leaves: nothing for a static filter or shelf;
- dynamics: the gain of the whole spectrum by the level before it, and its correlation with earlier
  and later levels, their rises and their falls: compressors, gates, limiters;
- modulation: the spectrum over time of the whole gain, of the gains of bands around it, and the
  phase between bands: tremolo, moving notches;
- quiet: the level of the quietest frames of each band, dry and wet.

A difference whose energy is under INAUDIBLE_DB of the dry segment's is left out first: fine and
others magnify what is small, and would describe rounding noise.

Linear probes tell effects and settings from them better than from principal components of the
spectrograms or from mean mel spectra: docs/model.md has the figures.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn

from dafxtool.models.linear_basis import split_frames
from dafxtool.spectrogram.stft import mel_filterbank

N_BANDS = 64
N_COARSE_BANDS = 32
N_REGIONS = 4
N_LEVELS = 4
N_LAG_STEPS = 40
MOST_LAGS = 100  # frames
REGULARISATION = 0.02  # of the mean power: where the dry segment has nothing, nothing is divided
NOMINAL_RATE_HZ = 24_000  # of the mel scale's bend; bands are shares of the Nyquist frequency
N_BIN_LAG_STEPS = 48
SMALLEST_COMB_LAG = 8  # samples; what is slower along frequency is an equaliser
SMALLEST_SHIFT = 3  # bins: a window is as wide
MOST_SHIFT = 0.68  # of the bins
SMOOTHED_BINS = 31  # of 1025; what is as broad is the spectrum's own shape
SHIFT_REGULARISATION = 0.05
SHIFT_FRAME_STEP = 2  # every second frame: the mean over frames hardly changes
SMALL_DIFFERENCE = 0.01  # in standardised units; below it linear, above it logarithmic
SMALL_GAIN = 0.02  # natural logarithm after the power law; below it linear, above it logarithmic
SMALLEST_MOVEMENT = 1e-3  # in standardised units
N_LEVEL_STEPS = 8
MOST_RESPONSE_LAGS = 24  # frames: how far a gain follows a level
N_MODULATION_STEPS = 20
NEIGHBOUR_BANDS = 4  # between bands whose modulation is compared
QUIET_SHARE = 0.1  # of the frames
INAUDIBLE_DB, AUDIBLE_DB = -80.0, -70.0  # energy of wet minus dry against that of dry


class Descriptors(nn.Module):
    """Spectrograms (batch, 2, n_bins, n_frames) -> descriptors (batch, n_descriptors), float32."""

    bands: Tensor
    coarse_bands: Tensor

    def __init__(self, n_bins: int, n_frames: int, exponent: float = 0.3) -> None:
        super().__init__()
        self._root = max(1, round(1 / exponent))  # whole, since other powers are slow
        self.n_lags = max(1, min(MOST_LAGS, n_frames - 1))
        self._edges = _log_steps(1, self.n_lags, N_LAG_STEPS)
        self._comb_edges = _log_steps(SMALLEST_COMB_LAG, n_bins - 1, N_BIN_LAG_STEPS)
        self._shift_edges = _log_steps(SMALLEST_SHIFT, MOST_SHIFT * n_bins, N_BIN_LAG_STEPS)
        self._smoothed = 2 * max(1, n_bins // 2 * SMOOTHED_BINS // 1025) + 1
        self.register_buffer("bands", band_averages(n_bins, N_BANDS), persistent=False)
        self.register_buffer(
            "coarse_bands", band_averages(n_bins, N_COARSE_BANDS), persistent=False
        )
        with torch.no_grad():
            self.n_descriptors = self(torch.zeros(1, 2, n_bins, n_frames)).shape[1]

    def forward(self, spectrogram: Tensor) -> Tensor:
        dry, wet = split_frames(spectrogram)  # (batch, n_frames, n_bins)
        wet = self._without_inaudible(dry, wet)
        dry_bands, wet_bands = dry @ self.bands, wet @ self.bands
        difference = wet_bands - dry_bands
        mean, by_level = difference.mean(dim=1), _by_level(dry_bands, difference)
        parts = [
            self._echoes(dry_bands, wet_bands),
            mean,
            difference.std(dim=1, correction=0),
            by_level,
            (mean / SMALL_DIFFERENCE).asinh(),
            (by_level / SMALL_DIFFERENCE).asinh(),
            _flux(dry_bands),
            _flux(wet_bands),
            self._texture(dry),
            self._texture(wet),
            self._comb(dry, wet),
            self._shift(dry, wet),
            *self._dynamics(dry, wet),
        ]
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def _without_inaudible(self, dry: Tensor, wet: Tensor) -> Tensor:
        """Wet frames; dry ones where the whole difference is inaudible; in between a mix."""
        floor = dry.amin(dim=(1, 2), keepdim=True)
        dry_magnitude, wet_magnitude = (
            (x - floor).clamp_min(0).pow(self._root) for x in (dry, wet)
        )
        energies = [
            magnitude.square().sum(dim=(1, 2), keepdim=True)
            for magnitude in (wet_magnitude - dry_magnitude, dry_magnitude)
        ]
        level_db = 10 * (energies[0] / energies[1].clamp_min(1e-12) + 1e-20).log10()
        part = ((level_db - INAUDIBLE_DB) / (AUDIBLE_DB - INAUDIBLE_DB)).clamp(0, 1)
        return dry + (wet - dry) * part * part * (3 - 2 * part)

    def _echoes(self, dry: Tensor, wet: Tensor) -> Tensor:
        """(batch, N_REGIONS, lags): the largest and the mean response in each step of lags."""
        length = next_fast_len(2 * dry.shape[1], real=True)
        dry, wet = (
            torch.fft.rfft(x - x.mean(dim=1, keepdim=True), length, dim=1) for x in (dry, wet)
        )
        cross, power = _in_regions(dry.conj() * wet), _in_regions(dry.abs().square())
        floor = REGULARISATION * power.mean(dim=1, keepdim=True) + 1e-9
        response = torch.fft.irfft(cross / (power + floor), length, dim=1)
        response = response[:, : self.n_lags].transpose(1, 2)
        largest, mean = _in_steps(response, self._edges)
        return torch.cat([response[..., :1], largest, mean], dim=-1)

    def _comb(self, dry: Tensor, wet: Tensor) -> Tensor:
        """(batch, lags): logarithm of the largest ripple in each step of echo times."""
        weight = (dry + 1).clamp_min(0)  # what is loud tells more
        mean = ((wet - dry) * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-3)
        ripples = mean - self._smooth(mean[:, None])[:, 0]
        ripples = ripples * torch.hann_window(
            ripples.shape[1], periodic=False, dtype=ripples.dtype, device=ripples.device
        )
        cepstrum = torch.fft.rfft(ripples, 2 * (ripples.shape[1] - 1), dim=1).abs()
        return (_in_steps(cepstrum, self._comb_edges)[0] + SMALLEST_MOVEMENT).log()

    def _shift(self, dry: Tensor, wet: Tensor) -> Tensor:
        """(batch, 3, lags): of each step of shifts the largest and the mean, and up less down."""
        length = next_fast_len(2 * dry.shape[2], real=True)
        dry, wet = (x[:, ::SHIFT_FRAME_STEP] for x in (dry, wet))
        dry, wet = (torch.fft.rfft(x - self._smooth(x), length, dim=2) for x in (dry, wet))
        cross, power = (wet * dry.conj()).mean(dim=1), dry.abs().square().mean(dim=1)
        floor = SHIFT_REGULARISATION * power.mean(dim=1, keepdim=True) + 1e-9
        up = torch.fft.irfft(cross / (power + floor), length, dim=1)
        down = up.flip(1).roll(1, 1)  # lag 0 first here too
        largest, mean = _in_steps((up + down) / 2, self._shift_edges)
        sides = _in_steps(up, self._shift_edges)[0] - _in_steps(down, self._shift_edges)[0]
        return torch.stack([largest, mean, sides], dim=1)

    def _dynamics(self, dry: Tensor, wet: Tensor) -> list[Tensor]:
        """Transfer, dynamics, modulation and quiet, from magnitudes above the quietest dry bin."""
        floor = dry.amin(dim=(1, 2), keepdim=True)
        dry, wet = (dry - floor).clamp_min(0) + 1e-3, (wet - floor).clamp_min(0) + 1e-3
        products = [(a * b).sum(dim=1) for a, b in ((dry, wet), (dry, dry), (wet, wet))]
        incoherent = (1 - products[0].square() / (products[1] * products[2])).clamp_min(0)
        band_products = [each @ self.bands for each in products]
        transfer = (band_products[0] / band_products[1]).clamp_min(1e-3).log()
        level, wet_level = dry.square().mean(dim=2).log(), wet.square().mean(dim=2).log()
        gain = wet_level - level
        dry_bands, wet_bands = dry @ self.bands, wet @ self.bands
        weight = dry_bands / dry_bands.mean(dim=1, keepdim=True)
        band_gain = (wet_bands / dry_bands).log() * weight.clamp_max(1)
        band_gain = band_gain - band_gain.mean(dim=1, keepdim=True)
        common = band_gain.mean(dim=2, keepdim=True)
        spread = torch.stack(
            [
                band_gain.square().mean(dim=(1, 2)),
                common.square().mean(dim=(1, 2)),
                (band_gain - common).square().mean(dim=(1, 2)),
            ],
            dim=1,
        )
        rank = 1 + round(QUIET_SHARE * (dry.shape[1] - 1))
        quiet = [each.kthvalue(rank, dim=1).values @ self.coarse_bands for each in (dry, wet)]
        shape = transfer - transfer.mean(dim=1, keepdim=True)
        return [
            transfer,
            shape,
            (shape / SMALL_GAIN).asinh(),
            (shape.diff(dim=1) / SMALL_GAIN * 2).asinh(),
            (incoherent + SMALLEST_MOVEMENT).log() @ self.coarse_bands,
            _gain_by_level(level, gain),
            _following(level, gain),
            (spread + SMALLEST_MOVEMENT).log(),
            *self._modulation(gain - gain.mean(dim=1, keepdim=True), band_gain - common),
            *((each + SMALLEST_MOVEMENT).log() for each in quiet),
        ]

    def _modulation(self, gain: Tensor, band_gain: Tensor) -> list[Tensor]:
        """Spectra over time of a gain (batch, n) and of gains (batch, n, bands), in log steps."""
        edges = _log_steps(1, max(2, gain.shape[1] // 2), N_MODULATION_STEPS)
        window = torch.hann_window(gain.shape[1], device=gain.device, dtype=gain.dtype)
        whole = torch.fft.rfft(gain * window, dim=1).abs()
        bands = torch.fft.rfft(band_gain * window[:, None], dim=1)
        power = bands.abs().square()
        apart = min(NEIGHBOUR_BANDS, bands.shape[2] // 2)
        cross = bands[..., apart:] * bands[..., :-apart].conj()
        total = power.mean(dim=2)
        coherence = cross.mean(dim=2) / (total + 1e-6)
        in_regions = _in_regions(power).transpose(1, 2)
        small = SMALLEST_MOVEMENT
        return [
            (_in_steps(whole, edges)[0] + small).log(),
            (_in_steps(whole / (whole.mean(dim=1, keepdim=True) + small), edges)[0]),
            (_in_steps(in_regions, edges)[0] + small).log(),
            (_in_steps(total / (total.mean(dim=1, keepdim=True) + small), edges)[0] + small).log(),
            _in_steps(coherence.real, edges)[1],
            _in_steps(coherence.imag, edges)[1],
        ]

    def _smooth(self, frames: Tensor) -> Tensor:
        """(batch, n, n_bins), averaged over neighbouring bins."""
        return nn.functional.avg_pool1d(
            frames, self._smoothed, 1, self._smoothed // 2, count_include_pad=False
        )

    def _texture(self, frames: Tensor) -> Tensor:
        """(batch, bands): logarithm of the mean difference between neighbouring bins."""
        rough = frames.diff(dim=2).abs() @ self.coarse_bands[1:]
        return (rough.mean(dim=1) + SMALLEST_MOVEMENT).log()


def _log_steps(first: float, last: float, n_steps: int) -> list[int]:
    """Edges of at most n_steps steps from first to last, each with something in it."""
    last = max(last, first + 1)
    edges = np.geomspace(first, last, n_steps + 1).round().astype(int)
    return [int(edge) for edge in np.unique(edges)]


def _in_steps(values: Tensor, edges: list[int]) -> tuple[Tensor, Tensor]:
    """The largest and the mean of values (..., lags) in each step: (..., n_steps) twice."""
    steps = [values[..., a:b] for a, b in pairwise(edges)]
    steps = [step for step in steps if step.shape[-1]]
    if not steps:  # a single frame has no lags
        return values[..., :0], values[..., :0]
    largest = torch.stack([step.amax(dim=-1) for step in steps], dim=-1)
    return largest, torch.stack([step.mean(dim=-1) for step in steps], dim=-1)


def band_averages(n_bins: int, n_bands: int) -> Tensor:
    """(n_bins, n_bands): triangles on a mel scale that average bins; every band has some."""
    n_bands = max(N_REGIONS, min(n_bands, n_bins // 4 // N_REGIONS * N_REGIONS))
    bands = mel_filterbank(n_bins, n_bands, NOMINAL_RATE_HZ)
    centres = torch.linspace(0, n_bins - 1, n_bands).round().long()
    empty = bands.sum(dim=0) == 0  # a band between two bins gets the nearest one
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


def _gain_by_level(level: Tensor, gain: Tensor) -> Tensor:
    """(batch, 2 N_LEVEL_STEPS): mean gain and its deviation in quantiles of level, mean removed."""
    gain = gain - gain.mean(dim=1, keepdim=True)
    order = level.argsort(dim=1, stable=True)
    parts = gain.gather(1, order).tensor_split(N_LEVEL_STEPS, dim=1)
    means = [part.sum(dim=1) / max(1, part.shape[1]) for part in parts]
    squares = [part.square().sum(dim=1) / max(1, part.shape[1]) for part in parts]
    deviations = [(s - m.square()).clamp_min(0).sqrt() for s, m in zip(squares, means, strict=True)]
    return torch.stack(means + deviations, dim=1)


def _following(level: Tensor, gain: Tensor) -> Tensor:
    """(batch, 3, lags): correlation of a gain with the level, its rises and its falls before it."""
    n_lags = min(MOST_RESPONSE_LAGS, level.shape[1] - 1)
    rise = level.diff(dim=1, prepend=level[:, :1])
    causes = torch.stack([level, rise.clamp_min(0), (-rise).clamp_min(0)], dim=1)
    causes = causes - causes.mean(dim=2, keepdim=True)
    gain = (gain - gain.mean(dim=1, keepdim=True))[:, None]
    length = next_fast_len(2 * level.shape[1], real=True)
    spectra = [torch.fft.rfft(each, length, dim=2) for each in (causes, gain)]
    covariance = torch.fft.irfft(spectra[0].conj() * spectra[1], length, dim=2)
    covariance = torch.cat([covariance[..., length - 4 :], covariance[..., : n_lags + 1]], dim=2)
    norm = (causes.square().sum(dim=2) * gain.square().sum(dim=2)).sqrt()[..., None]
    return covariance / (norm + SMALLEST_MOVEMENT)


def _flux(bands: Tensor) -> Tensor:
    """(batch, n_bands): logarithm of the mean movement from frame to frame."""
    movement = bands.diff(dim=1).abs().sum(dim=1) / max(1, bands.shape[1] - 1)
    return (movement + SMALLEST_MOVEMENT).log()
