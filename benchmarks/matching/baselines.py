"""Simple ways to imitate an effect, for comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.fft
from scipy.signal import oaconvolve

from dafxtool.effects.effect import sample_setting
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.objective import Objective, frames, hann
from matching.recordings import RATE, Array


def _random_setting(
    dry: Array, wet: Array, truth: Stage, n: int, rng: np.random.Generator
) -> Array | None:
    setting = sample_setting(truth.effect, rng)
    return render_chain([Stage(truth.effect, setting)], dry, RATE)


def _plain_cma(
    dry: Array, wet: Array, truth: Stage, n: int, rng: np.random.Generator
) -> Array | None:
    """Return the result of CMA-ES over the normalised settings of the right effect."""
    try:
        import cma
    except ImportError:
        return None
    free = truth.effect.parameters
    if len(free) < 2 or truth.effect.name == "pitch-shift":
        return None
    objective = Objective(wet)

    def rendered(position: Sequence[float]) -> Array:
        values = {p.name: p.from_normalised(float(u)) for p, u in zip(free, position, strict=True)}
        return render_chain([Stage(truth.effect, values)], dry, RATE)

    options = {"bounds": [0, 1], "maxfevals": n, "verbose": -9, "seed": 1}
    search = cma.CMAEvolutionStrategy([0.5] * len(free), 0.25, options)
    while not search.stop():
        points = search.ask()
        search.tell(points, [objective.distance(rendered(point)) for point in points])
    return rendered(search.result.xbest)


def _matched_equaliser(
    dry: Array, wet: Array, truth: Stage, n: int, rng: np.random.Generator
) -> Array | None:
    """Return the dry audio with the mean spectrum of the wet one."""
    length = 1024
    window = hann(length)
    ours, theirs = (
        np.sqrt(np.square(np.abs(scipy.fft.rfft(frames(x, length, 512) * window))).mean(axis=0))
        for x in (dry, wet)
    )
    impulse = scipy.fft.irfft(theirs / (ours + 1e-4 * ours.max()))
    impulse = np.roll(impulse, length // 2) * window
    filtered = oaconvolve(dry, impulse)[length // 2 : length // 2 + dry.size]
    return filtered.astype(np.float32)


BASELINES: dict[str, Callable[..., Array | None]] = {
    "random settings of the right effect": _random_setting,
    "plain CMA-ES, effect known": _plain_cma,
    "matched equaliser": _matched_equaliser,
}
