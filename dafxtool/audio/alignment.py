"""Estimate the latency, polarity and clock drift of a wet recording against the dry one.

All arrays are mono float32 (n_samples,) at one sample rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from dafxtool.audio.resample import resample

Array = NDArray[np.float32]

EARLY_PEAK = 0.15  # of the largest peak of the response: an earlier one is the direct sound
LOBE_MARGIN = 1.5  # an earlier peak is higher than the lobes of a later one by this factor
LOBE_SAMPLES = 4  # by which filters of an effect move lobes
# Height of the largest peak over the RMS, of the impulse response and of the correlation with phase
# transform: unrelated recordings reach 12 and 26, distorted ones of one performance 60 and 130.
CLEAR_PEAKS = (14.0, 28.0)
SAME_WAVEFORM = 0.6  # normalised correlation: the same performance
SAME_ENVELOPE = 0.8  # correlation of the levels over time: the same performance
# The same where the waveforms correlate: the largest reverb reaches 0.28, another performance 0.21.
LIKE_LEVELS = 0.25
ENVELOPE_SECONDS = 0.01
LONGEST_LATENCY_SECONDS = 10.0
WINDOW_SECONDS = 60.0  # of the dry recording, in which the latency is estimated
DRIFT_WINDOW_SECONDS = (1.0, 3.0)  # shortest and longest
FEWEST_DRIFT_WINDOWS, MOST_DRIFT_WINDOWS = 4, 12
LARGEST_DRIFT_SECONDS = 0.1  # over the recording
SMOOTHING_SECONDS = 2e-4
DRIFT_UNITS = 1_000_000  # a drift is undone to one part in a million
CLEAR_SHIFT = 0.4  # normalised correlation of two impulse responses that differ by a shift
CLEAR_VOTE, CLEAR_JUMP = 0.6, 0.8  # share of the pairs of windows that agree on a change
N_PARTS, SHORTEST_PART_SECONDS = 3, 1.0  # in which an alignment is checked
OTHER_LATENCY_SECONDS = 2e-3
LEAST_CHANGE_SECONDS = 3e-4  # of the latency over the recording: less is not noticed


@dataclass(frozen=True)
class Alignment:
    """Result of align.

    latency      samples by which wet is late; negative where its beginning is missing
    is_inverted  whether the polarity of the direct sound is inverted
    is_sharp     whether the waveforms correlate; else the latency comes from the levels over time,
                 to about 10 ms, and the polarity is unknown
    drift        growth of the latency in samples per sample, 0 where there is none or it is unknown
    jump         change of the latency in samples that is no steady drift: samples were dropped
    """

    latency: int
    is_inverted: bool = False
    is_sharp: bool = True
    drift: float = 0.0
    jump: int = 0


def align(dry: Array, wet: Array, sample_rate: int) -> Alignment | None:
    """Align two recordings of one performance; None if they are of different ones.

    The latency is that of the direct sound, not of later echoes. If the effect has no direct sound,
    such as a delay with a mix of 100 %, its delay counts as latency.
    """
    alignment = _find_latency(dry, wet, sample_rate)
    if alignment is None or not alignment.is_sharp:
        return alignment
    # A note that both happen to play is as sharp as a performance.
    moved, first, last = shifted(wet, alignment.latency, dry.size)
    if _likeness(dry[first:last], moved[first:last], sample_rate) < LIKE_LEVELS:
        return None
    drift, jump = _drift(dry, wet, alignment.latency, sample_rate)
    if drift:  # it blurs the response over a long window
        alignment = _find_latency(dry, undo_drift(wet, drift), sample_rate) or alignment
    return replace(alignment, drift=drift, jump=jump)


def is_consistent(dry: Array, wet: Array, alignment: Alignment, sample_rate: int) -> bool:
    """Return whether parts of the recordings have the latency of the whole.

    Not, if two of three parts clearly have another one: where the clocks differ by much more than
    those of two devices, the alignment of the whole is one of chance.
    """
    if alignment.drift:
        wet = undo_drift(wet, alignment.drift)
    moved, first, last = shifted(wet, alignment.latency, dry.size)
    size, margin = (last - first) // N_PARTS, round(LARGEST_DRIFT_SECONDS * sample_rate)
    if size < SHORTEST_PART_SECONDS * sample_rate:
        return True  # too short to compare
    n_other = 0
    for start in range(first, first + N_PARTS * size, size):
        part, excerpt = dry[start : start + size], _around(moved, start, size, margin)
        if np.any(part) and np.any(excerpt):
            lag, clarity, _ = correlation_peak(part, excerpt, sample_rate)
            n_other += clarity >= 1 and abs(lag - margin) > OTHER_LATENCY_SECONDS * sample_rate
    return n_other < 2


def _likeness(dry: Array, wet: Array, sample_rate: int) -> float:
    """Correlate the levels over time of two recordings of equal length."""
    hop = round(ENVELOPE_SECONDS * sample_rate)
    if dry.size < 10 * hop:
        return 1.0  # too short to compare
    levels = [_levels(x, hop) for x in (dry, wet)]
    norm = float(np.linalg.norm(levels[0]) * np.linalg.norm(levels[1])) + 1e-20
    return float(levels[0] @ levels[1]) / norm


def undo_drift(wet: Array, drift: float) -> Array:
    """Resample a recording whose latency grows by `drift` samples per sample."""
    return resample(wet, round((1 + drift) * DRIFT_UNITS), DRIFT_UNITS)


def _find_latency(dry: Array, wet: Array, sample_rate: int) -> Alignment | None:
    """Find latency and polarity in the window with the highest level."""
    first, last = _window(dry, round(WINDOW_SECONDS * sample_rate))
    begin, excerpt = 0, wet
    if last - first < dry.size:
        reach = round(LONGEST_LATENCY_SECONDS * sample_rate)
        begin = max(0, first - reach)
        excerpt = wet[begin : last + reach]
    if not np.any(excerpt) or not np.any(dry[first:last]):
        return None
    lag, clarity, sign = correlation_peak(dry[first:last], excerpt, sample_rate)
    if clarity >= 1:
        return Alignment(lag + begin - first, sign < 0)
    likeness, lag = envelope_correlation(dry[first:last], excerpt, sample_rate)
    if likeness < SAME_ENVELOPE:
        return None
    return Alignment(lag + begin - first, is_sharp=False)


def _window(samples: Array, n_samples: int) -> tuple[int, int]:
    """Return the span of n_samples with the highest level, in steps of a quarter."""
    if samples.size <= n_samples:
        return 0, samples.size
    hop = max(1, n_samples // 4)
    starts = range(0, samples.size - n_samples + 1, hop)
    energies = [float(np.abs(samples[s : s + n_samples]).sum(dtype=np.float64)) for s in starts]
    first = starts[int(np.argmax(energies))]
    return first, first + n_samples


def _around(wet: Array, start: int, n_samples: int, margin: int) -> Array:
    """Cut n_samples of wet with a margin on both sides; zeros stand before its first sample."""
    excerpt = wet[max(0, start - margin) : max(0, start + n_samples + margin)]
    return np.pad(excerpt, (max(0, margin - start), 0))


def _drift(dry: Array, wet: Array, latency: int, sample_rate: int) -> tuple[float, int]:
    """Return the drift and the jump of Alignment, from windows over the recording.

    The impulse responses of the windows are shifted copies of each other where only the clock
    differs, whatever the effect is. All pairs of similar responses vote for no change, a steady
    drift or a jump.
    """
    first, last = max(0, -latency), min(dry.size, wet.size - latency)
    shortest, longest = (round(seconds * sample_rate) for seconds in DRIFT_WINDOW_SECONDS)
    n_window = max(shortest, min(longest, (last - first) // FEWEST_DRIFT_WINDOWS))
    n_windows = min(MOST_DRIFT_WINDOWS, (last - first) // n_window)
    if n_windows < FEWEST_DRIFT_WINDOWS:
        return 0.0, 0
    margin = round(LARGEST_DRIFT_SECONDS * sample_rate)
    starts = np.linspace(first, last - n_window, n_windows).astype(int).tolist()
    responses = []
    for start in starts:
        part = dry[start : start + n_window]
        excerpt = _around(wet, start + latency, n_window, margin)
        if np.any(part) and np.any(excerpt):
            responses.append((start, _local_response(part, excerpt, 2 * margin, sample_rate)))
    pairs = [
        (i, j, *_shift(responses[i][1], responses[j][1]))
        for j in range(len(responses))
        for i in range(j)
    ]
    pairs = [pair for pair in pairs if pair[3] >= CLEAR_SHIFT]
    if len(pairs) < FEWEST_DRIFT_WINDOWS:
        return 0.0, 0
    left, right = (np.array([pair[k] for pair in pairs]) for k in (0, 1))
    shifts, weights = (np.array([pair[k] for pair in pairs], np.float64) for k in (2, 3))
    times = np.array([start for start, _ in responses], np.float64)
    spans = times[right] - times[left]
    least = LEAST_CHANGE_SECONDS * sample_rate

    def votes(predicted: NDArray[np.float64]) -> float:
        near = np.abs(shifts - predicted) <= np.maximum(least / 2, 0.1 * np.abs(predicted))
        return float(weights[near].sum() / weights.sum())

    is_long = spans >= 0.5 * spans.max()
    slope = float(np.median(shifts[is_long] / spans[is_long]))
    unchanged, drifting = votes(np.zeros_like(shifts)), votes(slope * spans)
    steps = []
    for k in range(1, len(times)):
        across = (left < k) & (right >= k)
        if across.any() and not across.all():
            step = float(np.median(shifts[across]))
            steps.append((votes(np.where(across, step, 0.0)), round(step)))
    jumping, jump = max(steps, default=(0.0, 0))
    has_change = abs(slope) * (times[-1] - times[0]) >= least
    if has_change and drifting >= max(CLEAR_VOTE, 1.1 * unchanged, jumping):
        return slope, 0
    is_inside = abs(jump) < 0.9 * margin
    has_jump = is_inside and abs(jump) >= least and jumping >= max(CLEAR_JUMP, 1.1 * unchanged)
    return 0.0, jump if has_jump else 0


def _local_response(dry: Array, wet: Array, n_lags: int, sample_rate: int) -> NDArray[np.float64]:
    """Return the smoothed magnitude of the impulse response from dry to wet, at 0 to n_lags.

    Smoothed, because a drift within the window blurs it, and windows differ in bandwidth.
    """
    n_fft = scipy.fft.next_fast_len(dry.size + wet.size, real=True)
    source, result = (scipy.fft.rfft(x.astype(np.float64), n_fft) for x in (dry, wet))
    power = np.square(np.abs(source))
    response = result * source.conj() / (power + 1e-4 * power.mean() + 1e-30)
    size = np.abs(scipy.fft.irfft(response, n_fft)[: n_lags + 1])
    window = np.hanning(2 * round(SMOOTHING_SECONDS * sample_rate) + 1)
    return np.convolve(np.square(size), window / window.sum(), "same")


def _shift(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float]:
    """Return the lag of the second response in samples, and the similarity at this lag."""
    n_fft = scipy.fft.next_fast_len(2 * first.size, real=True)
    spectra = [scipy.fft.rfft(x - x.mean(), n_fft) for x in (second, first)]
    correlation = scipy.fft.irfft(spectra[0] * spectra[1].conj(), n_fft)
    norm = float(np.std(first) * np.std(second)) * first.size + 1e-30
    most = first.size // 2
    values = correlation[np.arange(-most, most + 1)] / norm
    best = int(np.argmax(values))
    below, top, above = (float(values[(best + k) % values.size]) for k in (-1, 0, 1))
    bend = below - 2 * top + above  # of the parabola through the peak
    between = 0.5 * (below - above) / bend if bend < 0 else 0.0
    return best - most + between, top


def shifted(wet: Array, lag: int, n_samples: int) -> tuple[Array, int, int]:
    """Return wet[n + lag] for n in 0 to n_samples, and the span that wet covers."""
    first, last = max(0, -lag), min(n_samples, wet.size - lag)
    moved = np.zeros(n_samples, dtype=np.float32)
    if last > first:
        moved[first:last] = wet[first + lag : last + lag]
    return moved, first, last


def correlation_peak(dry: Array, wet: Array, sample_rate: int) -> tuple[int, float, float]:
    """Find the lag of the direct sound of wet in dry.

    returns  lag in samples, how clear it is (1 or more is the same performance), and the sign of
             the direct sound

    The impulse response from dry to wet comes first: its earliest large peak is the direct sound,
    whatever echoes follow. Where it has no clear peak, the correlation with phase transform and
    that over the energies decide (Knapp & Carter 1976, "The generalized correlation method for
    estimation of time delay").
    """
    n_fft = scipy.fft.next_fast_len(dry.size + wet.size, real=True)
    first, second = scipy.fft.rfft(wet, n_fft), scipy.fft.rfft(dry, n_fft)
    cross = first * second.conj()
    power = np.square(np.abs(second))
    size = np.abs(cross)
    weights = (power + 1e-4 * float(power.mean()) + 1e-20, size + 1e-3 * float(size.mean()) + 1e-20)
    best = (0, 0.0, 1.0)
    for weight, clear, is_causal in zip(weights, CLEAR_PEAKS, (True, False), strict=True):
        lag, height, sign = _earliest_peak(
            cross / weight,
            _lobes(power / weight, n_fft),
            n_fft,
            dry.size,
            wet.size,
            sample_rate,
            is_causal,
        )
        if height >= clear:
            lag, sign = _plausible(lag, sign, cross, dry, wet, n_fft)
            return lag, height / clear, sign
        best = max(best, (lag, height / clear, sign), key=lambda each: each[1])
    lag, likeness = _most_similar_lag(cross, dry, wet, n_fft)
    return (lag, 1.0, 1.0) if likeness >= SAME_WAVEFORM else best


def _plausible(
    lag: int, sign: float, cross: NDArray[np.complex64], dry: Array, wet: Array, n_fft: int
) -> tuple[int, float]:
    """Return lag and sign, or those at which the waveforms clearly correlate if they do not there.

    The lobes of a distorted recording can exceed its peak; the plain correlation is lower there.
    """
    norm = float(np.linalg.norm(dry) * np.linalg.norm(wet)) + 1e-20
    correlation = scipy.fft.irfft(cross, n_fft) / norm
    best = int(np.argmax(np.abs(correlation)))
    value = float(correlation[best])
    if abs(value) < SAME_WAVEFORM or sign * float(correlation[lag]) >= EARLY_PEAK * abs(value):
        return lag, sign
    return best if best < wet.size else best - n_fft, float(np.sign(value))


def _lobes(spectrum: NDArray[np.float32], n_fft: int) -> NDArray[np.float32]:
    """Return how high the correlation of a delayed copy is at each distance from its peak.

    A recording without treble, or of few notes, gives a peak with high lobes on both sides.
    """
    own = np.abs(scipy.fft.irfft(spectrum, n_fft))
    return maximum_filter1d(own / (own[0] + 1e-20), 2 * LOBE_SAMPLES + 1, mode="wrap")


def _earliest_peak(
    spectrum_of: NDArray[np.complex64],
    lobes: NDArray[np.float32],
    n_fft: int,
    n_dry: int,
    n_wet: int,
    sample_rate: int,
    is_causal: bool,
) -> tuple[int, float, float]:
    """Return lag, height over the RMS, and sign of the first large peak of a correlation.

    is_causal  whether echoes follow the direct sound; otherwise the largest peak is returned
    """
    correlation = scipy.fft.irfft(spectrum_of, n_fft)
    longest = round(LONGEST_LATENCY_SECONDS * sample_rate)
    most, least = min(longest, n_wet - 1), min(longest, n_dry - 1)
    both = np.concatenate([correlation[n_fft - least :], correlation[: most + 1]])
    strength = np.abs(both)
    level = float(np.sqrt(np.mean(np.square(both)))) + 1e-20
    top = early = int(np.argmax(strength))
    if is_causal:
        limit = max(EARLY_PEAK * float(strength[top]), 10 * level)
        reach = max(0, top - round(1.1 * sample_rate))
        expected = np.zeros(top - reach, dtype=strength.dtype)  # lobes of the peaks found so far
        while early > reach:
            expected = expected[: early - reach]
            np.maximum(expected, strength[early] * lobes[early - reach : 0 : -1], out=expected)
            before = strength[reach:early]
            clear = np.where((before >= limit) & (before >= LOBE_MARGIN * expected), before, 0.0)
            if not clear.any():
                break
            early = reach + int(np.argmax(clear))
    at_once = float(strength[least])
    if at_once >= max(0.5, LOBE_MARGIN * lobes[abs(early - least)]) * strength[early]:
        early = least  # no latency at all is the likeliest
    return early - least, float(strength[top] / level), float(np.sign(both[early]) or 1.0)


def _most_similar_lag(
    cross: NDArray[np.complex64], dry: Array, wet: Array, n_fft: int
) -> tuple[int, float]:
    """Return the lag at which a shorter recording is most similar to the other, and how much."""
    correlation = scipy.fft.irfft(cross, n_fft)
    shorter, longer = (wet, dry) if wet.size <= dry.size else (dry, wet)
    energy = np.concatenate([[0.0], np.cumsum(np.square(longer.astype(np.float64)))])
    parts = energy[shorter.size :] - energy[: energy.size - shorter.size]
    places = np.arange(parts.size)
    lags = -places if wet.size <= dry.size else places
    norm = np.sqrt(np.maximum(parts, 1e-6 * parts.max(initial=0.0)) * np.sum(np.square(shorter)))
    values = correlation[lags % n_fft] / (norm + 1e-20)
    best = int(np.argmax(values))
    return int(lags[best]), float(values[best])


def envelope_correlation(dry: Array, wet: Array, sample_rate: int) -> tuple[float, int]:
    """Correlate the levels over time; return the largest value and its lag in samples."""
    hop = round(ENVELOPE_SECONDS * sample_rate)
    levels = [_levels(x, hop) for x in (dry, wet)]
    n_fft = scipy.fft.next_fast_len(levels[0].size + levels[1].size, real=True)
    first, second = (scipy.fft.rfft(x, n_fft) for x in (levels[1], levels[0]))
    correlation = scipy.fft.irfft(first * second.conj(), n_fft)
    norm = float(np.linalg.norm(levels[0]) * np.linalg.norm(levels[1])) + 1e-20
    most = round(1.0 / ENVELOPE_SECONDS)
    lags = np.arange(-most, most + 1)
    values = correlation[lags % n_fft] / norm
    at_once = float(values[most])
    best = int(np.argmax(values))
    if at_once > 0.95 * values[best]:
        return at_once, 0
    return float(values[best]), int(lags[best]) * hop


def _levels(samples: Array, hop: int) -> NDArray[np.float64]:
    n = samples.size // hop
    power = np.square(samples[: n * hop].astype(np.float64).reshape(n, hop)).mean(axis=1)
    level = 10 * np.log10(power + 1e-6 * power.max(initial=0.0) + 1e-20)
    return level - level.mean()
