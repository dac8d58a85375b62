"""Bound the input of a bit-crusher by the samples that it holds.

Quantisation hides small errors of the stages in front: a slightly different input has another
quantisation noise, so the spectra differ as if nothing were right. But every held sample of the wet
audio lies within half a step of the input at that time. How far an input leaves these bounds is a
smooth function of the settings in front.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.effect import Effect
from dafxtool.matching.hints.bit_crusher import levels_per_unit
from dafxtool.matching.pair import Array, Pair

MOST_MISSES = 0.02  # share of samples that may differ from their held sample
LARGEST_ERROR = 0.1  # of a step: mean distance of held samples from a level


class HeldSamples:
    """Held samples of wet audio, as whole numbers of steps.

    indices         (n_held,) samples at which the bit-crusher reads its input
    levels          (n_held,) their values in the wet audio, in steps
    steps_per_unit  number of steps from 0 to 1
    excess_of_dry   mean squared excess of the dry audio, in steps
    """

    def __init__(
        self,
        dry: Array,
        indices: NDArray[np.int64],
        levels: NDArray[np.float64],
        steps_per_unit: float,
    ) -> None:
        self.indices, self.levels, self.steps_per_unit = indices, levels, steps_per_unit
        self.excess_of_dry = float(np.square(self.excess(dry)).sum())

    @property
    def bits(self) -> float:
        """Return the setting of the bit-crusher, unless the level was changed behind it."""
        return 1 + float(np.log2(self.steps_per_unit))

    @classmethod
    def of(cls, pair: Pair, effect: Effect, rate: float) -> HeldSamples | None:
        """Return the samples held at a rate (Hz); None if this rate does not explain the audio.

        effect  the bit-crusher
        """
        wet, sample_rate, start = pair.wet, pair.sample_rate, pair.start
        position = np.arange(wet.size)
        n_held = np.floor(position * (rate / sample_rate))
        first = np.minimum(np.ceil(n_held * (sample_rate / rate)).astype(np.int64), position)
        is_off = np.abs(wet - wet[first]) > 1e-4 * float(np.abs(wet).max(initial=0.0))
        if is_off[start:].mean() > MOST_MISSES:
            return None
        indices = np.unique(first[start:])
        steps_per_unit = levels_per_unit(wet.astype(np.float64), effect)
        steps = wet[indices] * steps_per_unit
        levels = np.round(steps)
        if np.abs(steps - levels).mean() > LARGEST_ERROR:
            return None
        return cls(pair.dry, indices, levels, steps_per_unit)

    def excess(self, audio: Array) -> Array:
        """Return how far the input of the bit-crusher leaves the bounds, in steps, over sqrt(n).

        audio    (n_samples,) input of the bit-crusher
        returns  (n_held,)
        """
        steps = audio[self.indices] * self.steps_per_unit
        outside = steps - np.clip(steps, self.levels - 0.5, self.levels + 0.5)
        return (outside / np.sqrt(max(outside.size, 1))).astype(np.float32)
