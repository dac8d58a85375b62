"""Prepare a dry and a wet recording for matching: rate, channels, latency, excerpt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dafxtool.audio.alignment import (
    SAME_ENVELOPE,
    correlation_peak,
    envelope_correlation,
    shifted,
)
from dafxtool.audio.reader import AudioInfo, load_segment, read_info, resampled_length
from dafxtool.config import SegmentConfig
from dafxtool.dataset.silence import silence_reason
from dafxtool.errors import InputError
from dafxtool.matching.objective import Array, rms
from dafxtool.matching.pair import Pair
from dafxtool.utils.text import shown_name

HIGHEST_RATE = 48_000  # Hz, of a search
SHORTEST_SECONDS = 0.25
LITTLE_SECONDS = 1.0
MOST_SECONDS = 600.0  # longest part of a recording that is compared
EXCERPT_SAMPLES = 196_608  # that a search compares
PRE_ROLL_SECONDS = 2.0  # processed before the excerpt, for echoes and detectors
SILENT_RMS = 3e-5  # -90 dBFS


@dataclass(frozen=True)
class Prepared:
    """Two recordings at one sample rate, the wet one aligned to the dry one.

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
        """Undo the alignment, because an effect without direct sound delays the audio, too."""
        moved, first, last = shifted(self.wet, -self.latency_samples, self.dry.size)
        return replace(self, wet=moved, first=first, last=last, latency_samples=0)

    def excerpt(self, n_samples: int = EXCERPT_SAMPLES) -> Pair:
        """Cut out the part that the search compares, preceded by a pre-roll for the effects."""
        begin, end = loudest_window(self.dry, self.first, self.last, n_samples, self.sample_rate)
        first = max(0, begin - round(PRE_ROLL_SECONDS * self.sample_rate))
        if begin == self.first:
            first = 0 if begin < 2 * PRE_ROLL_SECONDS * self.sample_rate else first
        return Pair(self.dry[first:end], self.wet[first:end], self.sample_rate, begin - first)


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
        config = SegmentConfig(
            rate, n_samples, min_mean_square=SILENT_RMS**2, short="pad", channel=channel
        )
        raise InputError(
            silence_reason(path, config, remedy="Give a recording that is not silent.")
        )
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
    """Align wet to dry; InputError if they are not the same performance."""
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
    seconds = (last - first) / sample_rate
    if seconds < LITTLE_SECONDS:
        remarks.append(f"Only {seconds:.2f} s can be compared: the answer is a guess.")
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


def loudest_window(
    dry: Array, first: int, last: int, n_samples: int, sample_rate: int
) -> tuple[int, int]:
    """Choose the loudest window; the first one if it is nearly as loud."""
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
