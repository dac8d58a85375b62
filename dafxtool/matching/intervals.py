"""Estimate the interval of each setting in which the match is as good.

Near the best point the squared residual is c + d' N d, with N the normal matrix of the slopes. The
interval of a setting is where this stays within a tolerance, with all other settings adapted to it.
If N is flat along a direction, the settings along it compensate each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dafxtool.matching.search.candidate import PHASE, Summary

TOLERANCE = 0.01  # of the norm of the residual of the unprocessed recording
COMPENSATING = 0.9  # correlation above which two settings compensate each other
WIDE = 0.02  # of the range; narrower intervals are not reported as compensating


@dataclass(frozen=True)
class Interval:
    """Range of a parameter, in its unit, in which the match is about equally good."""

    stage: int
    parameter: str
    low: float
    high: float


def intervals_of(
    summary: Summary, unprocessed_norm: float
) -> tuple[list[Interval], list[tuple[str, str]]]:
    """Return the interval of every refined parameter, and the pairs that compensate each other.

    unprocessed_norm  norm of the residual of the unprocessed recording
    """
    normal, coordinates = summary.normal, summary.coordinates
    if normal is None or not len(coordinates):
        return [], []
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-12))
    correlation = normal / np.outer(scale, scale) + 1e-6 * np.eye(len(scale))
    inverse = np.linalg.inv(correlation)
    std = np.sqrt(np.maximum(np.diag(inverse), 0.0))
    widths = TOLERANCE * unprocessed_norm * std / scale
    intervals = []
    for width, coordinate in zip(widths, coordinates, strict=True):
        if coordinate.name == PHASE:
            continue
        stage = summary.stages[coordinate.stage]
        parameter = stage.effect.parameter(coordinate.name)
        normalised = parameter.to_normalised(stage.setting[coordinate.name])
        ends = [parameter.from_normalised(normalised + side * width) for side in (-1, 1)]
        intervals.append(Interval(coordinate.stage, coordinate.name, min(ends), max(ends)))
    compensating = []
    for i, first in enumerate(coordinates):
        for j, second in enumerate(coordinates[:i]):
            correlation_ij = abs(inverse[i, j]) / max(std[i] * std[j], 1e-12)
            if correlation_ij > COMPENSATING and min(widths[i], widths[j]) > WIDE:
                compensating.append((second.name, first.name))
    return intervals, compensating
