"""Search the minimum of a narrow valley along one coordinate, by comparison of costs alone.

The phases of a pitch shift are different at every other shift: 0.001 semitones beside the truth
leave a quarter of the distance. The valley is a cusp, so slopes mislead, but within a few
thousandths it falls towards its minimum at every scale. A scan finds it. Then each round tries four
points around the best one and divides their distance by four; it is repeated where an outermost
point is the best.
"""

from __future__ import annotations

import numpy as np

from dafxtool.matching.search.refine import Residual, Vector, squared

N_SCANNED = 10  # steps to either side, the near ones first
OFFSETS = (-1, 1, -2, 2)  # of a round, in steps from the best point
FINER = 4.0  # ratio of the steps of two rounds
SMALLEST_STEP = 2e-8  # of the range: the resolution of a float32 value


class Bracket:
    """A search along one coordinate that can be continued, as a Refinement.

    point      (1,) normalised value of the best point so far
    cost       squared norm of its residual; infinite if it cannot be rendered
    finished   whether the step has reached its smallest size
    """

    def __init__(self, residual: Residual, point: Vector, deviation: Vector) -> None:
        self._residual = residual
        self._step = float(deviation[0])
        self.point = np.clip(point, 0.0, 1.0)
        first = residual(self.point)
        self.cost = squared(first)
        self.finished = first is None
        self._slope = 0.0  # norm of the change of the residual per unit of the coordinate
        self._current = first
        self._centre = float(self.point[0])
        self._offsets = [side * n for n in range(1, N_SCANNED + 1) for side in (-1, 1)]
        self._widest = N_SCANNED

    def normal(self) -> Vector | None:
        """Return the normal matrix (1, 1) of the residual, from its change over the last step."""
        return np.array([[self._slope**2]]) if self._slope else None

    def advance(self, most_evaluations: int, target: float = 0.0) -> None:
        """Continue for up to most_evaluations.

        target  cost at which the search stops
        """
        for _ in range(most_evaluations):
            if self.finished or self.cost <= target:
                return
            self._try(self._centre + self._offsets.pop(0) * self._step)
            if not self._offsets:
                self._next_round()

    def _try(self, value: float) -> None:
        value = float(np.clip(value, 0.0, 1.0))
        residual = None if value == self.point[0] else self._residual(np.array([value]))
        if residual is None or self._current is None:
            return
        change = abs(value - float(self.point[0]))
        self._slope = float(np.sqrt(squared(residual - self._current))) / change
        cost = squared(residual)
        if cost < self.cost:
            self.point, self.cost, self._current = np.array([value]), cost, residual

    def _next_round(self) -> None:
        moved = abs(float(self.point[0]) - self._centre)
        self._centre = float(self.point[0])
        if moved < (self._widest - 0.5) * self._step:
            self._step /= FINER
        self._offsets, self._widest = list(OFFSETS), max(OFFSETS)
        self.finished = self._step < SMALLEST_STEP
