"""Resample complete recordings, or spans of them, with soxr.

Output sample m lies at the time of input sample m * from_rate / to_rate, without delay, and n input
samples become ceil(n * to_rate / from_rate). Sample numbers count from 0. Before and after the
recording there is silence. All arrays are float32.

soxr processes blocks that are counted from sample 0. Each overlaps its neighbours, and the output
of the overlap is dropped. A block has the same input for any span, so its output has the same bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import InputError

# Both in samples at the lower of the two rates.
BLOCK = 1 << 15  # shorter blocks have more overhead, longer ones waste more at the ends of a span
OVERLAP = 256  # the response of soxr's HQ filter is below -130 dB after 105

Audio = NDArray[np.float32]


def resample(audio: NDArray[Any], from_rate: int, to_rate: int) -> Audio:
    """Resample audio: flat to 0.45 of the lower rate, more than 100 dB down from 0.5 of it.

    audio    (..., n_samples)
    returns  (..., ceil(n_samples * to_rate / from_rate))
    """
    audio = np.asarray(audio, dtype=np.float32)
    up, down = ratio(from_rate, to_rate)
    if up == down:
        return audio.copy()
    n_output = -(-audio.shape[-1] * up // down)
    rows = audio.reshape(math.prod(audio.shape[:-1]), audio.shape[-1])
    resampled = [resample_span(row, 0, 0, n_output, from_rate, to_rate) for row in rows]
    return np.array(resampled, dtype=np.float32).reshape(*audio.shape[:-1], n_output)


def ratio(from_rate: int, to_rate: int) -> tuple[int, int]:
    """Return (up, down) in lowest terms: `up` output samples last as long as `down` inputs."""
    if min(from_rate, to_rate) < 1 or from_rate != int(from_rate) or to_rate != int(to_rate):
        raise InputError(
            f"Cannot resample {from_rate} Hz to {to_rate} Hz. Give whole rates above 0."
        )
    common = math.gcd(int(from_rate), int(to_rate))
    return int(to_rate) // common, int(from_rate) // common


def required_span(start: int, stop: int, from_rate: int, to_rate: int) -> tuple[int, int]:
    """Return the span of input samples (first, end) that the outputs start to stop need."""
    up, down = ratio(from_rate, to_rate)
    if up == down:
        return start, stop
    periods = _periods(BLOCK, up, down)
    first_block, end_block = start // (periods * up), -(-stop // (periods * up))
    overlap = _periods(OVERLAP, up, down)
    return (first_block * periods - overlap) * down, (end_block * periods + overlap) * down


def resample_span(
    samples: Audio, first: int, start: int, stop: int, from_rate: int, to_rate: int
) -> Audio:
    """Compute the output samples start to stop.

    samples  input samples from number `first` on; missing ones count as silence
    returns  (stop - start,)
    """
    import soxr

    up, down = ratio(from_rate, to_rate)
    periods, overlap = _periods(BLOCK, up, down), _periods(OVERLAP, up, down)
    n_block = periods * up
    output = np.empty(stop - start, dtype=np.float32)
    for block in range(start // n_block, -(-stop // n_block)):
        begin = (block * periods - overlap) * down
        padded = _padded(samples, begin - first, (periods + 2 * overlap) * down)
        resampled = soxr.resample(padded, from_rate, to_rate, quality="HQ")
        low, high = max(block * n_block, start), min((block + 1) * n_block, stop)
        offset = overlap * up - block * n_block
        output[low - start : high - start] = resampled[low + offset : high + offset]
    return output


def _periods(n_samples: int, up: int, down: int) -> int:
    """Return the number of periods of the ratio that last at least n_samples at the lower rate."""
    return -(-n_samples // min(up, down))


def _padded(samples: Audio, begin: int, n_samples: int) -> Audio:
    """Return the samples begin to begin + n_samples, with zeros outside of the input."""
    padded = np.zeros(n_samples, dtype=np.float32)
    inside = samples[max(begin, 0) : max(begin + n_samples, 0)]
    start = max(-begin, 0)
    padded[start : start + len(inside)] = inside
    return padded
