"""Undo the stages at the end of a chain, so that hints see the output of the stage in front.

Linear time-invariant stages are undone by regularised deconvolution with their impulse response,
and a tremolo by division.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft

from dafxtool.matching.chain import LINEAR, Stage, render_stage
from dafxtool.matching.objective import Array

REGULARISATION = 1e-5  # of the mean power of the frequency response
LOWEST_GAIN = 0.05  # of a tremolo


def undo(stages: Sequence[Stage], wet: Array, sample_rate: int) -> Array | None:
    """Return the audio (n_samples,) in front of the stages; None if a stage cannot be undone."""
    for stage in reversed(stages):
        if stage.effect.plugin is not None:
            return None
        if stage.effect.name == "tremolo":
            gain = render_stage(stage, np.ones_like(wet), sample_rate)
            wet = (wet / np.maximum(gain, LOWEST_GAIN)).astype(np.float32)
        elif stage.effect.name in LINEAR:
            wet = _deconvolved(stage, wet, sample_rate)
        else:
            return None
    return wet


def _deconvolved(stage: Stage, wet: Array, sample_rate: int) -> Array:
    impulse = np.zeros_like(wet)
    impulse[0] = 1.0
    n_fft = scipy.fft.next_fast_len(2 * wet.size, real=True)
    response = scipy.fft.rfft(render_stage(stage, impulse, sample_rate), n_fft)
    power = np.square(np.abs(response))
    inverse = response.conj() / (power + REGULARISATION * power.mean() + 1e-20)
    undone = scipy.fft.irfft(scipy.fft.rfft(wet, n_fft) * inverse, n_fft)[: wet.size]
    return undone.astype(np.float32)
