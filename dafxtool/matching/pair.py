"""Hold an aligned dry and wet recording, with the features that hints are computed from.

Audio is float32 (n_samples,) at one rate. Features are computed once, on first use.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from dafxtool.matching.objective import hann, spectrum

Array = NDArray[np.float32]

FRAME, HOP = 1024, 512  # samples, of the response estimate
REGULARISATION = 1e-4  # of the mean power of the dry spectrum


class Pair:
    """Dry and wet audio of equal length.

    start  first sample that counts; earlier samples only fill the memory of the effects
    """

    def __init__(self, dry: Array, wet: Array, sample_rate: int, start: int = 0) -> None:
        self.dry, self.wet, self.sample_rate, self.start = dry, wet, sample_rate, start

    @property
    def seconds(self) -> float:
        """Duration of the audio."""
        return self.dry.size / self.sample_rate

    @cached_property
    def impulse_response(self) -> NDArray[np.float64]:
        """Impulse response by regularised deconvolution; negative times are at the end."""
        n_fft = scipy.fft.next_fast_len(2 * self.dry.size, real=True)
        dry, wet = (scipy.fft.rfft(x.astype(np.float64), n_fft) for x in (self.dry, self.wet))
        power = dry.real**2 + dry.imag**2
        response = wet * dry.conj() / (power + REGULARISATION * power.mean() + 1e-30)
        return scipy.fft.irfft(response, n_fft)

    @cached_property
    def dry_frames(self) -> NDArray[np.complex64]:
        """STFT (n_frames, n_bins) of the dry audio."""
        return spectrum(self.dry, FRAME, HOP)

    @cached_property
    def wet_frames(self) -> NDArray[np.complex64]:
        """STFT (n_frames, n_bins) of the wet audio."""
        return spectrum(self.wet, FRAME, HOP)

    def local_gain(self, length: int, hop: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compute the least-squares gain from dry to wet of each frame, and its dry energy."""
        dry, wet = self.dry.astype(np.float64), self.wet.astype(np.float64)
        window = hann(length).astype(np.float64)
        cross = _smoothed(dry * wet, window, hop)
        energy = _smoothed(dry * dry, window, hop)
        return cross / np.maximum(energy, 1e-12 * max(energy.max(), 1e-30)), energy


def _smoothed(signal: NDArray[np.float64], window: NDArray[np.float64], hop: int) -> NDArray:
    from scipy.signal import oaconvolve

    return np.maximum(oaconvolve(signal, window, mode="valid")[::hop], -np.inf)


class Response:
    """Estimate the frequency response from one signal to another.

    gain_db    (n_bins,)
    weight     (n_bins,) reliability of each bin

    coherence  share of the output's energy that the response explains, 0 to 1
    """

    def __init__(self, source: NDArray[np.complex64], result: NDArray[np.complex64]) -> None:
        self.source_power = np.square(np.abs(source)).sum(axis=0, dtype=np.float64)
        result_power = np.square(np.abs(result)).sum(axis=0, dtype=np.float64)
        cross = (result * source.conj()).sum(axis=0, dtype=np.complex128)
        floor = 1e-9 * self.source_power.max() + 1e-30
        self.complex = cross / (self.source_power + floor)
        explained = np.square(np.abs(cross)) / (self.source_power + floor)
        total = max(float(result_power.sum()), 1e-30)
        self.coherence = float(explained.sum()) / total
        # As in the objective, all bins above the floor have the same weight.
        self.bin_coherence = np.clip(
            explained / (result_power + 1e-9 * result_power.max() + 1e-30), 0, 1
        )
        audible = self.source_power > 1e-6 * self.source_power.max()
        self.weight = audible * self.bin_coherence**2 / (1.02 - self.bin_coherence)
        self.gain_db = 20 * np.log10(np.abs(self.complex) + 1e-9)
