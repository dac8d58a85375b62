"""Estimate delays from the peaks of the impulse response from dry to wet.

For y[n] = (1 - m) x[n] + m (x[n - d] + f x[n - 2d] + ...) the response is 1 - m at 0, m at d and
m f at 2 d. The ratios give mix m and feedback f, whatever the level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dafxtool.effects.effect import Effect
from dafxtool.matching.hints.start import Start, clipped
from dafxtool.matching.pair import Pair

N_PEAKS = 3
SHORTEST_MS = 5.0  # earlier peaks are those of a filter


@dataclass(frozen=True)
class Echo:
    """An echo in an impulse response: lag in samples, feedback (-1 to 1), mix (0 to 1), height."""

    lag: int
    feedback: float
    mix: float
    size: float


def echoes(pair: Pair, first: int, last: int, n: int) -> list[Echo]:
    """Return the n largest echoes with a lag from first to last, in samples."""
    response = pair.impulse_response
    last = min(last, pair.dry.size - 1)
    if last <= first:
        return []
    direct = float(response[0])
    size = np.abs(response[first:last]).copy()
    found = []
    for _ in range(n):
        peak = int(np.argmax(size))
        lag = first + peak
        echo = float(response[lag])
        second = float(response[2 * lag]) if 2 * lag < pair.dry.size else 0.0
        mix = abs(echo) / max(abs(echo) + abs(direct), 1e-12)
        feedback = float(np.clip(second / echo if echo else 0.0, -1, 1))
        found.append(Echo(lag, feedback, mix, float(size[peak])))
        size[max(0, peak - 8) : peak + 9] = 0.0
    return found


def starts(pair: Pair, effect: Effect) -> list[Start]:
    """Propose delay times from the largest peaks of the impulse response."""
    rate = pair.sample_rate
    time = effect.parameter("time")
    first = max(1, int(max(time.minimum, SHORTEST_MS) * rate / 1000))
    deviations = {"time": 0.0, "feedback": 0.03, "mix": 0.02}
    proposed = []
    for echo in echoes(pair, first, int(time.maximum * rate / 1000) + 2, N_PEAKS):
        setting = {
            "time": 1000 * echo.lag / rate,
            "feedback": 100 * echo.feedback,
            "mix": 100 * echo.mix,
        }
        proposed.append(Start(effect, clipped(effect, setting), deviations, score=-echo.size))
    return proposed
