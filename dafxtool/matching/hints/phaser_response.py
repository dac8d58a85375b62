"""Compare dry and wet frames with the response of a phaser that stays at one centre frequency.

JUCE's phaser has six first-order all-pass filters in a loop. Its feedback is late by one sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_STAGES = 6  # all-pass filters
FLOOR = 1e-6  # of the largest power

Frames = NDArray[np.complex64]
Vector = NDArray[np.float64]


def responses(
    frequencies: Vector, centres: Vector, feedback: float, mix: float, sample_rate: int
) -> NDArray[np.complex128]:
    """Compute the response (n_centres, n_bins) of a phaser that stays at each centre (Hz)."""
    warped = [np.tan(np.pi * np.minimum(f / sample_rate, 0.4999)) for f in (frequencies, centres)]
    ratio = warped[0][None, :] / warped[1][:, None]
    allpass = ((1 - 1j * ratio) / (1 + 1j * ratio)) ** N_STAGES
    delay = np.exp(-2j * np.pi * frequencies / sample_rate)
    return 1 - mix + mix * allpass / (1 + feedback * delay * allpass)


@dataclass(frozen=True)
class FrameProducts:
    """Products of dry and wet frames, divided by the power of each bin so that all weigh the same.

    cross  (n_frames, n_bins) wet times conjugate of dry
    power  (n_frames, n_bins) of dry
    total  (n_frames,) of wet, summed over the bins
    """

    cross: Frames
    power: NDArray[np.float32]
    total: NDArray[np.float32]

    @classmethod
    def of(cls, dry: Frames, wet: Frames) -> FrameProducts:
        """Compute the products of dry and wet frames (n_frames, n_bins)."""
        dry_power = np.square(np.abs(dry), dtype=np.float32)
        wet_power = np.square(np.abs(wet), dtype=np.float32)
        level = max(float(wet_power.sum()), 1e-30) / max(float(dry_power.sum()), 1e-30)
        dry_power *= np.float32(level)
        floor = np.float32(FLOOR * dry_power.max() + 1e-30)
        weight = 1 / (dry_power + wet_power + floor)
        return cls(
            wet * dry.conj() * weight * np.float32(level**0.5),
            (dry_power * weight).astype(np.float32),
            (wet_power * weight).sum(axis=1, dtype=np.float32),
        )

    def every(self, stride: int) -> FrameProducts:
        """Return every stride-th frame."""
        return FrameProducts(self.cross[::stride], self.power[::stride], self.total[::stride])

    def delayed(self, delay: float) -> FrameProducts:
        """Undo a delay of the wet frames, in samples."""
        if not delay:
            return self
        bins = np.arange(self.cross.shape[1]) / (self.cross.shape[1] - 1)
        turn = np.exp(1j * np.pi * bins * delay).astype(np.complex64)
        return FrameProducts(self.cross * turn, self.power, self.total)

    def least_error(self, response: NDArray[np.complex128]) -> float:
        """Return the sum over the frames of the error of the best response."""
        return float(self.errors(response).min(axis=1).sum())

    def errors(self, response: NDArray[np.complex128]) -> NDArray[np.float32]:
        """Compute the squared error (n_frames, n_responses) of each response at its best gain."""
        likeness = self.cross.real @ response.real.T.astype(np.float32)
        likeness += self.cross.imag @ response.imag.T.astype(np.float32)
        power = self.power @ np.square(np.abs(response)).T.astype(np.float32)
        explained = np.square(np.maximum(likeness, 0.0)) / np.maximum(power, 1e-20)
        return (self.total[:, None] - explained).astype(np.float32)
