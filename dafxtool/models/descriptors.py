"""Describe what an effect does to a segment by fixed formulas, nearly independent of the recording.

Descriptors compare the wet spectrogram of a pair with the dry one, and average over time. So they
do not depend on when a note starts, and only little on the content:

- echoes: the filter over time from dry to wet, by regularised division in the Fourier domain (a
  Wiener filter), in four regions of frequency and in logarithmic steps of lag;
- comb: ripples along frequency in wet minus dry, by their period (a cepstrum, Bogert, Healy &
  Tukey 1963); echoes shorter than a frame cause them;
- shift: the filter along frequency from dry to wet, in logarithmic steps of lag: up and down
  together, and up minus down. A ring modulator shifts every partial by its own frequency;
- difference: mean and standard deviation over time of wet minus dry, in each band;
- level: mean of wet minus dry in each band, for each quarter of the dry band's level;
- fine: mean difference and level again, on a scale that magnifies small values. A subtle effect is
  identified by a pattern far below the standard deviation over effects;
- flux: mean change of each band from frame to frame, dry and wet;
- texture: roughness of the spectrum along frequency in each band, dry and wet;
- transfer: the logarithmic gain of each band, its shape with small values magnified, and the
  variation over time that a constant gain does not explain: none for a static filter or shelf;
- dynamics: the gain of the complete spectrum by the preceding level, and its correlation with
  earlier and later levels, their rises and their falls (compressors, gates, limiters);
- modulation: the spectrum over time of the overall gain and of the gains of bands relative to it,
  and the phase between bands (tremolo, moving notches);
- quiet: the level of the quietest frames of each band, dry and wet;
- decay, spectrum, ripple, peak, repeats: see `setting_descriptors`.

A difference with less than INAUDIBLE_DB of the dry segment's energy is removed first, and bins far
below the loudest one are raised to a floor. Otherwise fine and other descriptors would magnify
rounding noise, alone or beside an audible effect.

Linear probes predict effects and settings better from descriptors than from principal components
of the spectrograms or from mean mel spectra: docs/model.md has the figures.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn

from dafxtool.models import setting_descriptors
from dafxtool.models.linear_basis import split_frames
from dafxtool.spectrogram.stft import mel_filterbank

N_BANDS = 64
N_COARSE_BANDS = 32
N_REGIONS = 4
N_LEVELS = 4
N_LAG_STEPS = 40
MOST_LAGS = 100  # frames
REGULARISATION = 0.02  # of the mean power: avoids division by zero where the dry segment is silent
NOMINAL_RATE_HZ = 24_000  # of the mel scale's bend; bands are shares of the Nyquist frequency
N_BIN_LAG_STEPS = 48
SMALLEST_COMB_LAG = 8  # samples; slower ripples along frequency come from an equaliser
SMALLEST_SHIFT = 3  # bins: the width of a window's main lobe
MOST_SHIFT = 0.68  # of the bins
SMOOTHED_BINS = 31  # of 1025; broader features are the shape of the spectrum
SHIFT_REGULARISATION = 0.05
SHIFT_FRAME_STEP = 2  # every second frame: the mean over frames hardly changes
SMALL_DIFFERENCE = 0.01  # in standardised units; below it linear, above it logarithmic
SMALL_GAIN = 0.02  # natural logarithm after the power law; below it linear, above it logarithmic
SMALLEST_MOVEMENT = 1e-3  # in standardised units
N_LEVEL_STEPS = 8
MOST_RESPONSE_LAGS = 24  # frames: longest delay between a level and the gain
N_MODULATION_STEPS = 20
NEIGHBOUR_BANDS = 4  # between bands whose modulation is compared
QUIET_SHARE = 0.1  # of the frames
INAUDIBLE_DB, AUDIBLE_DB = -80.0, -70.0  # energy of wet minus dry against that of dry


class Descriptors(nn.Module):
    """Compute (batch, n_descriptors) float32 of spectrograms (batch, 2, n_bins, n_frames).

    floor_db       of both channels, relative to the loudest dry bin; 0 for no floor
    with_settings  include `setting_descriptors`; checkpoints of earlier versions have none
    """

    bands: Tensor
    coarse_bands: Tensor
    decay_bands: Tensor

    def __init__(
        self,
        n_bins: int,
        n_frames: int,
        exponent: float = 0.3,
        floor_db: float = 0.0,
        with_settings: bool = True,
    ) -> None:
        super().__init__()
        self._with_settings = with_settings
        self._floor = 10 ** (floor_db / 20 * exponent) if floor_db else 0.0  # after the power law
        self._root = max(1, round(1 / exponent))  # whole, since other powers are slow
        self.n_lags = max(1, min(MOST_LAGS, n_frames - 1))
        self._edges = _log_steps(1, self.n_lags, N_LAG_STEPS)
        self._comb_edges = _log_steps(SMALLEST_COMB_LAG, n_bins - 1, N_BIN_LAG_STEPS)
        self._shift_edges = _log_steps(SMALLEST_SHIFT, MOST_SHIFT * n_bins, N_BIN_LAG_STEPS)
        self._smoothed = 2 * max(1, n_bins // 2 * SMOOTHED_BINS // 1025) + 1
        decay_bands = band_averages(n_bins, setting_descriptors.N_DECAY_BANDS)
        self.register_buffer("decay_bands", decay_bands, persistent=False)
        self.register_buffer("bands", band_averages(n_bins, N_BANDS), persistent=False)
        self.register_buffer(
            "coarse_bands", band_averages(n_bins, N_COARSE_BANDS), persistent=False
        )
        with torch.no_grad():
            self.n_descriptors = self(torch.zeros(1, 2, n_bins, n_frames)).shape[1]

    def forward(self, spectrogram: Tensor) -> Tensor:
        dry, wet = split_frames(spectrogram)  # (batch, n_frames, n_bins)
        if self._floor:
            quietest, loudest = (
                dry.amin(dim=(1, 2), keepdim=True),
                dry.amax(dim=(1, 2), keepdim=True),
            )
            floor = quietest + self._floor * (loudest - quietest)
            dry, wet = dry.maximum(floor), wet.maximum(floor)
        wet = self._without_inaudible(dry, wet)
        dry_bands, wet_bands = dry @ self.bands, wet @ self.bands
        difference = wet_bands - dry_bands
        shift = self._shift_response(dry, wet)
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
            self._shift(*shift),
            *self._dynamics(dry, wet),
        ]
        if self._with_settings:
            parts += self._settings(shift, dry, wet)
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def _without_inaudible(self, dry: Tensor, wet: Tensor) -> Tensor:
        """Return wet frames, faded to the dry ones where the total difference is inaudible."""
        floor = dry.amin(dim=(1, 2), keepdim=True)
        dry_magnitude, wet_magnitude = (
            (x - floor).clamp_min(0).pow(self._root) for x in (dry, wet)
        )
        energies = [
            magnitude.square().sum(dim=(1, 2), keepdim=True)
            for magnitude in (wet_magnitude - dry_magnitude, dry_magnitude)
        ]
        level_db = 10 * (energies[0] / energies[1].clamp_min(1e-12) + 1e-20).log10()
        fade = ((level_db - INAUDIBLE_DB) / (AUDIBLE_DB - INAUDIBLE_DB)).clamp(0, 1)
        return dry + (wet - dry) * fade * fade * (3 - 2 * fade)

    def _echoes(self, dry: Tensor, wet: Tensor) -> Tensor:
        """Return the largest and the mean response in each step of lag: (batch, N_REGIONS, n)."""
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
        """Return the logarithm of the largest ripple in each step of echo time: (batch, n)."""
        weight = (dry + 1).clamp_min(0)  # loud bins are more reliable
        mean = ((wet - dry) * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-3)
        ripples = mean - self._smooth(mean[:, None])[:, 0]
        ripples = ripples * torch.hann_window(
            ripples.shape[1], periodic=False, dtype=ripples.dtype, device=ripples.device
        )
        cepstrum = torch.fft.rfft(ripples, 2 * (ripples.shape[1] - 1), dim=1).abs()
        return (_in_steps(cepstrum, self._comb_edges)[0] + SMALLEST_MOVEMENT).log()

    def _shift(self, up: Tensor, down: Tensor) -> Tensor:
        """Return largest, mean, and up minus down in each step of shift: (batch, 3, n)."""
        largest, mean = _in_steps((up + down) / 2, self._shift_edges)
        sides = _in_steps(up, self._shift_edges)[0] - _in_steps(down, self._shift_edges)[0]
        return torch.stack([largest, mean, sides], dim=1)

    def _shift_response(self, dry: Tensor, wet: Tensor) -> tuple[Tensor, Tensor]:
        """Return the filters along frequency from dry to wet, up and down: (batch, n) each."""
        length = next_fast_len(2 * dry.shape[2], real=True)
        dry, wet = (x[:, ::SHIFT_FRAME_STEP] for x in (dry, wet))
        dry, wet = (torch.fft.rfft(x - self._smooth(x), length, dim=2) for x in (dry, wet))
        cross, power = (wet * dry.conj()).mean(dim=1), dry.abs().square().mean(dim=1)
        floor = SHIFT_REGULARISATION * power.mean(dim=1, keepdim=True) + 1e-9
        up = torch.fft.irfft(cross / (power + floor), length, dim=1)
        return up, up.flip(1).roll(1, 1)  # lag 0 stays first

    def _dynamics(self, dry: Tensor, wet: Tensor) -> list[Tensor]:
        """Compute transfer, dynamics, modulation and quiet above the quietest dry bin."""
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
        variances = torch.stack(
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
            _level_response(level, gain),
            (variances + SMALLEST_MOVEMENT).log(),
            *self._modulation(gain - gain.mean(dim=1, keepdim=True), band_gain - common),
            *((each + SMALLEST_MOVEMENT).log() for each in quiet),
        ]

    def _settings(self, shift: tuple[Tensor, Tensor], dry: Tensor, wet: Tensor) -> list[Tensor]:
        """Compute `setting_descriptors` above the quietest dry bin."""
        floor = dry.amin(dim=(1, 2), keepdim=True)
        dry, wet = (dry - floor).clamp_min(0), (wet - floor).clamp_min(0)
        powers = [each.pow(2 * self._root) @ self.decay_bands for each in (dry, wet)]
        first, last = self._shift_edges[0], self._shift_edges[-1]
        response = ((shift[0] + shift[1]) / 2)[:, first : max(first + 1, last)]
        return [
            setting_descriptors.decay_descriptors(*powers),
            setting_descriptors.spectrum_descriptors(dry @ self.bands, wet @ self.bands),
            setting_descriptors.ripple_descriptors(dry, wet),
            setting_descriptors.peak_descriptors(response, first),
            setting_descriptors.repeat_descriptors(self._echo_response(dry, wet)),
        ]

    def _echo_response(self, dry: Tensor, wet: Tensor) -> Tensor:
        """Return the filter over time from dry to wet, of all bands in one: (batch, n_lags)."""
        length = next_fast_len(2 * dry.shape[1], real=True)
        bands = [each @ self.bands for each in (dry, wet)]
        dry, wet = (torch.fft.rfft(x - x.mean(dim=1, keepdim=True), length, dim=1) for x in bands)
        cross, power = (dry.conj() * wet).sum(dim=2), dry.abs().square().sum(dim=2)
        floor = REGULARISATION * power.mean(dim=1, keepdim=True) + 1e-9
        return torch.fft.irfft(cross / (power + floor), length, dim=1)[:, : bands[0].shape[1]]

    def _modulation(self, gain: Tensor, band_gain: Tensor) -> list[Tensor]:
        """Compute modulation spectra of the overall gain (batch, n) and of bands' gains.

        band_gain  (batch, n, n_bands) relative to the overall gain
        """
        edges = _log_steps(1, max(2, gain.shape[1] // 2), N_MODULATION_STEPS)
        window = torch.hann_window(gain.shape[1], device=gain.device, dtype=gain.dtype)
        overall = torch.fft.rfft(gain * window, dim=1).abs()
        bands = torch.fft.rfft(band_gain * window[:, None], dim=1)
        power = bands.abs().square()
        distance = min(NEIGHBOUR_BANDS, bands.shape[2] // 2)
        cross = bands[..., distance:] * bands[..., :-distance].conj()
        total = power.mean(dim=2)
        coherence = cross.mean(dim=2) / (total + 1e-6)
        in_regions = _in_regions(power).transpose(1, 2)
        small = SMALLEST_MOVEMENT
        return [
            (_in_steps(overall, edges)[0] + small).log(),
            (_in_steps(overall / (overall.mean(dim=1, keepdim=True) + small), edges)[0]),
            (_in_steps(in_regions, edges)[0] + small).log(),
            (_in_steps(total / (total.mean(dim=1, keepdim=True) + small), edges)[0] + small).log(),
            _in_steps(coherence.real, edges)[1],
            _in_steps(coherence.imag, edges)[1],
        ]

    def _smooth(self, frames: Tensor) -> Tensor:
        """Average frames (batch, n, n_bins) over neighbouring bins."""
        return nn.functional.avg_pool1d(
            frames, self._smoothed, 1, self._smoothed // 2, count_include_pad=False
        )

    def _texture(self, frames: Tensor) -> Tensor:
        """Return the log mean difference between neighbouring bins: (batch, n_bands)."""
        rough = frames.diff(dim=2).abs() @ self.coarse_bands[1:]
        return (rough.mean(dim=1) + SMALLEST_MOVEMENT).log()


def _log_steps(first: float, last: float, n_steps: int) -> list[int]:
    """Return the edges of at most n_steps logarithmic steps from first to last, none empty."""
    last = max(last, first + 1)
    edges = np.geomspace(first, last, n_steps + 1).round().astype(int)
    return [int(edge) for edge in np.unique(edges)]


def _in_steps(values: Tensor, edges: list[int]) -> tuple[Tensor, Tensor]:
    """Return the largest and the mean of values (..., n_lags) in each step: (..., n_steps)."""
    steps = [values[..., a:b] for a, b in pairwise(edges)]
    steps = [step for step in steps if step.shape[-1]]
    if not steps:  # a single frame has no lags
        return values[..., :0], values[..., :0]
    largest = torch.stack([step.amax(dim=-1) for step in steps], dim=-1)
    return largest, torch.stack([step.mean(dim=-1) for step in steps], dim=-1)


def band_averages(n_bins: int, n_bands: int) -> Tensor:
    """Return triangles (n_bins, n_bands) on a mel scale that average bins; no band is empty."""
    n_bands = max(N_REGIONS, min(n_bands, n_bins // 4 // N_REGIONS * N_REGIONS))
    bands = mel_filterbank(n_bins, n_bands, NOMINAL_RATE_HZ)
    centres = torch.linspace(0, n_bins - 1, n_bands).round().long()
    empty = bands.sum(dim=0) == 0  # a band between two bins gets the nearest one
    bands[centres[empty], torch.arange(n_bands)[empty]] = 1.0
    return bands / bands.sum(dim=0)


def _in_regions(bands: Tensor) -> Tensor:
    """Add up neighbouring bands: (batch, n, n_bands) -> (batch, n, N_REGIONS)."""
    return bands.unflatten(2, (N_REGIONS, -1)).sum(dim=3)


def _by_level(dry: Tensor, difference: Tensor) -> Tensor:
    """Return the mean difference (batch, N_LEVELS, n_bands) in each quarter of dry levels."""
    order = dry.argsort(dim=1, stable=True)
    quarters = difference.gather(1, order).tensor_split(N_LEVELS, dim=1)
    return torch.stack([part.sum(dim=1) / max(1, part.shape[1]) for part in quarters], dim=1)


def _gain_by_level(level: Tensor, gain: Tensor) -> Tensor:
    """Return mean and std of the gain in quantiles of level: (batch, 2 * N_LEVEL_STEPS).

    The mean over all frames is subtracted from the gain.
    """
    gain = gain - gain.mean(dim=1, keepdim=True)
    order = level.argsort(dim=1, stable=True)
    parts = gain.gather(1, order).tensor_split(N_LEVEL_STEPS, dim=1)
    means = [part.sum(dim=1) / max(1, part.shape[1]) for part in parts]
    squares = [part.square().sum(dim=1) / max(1, part.shape[1]) for part in parts]
    stds = [(s - m.square()).clamp_min(0).sqrt() for s, m in zip(squares, means, strict=True)]
    return torch.stack(means + stds, dim=1)


def _level_response(level: Tensor, gain: Tensor) -> Tensor:
    """Correlate a gain with preceding level, rises and falls: (batch, 3, n_lags)."""
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
    """Return the log mean change of each band from frame to frame: (batch, n_bands)."""
    movement = bands.diff(dim=1).abs().sum(dim=1) / max(1, bands.shape[1] - 1)
    return (movement + SMALLEST_MOVEMENT).log()
