"""Bring a dry and a wet recording together: rate, channels, latency, polarity, excerpt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from dafxtool.audio.io import AudioInfo, load_segment, read_info, resampled_length
from dafxtool.config import SegmentConfig
from dafxtool.dataset.silence import silence_reason
from dafxtool.errors import InputError
from dafxtool.matching.objective import Array, rms
from dafxtool.matching.pair import Pair
from dafxtool.utils.text import shown_name

HIGHEST_RATE = 48_000  # Hz, of a search
SHORTEST_SECONDS = 0.25
MOST_SECONDS = 600.0  # of a recording that are looked at
EXCERPT_SAMPLES = 196_608  # that a search compares
PRE_ROLL_SECONDS = 2.0  # heard before the excerpt, for echoes and detectors
SILENT_RMS = 3e-5  # -90 dBFS
EARLY_PEAK = 0.15  # of the largest peak of the response: an earlier one is the direct sound
# Height of the largest peak over the RMS, of the impulse response and of the correlation with phase
# transform: unrelated recordings reach 12 and 26, distorted ones of one performance 60 and 130.
CLEAR_PEAKS = (14.0, 28.0)
SAME_WAVEFORM = 0.6  # normalised correlation: the same performance
SAME_ENVELOPE = 0.8  # correlation of the levels over time: the same performance
ENVELOPE_SECONDS = 0.01
LONGEST_LATENCY_SECONDS = 10.0


@dataclass(frozen=True)
class Prepared:
    """Two recordings at one rate, the wet one moved to the dry one's time.

    wet              (n_samples,) like dry, zeros where the wet recording has nothing
    highest          share of half the rate up to which both recordings reach
    latency_samples  by which the wet recording was late
    first, last      samples of dry that the wet recording covers
    """

    dry: Array
    wet: Array
    sample_rate: int
    highest: float
    latency_samples: int
    first: int
    last: int
    remarks: tuple[str, ...] = field(default=())

    def with_latency(self) -> Prepared:
        """Undo the alignment: an effect without direct sound delays as well."""
        moved, first, last = shifted(self.wet, -self.latency_samples, self.dry.size)
        return replace(self, wet=moved, first=first, last=last, latency_samples=0)

    def excerpt(self, n_samples: int = EXCERPT_SAMPLES) -> Pair:
        """Cut out the part that the search compares, with what the effects hear before it."""
        begin, end = loudest_window(self.dry, self.first, self.last, n_samples, self.sample_rate)
        heard = max(0, begin - round(PRE_ROLL_SECONDS * self.sample_rate))
        if begin == self.first:
            heard = 0 if begin < 2 * PRE_ROLL_SECONDS * self.sample_rate else heard
        return Pair(self.dry[heard:end], self.wet[heard:end], self.sample_rate, begin - heard)


def read_recording(path: Path, sample_rate: int | None = None, channel: str = "first") -> Array:
    """Read one channel of a recording, at most ten minutes; InputError if it is silent or short."""
    info = read_info(path)
    rate = sample_rate or info.sample_rate
    n_samples = min(resampled_length(info, rate), round(MOST_SECONDS * rate))
    if n_samples < SHORTEST_SECONDS * rate:
        raise InputError(
            f"{path}: too short to match (found {n_samples / rate:.2f} s, expected at least "
            f"{SHORTEST_SECONDS} s). Give a longer recording."
        )
    samples = load_segment(path, 0, n_samples, rate, channel, info)
    if rms(samples) < SILENT_RMS:
        whole = SegmentConfig(
            rate, n_samples, min_mean_square=SILENT_RMS**2, short="pad", channel=channel
        )
        raise InputError(silence_reason(path, whole, remedy="Give a recording with sound in it."))
    return samples


def prepare_files(
    dry_path: Path,
    wet_path: Path,
    highest_rate: int | None = HIGHEST_RATE,
    channel: str | None = None,
) -> Prepared:
    """Read and align a dry and a wet recording of any rates and channel counts.

    highest_rate  Hz, above which both are resampled for the search
    channel       of both; None takes the first, or the mean where the two have different numbers
                  of channels and the mean fits better
    """
    dry_info, wet_info = read_info(dry_path), read_info(wet_path)
    rate = min(dry_info.sample_rate, highest_rate or dry_info.sample_rate)
    lowest = min(dry_info.sample_rate, wet_info.sample_rate)
    highest = min(1.0, 0.95 * lowest / rate) if lowest < rate else 1.0
    best: tuple[float, Array, Array] | None = None
    same = dry_info.n_channels == wet_info.n_channels
    for dry_channel in _channels(dry_info, channel, same):
        for wet_channel in _channels(wet_info, channel, same):
            dry = read_recording(dry_path, rate, dry_channel)
            wet = read_recording(wet_path, rate, wet_channel)
            height = correlation_peak(dry, wet, rate)[1]
            if best is None or height > best[0]:
                best = (height, dry, wet)
    assert best is not None
    names = (shown_name(dry_path), shown_name(wet_path))
    return align(best[1], best[2], rate, highest, names)


def _channels(info: AudioInfo, channel: str | None, same: bool) -> tuple[str, ...]:
    """Return the channels to try of one of the recordings; a mono one has only its own."""
    if info.n_channels == 1:
        return ("first",)
    if channel is not None:
        return (channel,)
    return ("first",) if same else ("first", "mean")


def align(
    dry: Array, wet: Array, sample_rate: int, highest: float, names: tuple[str, str]
) -> Prepared:
    """Move wet to the time of dry; InputError when they are not the same performance."""
    lag, clarity, sign = correlation_peak(dry, wet, sample_rate)
    if clarity < 1:
        likeness, envelope_lag = envelope_correlation(dry, wet, sample_rate)
        if likeness < SAME_ENVELOPE:
            raise InputError(
                f"{names[1]}: not the same performance as {names[0]} (their levels over time "
                f"correlate at {likeness:.2f}). Use --like for a reference with other content."
            )
        lag, sign = envelope_lag, 1.0
    remarks = []
    if lag:
        side = "late" if lag > 0 else "early"
        remarks.append(
            f"{names[1]} is {abs(lag)} samples ({1000 * abs(lag) / sample_rate:.1f} ms) {side}: "
            "aligned."
        )
    if sign < 0:
        remarks.append(f"{names[1]} has the opposite polarity.")
    moved, first, last = shifted(wet, lag, dry.size)
    if last - first < SHORTEST_SECONDS * sample_rate or rms(dry[first:last]) < SILENT_RMS:
        raise InputError(
            f"{names[1]}: overlaps {names[0]} in {max(last - first, 0) / sample_rate:.2f} s of "
            f"sound (expected at least {SHORTEST_SECONDS} s). Check that they belong together."
        )
    return Prepared(
        dry,
        (moved * np.float32(sign)).astype(np.float32),
        sample_rate,
        highest,
        lag,
        first,
        last,
        tuple(remarks),
    )


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
            cross / weight, n_fft, dry.size, wet.size, sample_rate, is_causal
        )
        if height >= clear:
            return lag, height / clear, sign
        best = max(best, (lag, height / clear, sign), key=lambda each: each[1])
    lag, likeness = _likest_place(cross, dry, wet, n_fft)
    return (lag, 1.0, 1.0) if likeness >= SAME_WAVEFORM else best


def _earliest_peak(
    spectrum_of: NDArray[np.complex64],
    n_fft: int,
    n_dry: int,
    n_wet: int,
    sample_rate: int,
    is_causal: bool,
) -> tuple[int, float, float]:
    """Lag, height over the RMS and sign of the first large peak of a correlation.

    is_causal  echoes come after the direct sound; without that the largest peak is taken
    """
    correlation = scipy.fft.irfft(spectrum_of, n_fft)
    longest = round(LONGEST_LATENCY_SECONDS * sample_rate)
    most, least = min(longest, n_wet - 1), min(longest, n_dry - 1)
    both = np.concatenate([correlation[n_fft - least :], correlation[: most + 1]])
    strength = np.abs(both)
    level = float(np.sqrt(np.mean(np.square(both)))) + 1e-20
    top = int(np.argmax(strength))
    early = top
    if is_causal:
        limit = max(EARLY_PEAK * float(strength[top]), 10 * level)
        reach = max(0, top - round(1.1 * sample_rate))
        loud = strength[reach : top + 1] >= limit
        early = reach + int(np.argmax(loud)) if loud.any() else top
        # The top of that peak, not its foot.
        early += int(np.argmax(strength[early : min(early + 4, top + 1)]))
    if strength[least] >= 0.5 * strength[early]:
        early = least  # no latency at all is the likeliest
    return early - least, float(strength[top] / level), float(np.sign(both[early]) or 1.0)


def _likest_place(
    cross: NDArray[np.complex64], dry: Array, wet: Array, n_fft: int
) -> tuple[int, float]:
    """Lag at which a shorter recording is most like a part of the other one, and how like."""
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


def loudest_window(
    dry: Array, first: int, last: int, n_samples: int, sample_rate: int
) -> tuple[int, int]:
    """Choose the window with most sound; the beginning if it has nearly as much."""
    if last - first <= 1.25 * n_samples:
        return first, last
    hop = sample_rate // 2
    energy = np.square(dry[first:last].astype(np.float64))
    # Compressed, so that one loud word does not outweigh a full window.
    parts = np.sqrt(np.add.reduceat(energy, np.arange(0, energy.size, hop)))
    n_parts = max(1, n_samples // hop)
    sums = np.convolve(parts, np.ones(n_parts), mode="valid")
    best = int(np.argmax(sums))
    if sums[0] >= 0.6 * sums[best]:
        best = 0
    begin = first + best * hop
    return begin, min(begin + n_samples, last)
