"""How far each setting can move before the match gets worse, and which settings trade.

Around the best point the squared residual is c + d' N d, with N the product of the slopes. A
setting's interval is where that stays within a tolerance while all other settings follow it; a
direction in which N is flat means that settings compensate each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dafxtool.matching.candidate import PHASE, Summary

TOLERANCE = 0.01  # of the unprocessed recording's residual norm
TRADING = 0.9  # correlation from which two settings are said to compensate each other
WIDE = 0.02  # of the range: narrower intervals need no remark


@dataclass(frozen=True)
class Interval:
    """Range of a parameter, in its unit, in which the match is as good."""

    stage: int
    parameter: str
    low: float
    high: float


def intervals_of(
    summary: Summary, unprocessed_norm: float
) -> tuple[list[Interval], list[tuple[str, str]]]:
    """Return the interval of every refined parameter, and the pairs that trade.

    unprocessed_norm  norm of the residual of the recording as it is
    """
    normal, coordinates = summary.normal, summary.coordinates
    if normal is None or not len(coordinates):
        return [], []
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-12))
    correlation = normal / np.outer(scale, scale) + 1e-6 * np.eye(len(scale))
    inverse = np.linalg.inv(correlation)
    spread = np.sqrt(np.maximum(np.diag(inverse), 0.0))
    widths = TOLERANCE * unprocessed_norm * spread / scale
    found = []
    for width, coordinate in zip(widths, coordinates, strict=True):
        if coordinate.name == PHASE:
            continue
        stage = summary.stages[coordinate.stage]
        parameter = stage.effect.parameter(coordinate.name)
        position = parameter.to_normalised(stage.setting[coordinate.name])
        ends = [parameter.from_normalised(position + side * width) for side in (-1, 1)]
        found.append(Interval(coordinate.stage, coordinate.name, min(ends), max(ends)))
    trading = []
    for i, first in enumerate(coordinates):
        for j, second in enumerate(coordinates[:i]):
            together = abs(inverse[i, j]) / max(spread[i] * spread[j], 1e-12)
            if together > TRADING and min(widths[i], widths[j]) > WIDE:
                trading.append((second.name, first.name))
    return found, trading
