"""Audio at another sample rate, whole or a stretch of it.

Output sample m lies at the time of input sample m * from_rate / to_rate, without any delay, and n
input samples become ceil(n * to_rate / from_rate). Sample numbers count from 0; outside of a
recording there is silence. All is float32: rounding stays 130 dB below the sound, and
a product takes half the time of one in float64.

The ratio of the rates is (up, down) in lowest terms. It repeats itself after `up` output samples,
so a period of them is one matrix product with `down` input samples and a margin at both ends. Short
periods are taken several at once, long ones in blocks. Which periods share a product is counted
from the start of the recording: each sample is then added up in the same order whichever stretch
it is made in, to the bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import InputError

# The filter, in parts of the lower of the two rates: flat up to PASS, silent from STOP.
PASS, STOP = 0.45, 0.5
ATTENUATION_DB = 100.0
STRETCH = 1 << 20  # output samples that are resampled at a time, for the sake of memory
BLOCK = 128  # outputs of a long period that are made in one product
THREAD_SIZE = 1 << 18  # multiplications up to which OpenBLAS stays on one thread

Audio = NDArray[np.float32]


def resample(audio: NDArray[Any], from_rate: int, to_rate: int) -> Audio:
    """Audio at another sample rate.

    audio    (..., n_samples)
    returns  (..., ceil(n_samples * to_rate / from_rate))

    A windowed sinc: flat to 0.45 of the lower rate, 100 dB down from 0.5 of it on (Kaiser's window
    and his formula for its length: Oppenheim & Schafer, Discrete-Time Signal Processing, 7.6).
    """
    audio = np.asarray(audio, dtype=np.float32)
    up, down = ratio(from_rate, to_rate)
    if up == down:
        return audio.copy()
    length = -(-audio.shape[-1] * up // down)
    rows = audio.reshape(math.prod(audio.shape[:-1]), audio.shape[-1])
    made = [resample_span(row, 0, 0, length, up, down) for row in rows]
    return np.array(made, dtype=np.float32).reshape(*audio.shape[:-1], length)


def ratio(from_rate: int, to_rate: int) -> tuple[int, int]:
    """(up, down) in lowest terms: up output samples take as long as down input samples."""
    if min(from_rate, to_rate) < 1 or from_rate != int(from_rate) or to_rate != int(to_rate):
        raise InputError(
            f"{from_rate} Hz to {to_rate} Hz cannot be resampled: give whole rates above 0."
        )
    common = math.gcd(int(from_rate), int(to_rate))
    return int(to_rate) // common, int(from_rate) // common


@dataclass(frozen=True)
class _Periods:
    """How outputs are counted off: n_out of them to n_in inputs, n_rows periods in a product."""

    n_out: int
    n_in: int
    n_rows: int
    margin: int  # inputs before and after, under the filter


@lru_cache(maxsize=64)
def _periods(up: int, down: int) -> _Periods:
    times = -(-64 // up)
    n_out, n_in = up * times, down * times
    margin = math.ceil(_half_width(up, down)) + 1
    # Small enough for one thread: on more, products as small as these only wait for each other.
    n_rows = THREAD_SIZE // ((min(n_in, BLOCK * down // up) + 2 * margin) * min(n_out, BLOCK))
    return _Periods(n_out, n_in, min(max(n_rows, 1), 8) if n_out <= 1024 else 1, margin)


def _half_width(up: int, down: int) -> float:
    """Of the filter's window, in input samples."""
    transition = (STOP - PASS) * min(1.0, up / down)  # cycles a sample
    return (ATTENUATION_DB - 7.95) / (2.285 * 2 * math.pi * transition) / 2


def required_span(start: int, stop: int, from_rate: int, to_rate: int) -> tuple[int, int]:
    """The input samples that the outputs start to stop are made of."""
    up, down = ratio(from_rate, to_rate)
    if up == down:
        return start, stop
    margin = _periods(up, down).margin
    return start * down // up - margin, (stop * down) // up + margin + 1


def resample_span(samples: Audio, first: int, start: int, stop: int, up: int, down: int) -> Audio:
    """The outputs start to stop.

    samples  inputs from number `first` on; what is not among them is taken for silence
    """
    periods = _periods(up, down)
    step = periods.n_out * periods.n_rows  # outputs of one product
    stride = max(1, STRETCH // step) * step
    output = np.empty(stop - start, dtype=np.float32)
    for begin in range(start - start % step, stop, stride):
        end = min(begin + stride, -(-stop // step) * step)
        made = _whole_products(samples, first, begin // step, end // step, up, down)
        low, high = max(begin, start), min(end, stop)
        output[low - start : high - start] = made[low - begin : high - begin]
    return output


def _whole_products(samples: Audio, first: int, begin: int, end: int, up: int, down: int) -> Audio:
    """The outputs of the products begin to end, (n,)."""
    p = _periods(up, down)
    low = begin * p.n_rows * p.n_in - p.margin
    n_padded = (end - begin) * p.n_rows * p.n_in + 2 * p.margin + 1
    padded = np.zeros(n_padded, dtype=np.float32)
    inside = slice(max(first - low, 0), max(first - low + len(samples), 0))
    piece = samples[max(low - first, 0) :][: max(n_padded - inside.start, 0)]
    padded[inside.start : inside.start + len(piece)] = piece
    output = np.empty((end - begin, p.n_rows, p.n_out), dtype=np.float32)
    for block in range(0, p.n_out, BLOCK):
        skip, weights = _weights(up, down, block, min(block + BLOCK, p.n_out))
        windows = np.lib.stride_tricks.sliding_window_view(padded[skip:], len(weights))
        rows = windows[:: p.n_in][: (end - begin) * p.n_rows]
        rows = np.ascontiguousarray(rows).reshape(end - begin, p.n_rows, len(weights))
        output[:, :, block : block + weights.shape[1]] = rows @ weights
    return output.reshape(-1)


@lru_cache(maxsize=256)
def _weights(up: int, down: int, begin: int, end: int) -> tuple[int, NDArray[np.float32]]:
    """The filter for the outputs begin to end of a period.

    returns  how many inputs of the period (margin included) come before, (n_inputs, n_outputs)
    """
    margin = _periods(up, down).margin
    skip = begin * down // up
    n_inputs = (end - 1) * down // up + 2 * margin + 1 - skip
    # Whole numbers first: the time of an output between two inputs is exact however late it comes.
    numerators = (np.arange(n_inputs)[:, None] + skip - margin) * up - np.arange(begin, end) * down
    times = numerators / up  # in input samples, from the output
    cutoff = (PASS + STOP) / 2 * min(1.0, up / down)
    position = np.clip(times / _half_width(up, down), -1, 1)
    beta = 0.1102 * (ATTENUATION_DB - 8.7)
    window = np.i0(beta * np.sqrt(1 - position**2)) * (np.abs(position) < 1)
    weights = np.sinc(2 * cutoff * times) * window
    weights /= weights.sum(axis=0)  # a constant stays what it is
    return skip, weights.astype(np.float32)
