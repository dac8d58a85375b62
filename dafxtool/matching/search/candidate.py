"""Refine the free settings of one chain against the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dafxtool.effects.effect import Effect
from dafxtool.errors import EffectError
from dafxtool.matching.chain import OSCILLATOR, Stage, render_stage
from dafxtool.matching.hints.start import DEVIATION, Start, clipped
from dafxtool.matching.objective import (
    Array,
    Objective,
    as_vector,
    distance_of,
)
from dafxtool.matching.plugin_reuse import stays_loaded
from dafxtool.matching.search.bracket import Bracket
from dafxtool.matching.search.held_samples import HeldSamples
from dafxtool.matching.search.refine import Refinement

# Parameters that change only the level, which the objective ignores. If all parameters of a tuple
# rise by 1 dB, so does the output.
LEVEL_PARAMETERS = {
    "gain": ("gain",),
    "overdrive": ("output",),
    "distortion": ("output",),
    "combo": ("output",),
    "compressor": ("makeup",),
    "multiband": ("makeup",),
    "limiter": ("drive", "ceiling"),
}
LEVEL_PARAMETER = {name: parameters[-1] for name, parameters in LEVEL_PARAMETERS.items()}
PHASE = "phase"
PHASE_DEVIATION = 0.02  # cycles
CUSPED = [("pitch-shift", "semitones")]  # a single coordinate whose minimum is a cusp
NO_EXCESS = 1e-13  # mean squared excess over held samples, in steps, that is small enough
# Renders to fit stages in front of a bit-crusher: more of them the less of the excess is left, as a
# share of that of the dry audio.
FITS = ((12, np.inf), (30, 0.3), (160, 3e-3))


@dataclass(frozen=True)
class Coordinate:
    """A free value of a chain: a parameter of a stage or the phase of its oscillator."""

    stage: int
    name: str
    deviation: float  # expected error as a share of the range


@dataclass(frozen=True)
class Summary:
    """Best chain of a candidate so far, in plain values that can be sent between processes.

    normal    (n, n) normal matrix of the residual, per unit of normalised values
    finished  whether more evaluations would not help
    """

    stages: tuple[Stage, ...]
    distance: float
    evaluations: int
    coordinates: tuple[Coordinate, ...] = ()
    normal: NDArray[np.float64] | None = None
    finished: bool = False


class Candidate:
    """Search the coordinates of one chain by refinement."""

    def __init__(
        self,
        dry: Array,
        sample_rate: int,
        objective: Objective,
        stages: Sequence[Stage],
        coordinates: Sequence[Coordinate],
    ) -> None:
        self.dry, self._sample_rate, self._objective = dry, sample_rate, objective
        self._stages, self.coordinates = tuple(stages), tuple(coordinates)
        self._rendered: dict[int, tuple[Stage, Array]] = {}  # last output of each stage
        self.evaluations = 0
        self.explored = False  # whether neighbours of its minimum were tried
        self.distance, self.best = np.inf, self._stages
        normalised = np.array([self._normalised(c) for c in coordinates])
        deviation = np.array([c.deviation for c in coordinates])
        names = [(self._stages[c.stage].effect.name, c.name) for c in coordinates]
        self._refinement = (Bracket if names == CUSPED else Refinement)(
            self._residual, normalised, deviation
        )
        self.is_refined = False

    @property
    def finished(self) -> bool:
        """Return whether more evaluations would not help."""
        return self._refinement.finished

    def advance(self, most_evaluations: int, target: float) -> Summary:
        """Refine with up to most_evaluations; stop early at a squared residual of `target`."""
        self.is_refined = True
        self._refinement.advance(most_evaluations, target=target)
        return self.summary()

    def meet_bounds(self, held: HeldSamples, with_bits: bool) -> None:
        """Fit the stages in front of a bit-crusher, the last stage, to the samples that it holds.

        The settings are kept if they reduce the distance.

        with_bits  whether the bits are read from the held samples, too; not if the user fixed them
        """
        before, unfitted, last = self.distance, self._stages, len(self._stages) - 1
        in_front = [c.stage < last for c in self.coordinates]
        if not any(in_front):
            return
        point = self._refinement.point.copy()
        crusher = self._stages[last]
        bits = clipped(crusher.effect, {"bits": held.bits}) if with_bits else {}
        self._stages = (
            *self._stages[:last],
            replace(crusher, setting=dict(crusher.setting) | bits),
        )

        def excess(values: NDArray[np.float64]) -> Array | None:
            self.evaluations += 1
            point[in_front] = values
            try:
                return held.excess(self._render(self._at(point)[:last]))
            except EffectError:
                return None

        deviation = np.array([c.deviation for c in self.coordinates])
        fit = Refinement(excess, point[in_front], deviation[in_front])
        for n_fits, highest in FITS:
            if fit.cost > highest * held.excess_of_dry:
                break
            fit.advance(n_fits, target=NO_EXCESS)
        point = np.array([self._normalised(c) for c in self.coordinates])
        point[in_front] = fit.point
        refinement = Refinement(self._residual, point, deviation)
        if self.distance < before:
            self._refinement = refinement
        else:
            self._stages = unfitted

    def summary(self) -> Summary:
        """Return the best chain so far, with the normal matrix at that point."""
        return Summary(
            self.best,
            self.distance,
            self.evaluations,
            self.coordinates,
            self._refinement.normal(),
            self.finished,
        )

    def _normalised(self, coordinate: Coordinate) -> float:
        stage = self._stages[coordinate.stage]
        if coordinate.name == PHASE:
            return 0.5  # half a cycle to either side
        return stage.effect.parameter(coordinate.name).to_normalised(stage.setting[coordinate.name])

    def _at(self, normalised: NDArray[np.float64]) -> tuple[Stage, ...]:
        stages = list(self._stages)
        for value, coordinate in zip(normalised, self.coordinates, strict=True):
            stage = stages[coordinate.stage]
            if coordinate.name == PHASE:
                phase = self._stages[coordinate.stage].phase + float(value) - 0.5
                stages[coordinate.stage] = replace(stage, phase=phase % 1.0)
            else:
                parameter = stage.effect.parameter(coordinate.name)
                changed = {coordinate.name: parameter.from_normalised(float(value))}
                stages[coordinate.stage] = replace(stage, setting=dict(stage.setting) | changed)
        return tuple(stages)

    def _residual(self, normalised: NDArray[np.float64]) -> Array | None:
        stages = self._at(normalised)
        self.evaluations += 1
        try:
            audio = self._render(stages)
        except EffectError:
            return None
        residuals = self._objective.residuals(audio)
        distance = distance_of(residuals)
        if distance < self.distance:
            self.distance, self.best = distance, stages
        return as_vector(residuals)

    def _render(self, stages: Sequence[Stage]) -> Array:
        audio, is_same = self.dry, True
        for index, stage in enumerate(stages):
            stored = self._rendered.get(index)
            if is_same and stored is not None and stored[0] == stage and index < len(stages) - 1:
                audio = stored[1]
                continue
            is_same = False
            keep_loaded = stays_loaded(stage.effect, self._sample_rate)
            audio = render_stage(stage, audio, self._sample_rate, keep_loaded)
            if len(stages) > 1:
                self._rendered[index] = (stage, audio)
        return audio


def stage_of(start: Start, held: Mapping[str, float]) -> Stage:
    """Return the stage of a start, with the values that the user has fixed."""
    setting = start.effect.default_setting() | dict(start.setting) | dict(held)
    return Stage(start.effect, setting, start.phase)


def coordinates_of(
    effect: Effect,
    index: int,
    held: Mapping[str, float],
    deviations: Mapping[str, float] | None = None,
    is_last: bool = True,
    with_phase: bool = False,
) -> list[Coordinate]:
    """List the coordinates of a stage that can be refined.

    deviations  standard deviations as shares of the range; 0 fixes a parameter
    is_last     of the last stage, the parameter that changes only the level is left out
    """
    expected = deviations or {}
    level = LEVEL_PARAMETER.get(effect.name) if is_last and effect.plugin is None else None
    coordinates = [
        Coordinate(index, p.name, expected.get(p.name, DEVIATION))
        for p in effect.parameters
        if p.name not in held
        and p.name != level
        and not p.choices
        and p.maximum > p.minimum
        and expected.get(p.name, DEVIATION) > 0
    ]
    if with_phase and effect.name in OSCILLATOR:
        coordinates.append(Coordinate(index, PHASE, PHASE_DEVIATION))
    return coordinates
