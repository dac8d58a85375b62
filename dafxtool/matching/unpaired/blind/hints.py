"""Estimate settings that a reference shows by itself: times, rates and frequencies.

They are estimated within about a thousandth, where the comparison of statistics with other content
finds them roughly or not at all. An effect without a clear trace gets no hint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import scipy.fft
from scipy.ndimage import uniform_filter1d

from dafxtool.effects.effect import Effect
from dafxtool.matching.hints.bit_crusher import levels_per_unit, rates_of
from dafxtool.matching.hints.start import clipped
from dafxtool.matching.objective import Array, rms
from dafxtool.matching.unpaired.blind import features
from dafxtool.matching.unpaired.blind.delay_paths import Ranges, delay_path
from dafxtool.matching.unpaired.blind.lines import Line, harmonic_strength, lines, relative_power

Hint = Mapping[str, float]  # parameter -> value

CLEAR_LINE = 9.0  # strength of a line; those of dry speech stay below 7
CLEAR_PATH = 13.0  # strength of a path of a delay; those of dry speech stay below 9
CLEAR_CARRIER = 60.0  # power of a line in the squared audio, over that around it
CLEAR_ECHO = 8.0  # peak of the cepstrum in standard deviations
N_PHASER_LINES = 3
DIVISORS = range(1, 17)  # the strongest line of a phaser may be a harmonic of this order
HIGHEST_HARMONIC_HZ = 6.0
TREMOLO_DIVISORS, HIGHEST_TREMOLO_HZ = (1, 2, 3), 25.0
CLEAR_HARMONICS = 9.0  # strength of the harmonics of a phaser; those of dry speech stay below 7.6
MOST_MISSES = 0.03  # share of changes that the rate of a bit-crusher does not explain
MARGIN = 1.05  # factor beyond the usual range of a rate
MAX_SECONDS = 120.0
CARRIER_NEIGHBOURHOOD_HZ = 20.0
ENVELOPE_SECONDS = 0.02
CHORUS_FRAME_SECONDS, FLANGER_FRAME_SECONDS = 0.0853, 0.0427
SHORTEST_ECHO_SECONDS = 0.02  # shorter ones are those of the pitch
SECONDS_OF_A_CEPSTRUM = 2.73


def blind_hint(reference: Array, sample_rate: int, effect: Effect, dry: Array) -> Hint:
    """Return what the reference shows of the settings of an effect; empty if nothing is clear.

    dry  the recording to be processed; only its level is used
    """
    estimate = ESTIMATORS.get(effect.name) if effect.plugin is None else None
    reference = reference[: round(MAX_SECONDS * sample_rate)]
    if estimate is None or reference.size < 4 * sample_rate or rms(reference) == 0:
        return {}
    return clipped(effect, dict(estimate(reference, sample_rate, effect, dry)))


def _limits(effect: Effect, name: str) -> tuple[float, float]:
    low, high = effect.parameter(name).usual_range()
    return low / MARGIN, high * MARGIN


def _line(
    values: Array, sample_rate: int, limits: tuple[float, float], n_harmonics: int
) -> Line | None:
    power, width = relative_power(values, features.frame_rate(sample_rate))
    found = lines(power, width, *limits, n_harmonics, 1)
    return found[0] if found and found[0].strength > CLEAR_LINE else None


def _tremolo(reference: Array, sample_rate: int, effect: Effect, dry: Array) -> Hint:
    levels = features.band_levels(reference, sample_rate, relative=False)
    limits = _limits(effect, "rate")
    power, width = relative_power(levels, features.frame_rate(sample_rate))
    found = lines(power, width, *limits, 2, 1)
    if not found or found[0].strength < CLEAR_LINE:
        return {}
    # A deep tremolo has strong harmonics of its level in dB.
    rates = [found[0].rate / d for d in TREMOLO_DIVISORS if found[0].rate / d >= limits[0]]
    strengths = [harmonic_strength(power, width, r, HIGHEST_TREMOLO_HZ) for r in rates]
    return {"rate": rates[int(np.argmax(strengths))]}


def _vibrato(reference: Array, sample_rate: int, effect: Effect, dry: Array) -> Hint:
    values = features.shifts(reference, sample_rate)
    line = _line(values, sample_rate, _limits(effect, "rate"), 1)
    return {"rate": line.rate} if line else {}


def _phaser(reference: Array, sample_rate: int, effect: Effect, dry: Array) -> Hint:
    """Find the rate whose harmonics are strongest; a slow phaser has a line at each of them."""
    levels = features.band_levels(reference, sample_rate, relative=True)
    low, high = _limits(effect, "rate")
    power, width = relative_power(levels, features.frame_rate(sample_rate))
    found = lines(power, width, low, high, 8, N_PHASER_LINES)
    rates = [line.rate / d for line in found for d in DIVISORS if line.rate / d >= low]
    strengths = [harmonic_strength(power, width, r, HIGHEST_HARMONIC_HZ) for r in rates]
    if max(strengths, default=0.0) < CLEAR_HARMONICS:
        return {}
    return {"rate": rates[int(np.argmax(strengths))]}


def _delay_path(reference: Array, sample_rate: int, effect: Effect, dry: Array) -> Hint:
    is_flanger = "feedback" in {p.name for p in effect.parameters}
    seconds = FLANGER_FRAME_SECONDS if is_flanger else CHORUS_FRAME_SECONDS
    ranges = Ranges(*(effect.parameter(name).usual_range() for name in ("rate", "depth", "delay")))
    path = delay_path(reference, sample_rate, ranges, seconds)
    if path.strength < CLEAR_PATH:
        return {}
    return {"rate": path.rate, "depth": path.depth, "delay": path.centre}


def _ring_modulator(reference: Array, sample_rate: int, effect: Effect, dry: Array) -> Hint:
    """Find the carrier in the power of the audio: lines at its frequency and at twice that."""
    power = np.square(reference, dtype=np.float64)
    around = uniform_filter1d(power, round(ENVELOPE_SECONDS * sample_rate) | 1)
    flat = power / (around + 1e-3 * power.mean())
    n_fft = scipy.fft.next_fast_len(flat.size, real=True)
    size = np.square(np.abs(scipy.fft.rfft(flat - flat.mean(), n_fft)))
    width = sample_rate / n_fft
    size /= uniform_filter1d(size, round(CARRIER_NEIGHBOURHOOD_HZ / width) | 1) + 1e-20
    low, high = _limits(effect, "frequency")
    first, last = int(low / width), min(int(2 * high / width), len(size) - 2)
    peak = first + int(np.argmax(size[first:last]))
    if size[peak] < CLEAR_CARRIER:
        return {}
    before, at, after = np.log(size[peak - 1 : peak + 2] + 1e-9)
    frequency = (peak + 0.5 * (before - after) / min(before - 2 * at + after, -1e-9)) * width
    half, double = (
        float(size[max(0, bin_ - 2) : bin_ + 3].max()) if bin_ < len(size) else 0.0
        for bin_ in (round(peak / 2), 2 * peak)
    )
    # Without direct sound, the power has a line at twice the frequency only.
    is_double = frequency / 2 >= low and (half > double or max(half, double) < CLEAR_CARRIER / 4)
    if is_double or frequency > high:
        frequency /= 2
    return {"frequency": frequency}


def _delay(reference: Array, sample_rate: int, effect: Effect, dry: Array) -> Hint:
    """Find the time of an echo as the largest peak of the mean cepstrum."""
    low, high = effect.parameter("time").usual_range()
    n = round(SECONDS_OF_A_CEPSTRUM * sample_rate)
    last = min(round(high / 1000 * sample_rate) + 2, n // 2)
    n_fft = scipy.fft.next_fast_len(2 * n, real=True)
    total = np.zeros(last)
    for start in range(0, max(1, reference.size - n // 2), n // 2):
        size = np.abs(scipy.fft.rfft(reference[start : start + n], n_fft))
        log = np.log(size + 1e-2 * size.mean() + 1e-9)
        total += scipy.fft.irfft(log - log.mean(), n_fft)[:last]
    first = round(max(low / 1000, SHORTEST_ECHO_SECONDS) * sample_rate)
    peaks = np.abs(total[first:])
    peak = int(np.argmax(peaks))
    # The content has larger values at short lags.
    near = peaks[max(0, peak - 2000) : peak + 2000]
    if peaks[peak] < CLEAR_ECHO * float(np.percentile(near, 68)):
        return {}
    return {"time": 1000 * (first + peak) / sample_rate}


def _bit_crusher(reference: Array, sample_rate: int, effect: Effect, dry: Array) -> Hint:
    part = reference[: 6 * sample_rate]
    rate, score = rates_of(part, sample_rate, effect)[0]
    if score > MOST_MISSES + 0.3 * rate / sample_rate:
        return {}
    # Quiet parts have few levels.
    steps = levels_per_unit(reference.astype(np.float64), effect)
    # At the level of the recording, as many steps are as large as in the reference.
    relative = rms(reference) / max(rms(dry), 1e-9)
    return {"rate": rate, "bits": 1 + float(np.log2(max(steps * relative, 1.0)))}


Estimator = Callable[[Array, int, Effect, Array], Hint]
ESTIMATORS: Mapping[str, Estimator] = {
    "tremolo": _tremolo,
    "vibrato": _vibrato,
    "phaser": _phaser,
    "chorus": _delay_path,
    "flanger": _delay_path,
    "ring-modulator": _ring_modulator,
    "delay": _delay,
    "bit-crusher": _bit_crusher,
}
# Effects whose trace is evidence. Some rooms have echoes like those of a delay.
TRACED = frozenset(ESTIMATORS) - {"delay"}
# Effects whose missing trace is evidence. Held samples are visible at the original rate only.
LEAVING_TRACES = TRACED - {"bit-crusher"}
