"""Compute an audio loss: render the predicted settings, and compare with the wet recording.

Effects are not differentiable. So the gradient of the distance is estimated from two renders, with
all settings changed at once in random directions (SPSA, Spall 1992). This works for any effect,
built-in or plugin. The renders run in worker processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.effect import Effect
from dafxtool.errors import EffectError
from dafxtool.matching.chain import Stage, render_chain
from dafxtool.matching.objective import Array, Objective
from dafxtool.matching.search.candidate import Summary
from dafxtool.matching.search.pool import Pool, Request

SPSA_STEP = 0.05  # of the range
LARGEST_RATIO = 4.0  # of the distances; farther settings are all equally wrong


@dataclass(frozen=True)
class RenderTask:
    """Settings of one effect to render on a dry recording and compare with the wet one."""

    effect: Effect
    settings: tuple[Mapping[str, float], ...]
    dry: Array
    wet: Array
    sample_rate: int
    before: tuple[Stage, ...] = ()
    behind: tuple[Stage, ...] = ()


@dataclass(frozen=True)
class RenderedDistances(Summary):
    """Distance of each setting over that of the dry recording."""

    ratios: tuple[float, ...] = ()


class DistanceRenderer:
    """Renderer of tasks in one process."""

    def answer(self, request: Request) -> RenderedDistances:
        """Render all settings of a task."""
        task = request.task
        assert isinstance(task, RenderTask)
        objective = Objective(task.wet)
        unprocessed = max(objective.distance(task.dry), 1e-6)
        ratios = []
        for setting in task.settings:
            try:
                audio = render_chain([Stage(task.effect, setting)], task.dry, task.sample_rate)
                ratios.append(min(objective.distance(audio) / unprocessed, LARGEST_RATIO))
            except EffectError:
                ratios.append(LARGEST_RATIO)
        return RenderedDistances((), min(ratios), len(ratios), ratios=tuple(ratios))


def renderers(workers: int) -> Pool:
    """Return processes for distances_of; use it as a context."""
    return Pool(DistanceRenderer, (), workers)


def distances_of(pool: Pool, tasks: Sequence[RenderTask]) -> list[tuple[float, ...]]:
    """Return the ratio of each setting of each task."""
    answers = pool.run([Request(key, task) for key, task in enumerate(tasks)])
    results = [answers[key] for key in range(len(tasks))]
    return [each.ratios for each in results if isinstance(each, RenderedDistances)]


def spsa_gradient(
    pool: Pool,
    effects: Sequence[Effect],
    normalised: Sequence[NDArray[np.float64]],
    audio: NDArray[np.float32],
    sample_rate: int,
    rng: np.random.Generator,
) -> tuple[list[NDArray[np.float64]], float]:
    """Estimate the slope of the distance in the normalised settings of each pair.

    effects     of each pair
    normalised  values of each pair, 0 to 1
    audio       (n, 2, n_samples), dry first
    returns     slopes per unit of the normalised values, and the mean ratio of the distances
    """
    signs = [rng.choice((-1.0, 1.0), len(values)) for values in normalised]
    tasks = []
    for effect, values, sign, (dry, wet) in zip(effects, normalised, signs, audio, strict=True):
        settings = tuple(_setting(effect, values + side * SPSA_STEP * sign) for side in (1.0, -1.0))
        tasks.append(RenderTask(effect, settings, dry, wet, sample_rate))
    ratios = np.array(distances_of(pool, tasks))
    slopes = (ratios[:, 0] - ratios[:, 1]) / (2 * SPSA_STEP)
    return [slope * sign for slope, sign in zip(slopes, signs, strict=True)], float(ratios.mean())


def _setting(effect: Effect, normalised: NDArray[np.float64]) -> dict[str, float]:
    return {
        parameter.name: parameter.from_normalised(float(np.clip(value, 0.0, 1.0)))
        for parameter, value in zip(effect.parameters, normalised, strict=True)
    }
