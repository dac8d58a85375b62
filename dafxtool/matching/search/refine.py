"""Refine a setting by least squares: Levenberg-Marquardt with Broyden's updates.

The residual is the vector of all spectral differences. One render for each parameter gives its
slope; each further step costs one render (Broyden 1965). Coordinates are normalised values divided
by their standard deviations, so a delay time that is known to the sample moves by much less than a
mix that may be off by a tenth of its range.

Moré 1978, "The Levenberg-Marquardt algorithm: implementation and theory".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import sger

Vector = NDArray[np.float64]
Residual = Callable[[Vector], "NDArray[np.float32] | None"]  # None: cannot be rendered

STEP = 0.2  # of the standard deviation, for finite differences
# A valley may be narrower than the first steps, whose slope is then wrong. So the search finishes
# only after a slope of these steps.
SMALLEST_STEP = 0.04  # of the standard deviation
MAX_STEP = 3.0  # standard deviations


class Refinement:
    """A search that can be continued.

    point      (n,) normalised values of the best point so far
    cost       squared norm of its residual; infinite if it cannot be rendered
    finished   whether no further gain is expected
    """

    def __init__(self, residual: Residual, point: Vector, deviation: Vector) -> None:
        self._residual, self._deviation = residual, deviation
        self._left = 1
        self.point = np.clip(point, 0.0, 1.0)
        # (n, n_residuals), the transposed Jacobian: products with contiguous rows are faster.
        self._slopes: NDArray[np.float32] | None = None
        self._current = self._evaluate(self.point)
        self.cost = squared(self._current)
        self._step = STEP
        self._damping = 1e-2
        self._is_fresh = False
        self._n_small = 0
        self.finished = self._current is None or not len(point)

    def normal(self) -> Vector | None:
        """Return the normal matrix (n, n) of the residual, per unit of normalised values."""
        if self._slopes is None:
            return None
        normal = (self._slopes @ self._slopes.T).astype(np.float64)
        return normal / np.outer(self._deviation, self._deviation)

    def advance(self, most_evaluations: int, tolerance: float = 2e-3, target: float = 0.0) -> None:
        """Continue for up to most_evaluations, or until gains stay below the tolerance.

        target  cost at which the search stops
        """
        self._left = most_evaluations
        while not self.finished and self._left > 0:
            if self.cost <= target:
                return
            if self._slopes is None:
                if self._left <= len(self.point):
                    return
                self._differentiate()
            is_taken, gain = self._try_step()
            if is_taken:
                self._is_fresh = False
                self._n_small = self._n_small + 1 if gain < tolerance else 0
                if self._n_small >= 2:
                    self._shrink()
            elif self._is_fresh and self._damping > 10:
                self._shrink()
            elif not self._is_fresh and self._damping > 1:
                self._step = max(self._step * 0.3, 0.02)
                self._damping = 1e-2
                self._slopes = None

    def _shrink(self) -> None:
        """Differentiate again with smaller steps, or finish after the smallest ones."""
        if self._step <= SMALLEST_STEP:
            self.finished = True
            return
        self._step = max(self._step * 0.2, SMALLEST_STEP)
        self._damping = 1e-2
        self._n_small = 0
        self._slopes = None

    def _evaluate(self, point: Vector) -> NDArray[np.float32] | None:
        self._left -= 1
        return self._residual(point)

    def _differentiate(self) -> None:
        assert self._current is not None
        rows = []
        for i, deviation in enumerate(self._deviation):
            step = self._step * deviation
            moved = self.point.copy()
            moved[i] += step if moved[i] + step <= 1 else -step
            moved = np.clip(moved, 0.0, 1.0)
            change = (moved[i] - self.point[i]) / deviation
            residual = self._evaluate(moved) if change else None
            if residual is None:
                rows.append(np.zeros_like(self._current))
            else:
                rows.append((residual - self._current) / np.float32(change))
        self._slopes = np.stack(rows)
        self._is_fresh = True

    def _try_step(self) -> tuple[bool, float]:
        """Try one step; return whether it was taken, and its relative gain."""
        assert self._slopes is not None and self._current is not None
        step = self._solve()
        proposed = np.clip(self.point + step * self._deviation, 0.0, 1.0)
        step = (proposed - self.point) / self._deviation
        length = float(step @ step)
        if length < 1e-12:
            self._damping *= 100
            return False, 0.0
        residual = self._evaluate(proposed)
        if residual is None:
            self._damping *= 10
            return False, 0.0
        error = residual - self._current - step.astype(np.float32) @ self._slopes
        # Broyden's update in place: the transposed slopes are in the order of Fortran.
        self._slopes = sger(1.0, error, step / length, a=self._slopes.T, overwrite_a=True).T
        cost = squared(residual)
        if cost >= self.cost:
            self._damping *= 8
            return False, 0.0
        gain = 1 - cost / self.cost
        self.point, self._current, self.cost = proposed, residual, cost
        self._damping = max(self._damping / 5, 1e-5)
        return True, gain

    def _solve(self) -> Vector:
        """Compute the damped Gauss-Newton step, without coordinates that would leave the range."""
        assert self._slopes is not None and self._current is not None
        normal = (self._slopes @ self._slopes.T).astype(np.float64)
        slope = (self._slopes @ self._current).astype(np.float64)
        scale = np.maximum(np.diag(normal), 1e-12 + 1e-3 * float(np.diag(normal).max()))
        free = np.ones(len(slope), dtype=bool)
        step = np.zeros(len(slope))
        for _ in range(len(slope)):
            if not free.any():
                break
            index = np.flatnonzero(free)
            matrix = normal[np.ix_(index, index)] + self._damping * np.diag(scale[index])
            step[:] = 0.0
            step[index] = np.linalg.lstsq(matrix, -slope[index], rcond=None)[0]
            beyond = self.point + step * self._deviation
            stuck = free & (((self.point <= 0) & (beyond < 0)) | ((self.point >= 1) & (beyond > 1)))
            if not stuck.any():
                break
            free &= ~stuck
        return np.clip(step, -MAX_STEP, MAX_STEP)


def squared(residual: NDArray[np.float32] | None) -> float:
    """Return the squared norm of a residual; infinite where there is none."""
    return np.inf if residual is None else float(residual @ residual)
