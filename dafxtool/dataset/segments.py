"""Cut recordings into segments of equal length.

A segment is a mono float32 array (n_samples,) at the configured sample rate. All positions and
lengths here are in samples at that rate. Segments are cut from *tracks*: a track is one recording,
or several short recordings of one folder joined end to end, so that short ones can be used. A
recording belongs to one split, and a track never crosses splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.level import normalise_peak
from dafxtool.audio.reader import (
    AudioInfo,
    load_segment,
    read_info,
    resampled_length,
    resolve_channel,
)
from dafxtool.config import SegmentConfig
from dafxtool.dataset.recordings import Recording, RecordingSet, Track
from dafxtool.dataset.silence import silence_reason
from dafxtool.errors import InputError, RecordingError
from dafxtool.utils.text import counted, shown_name

JOIN_FADE_SECONDS = 0.005  # a join without a fade clicks, and a click is broadband
MAX_TRACKS_TRIED = 20
MAX_NAMED = 3  # recordings in a warning

# Reads samples (n_samples,) of a recording: read(index, start, n_samples).
SpanReader = Callable[[int, int, int], NDArray[np.float32]]


@dataclass(frozen=True)
class Segment:
    """Audio (n_samples,), and the recording and offset of its first sample."""

    audio: NDArray[np.float32]
    recording: int
    offset: int


@dataclass(frozen=True)
class TrackSampler:
    """The tracks of a split (indices), for sampling in proportion to their lengths."""

    tracks: tuple[int, ...]
    cumulative: NDArray[np.float64]

    @staticmethod
    def from_split(catalogue: RecordingSet, split: str) -> TrackSampler:
        """Make the sampler of a split."""
        indices = catalogue.tracks_of(split)
        lengths = np.array([catalogue.tracks[i].n_samples for i in indices], dtype=np.float64)
        cumulative = np.cumsum(lengths / lengths.sum())
        return TrackSampler(indices, cumulative / cumulative[-1])

    def sample(self, rng: np.random.Generator) -> int:
        """Sample the index of a track, with every second of the split equally likely."""
        return self.tracks[int(self.cumulative.searchsorted(rng.random(), side="right"))]


def file_reader(catalogue: RecordingSet, config: SegmentConfig) -> SpanReader:
    """Return a function that reads each span from its file."""

    def read(index: int, start: int, n_samples: int) -> NDArray[np.float32]:
        recording = catalogue.recordings[index]
        return load_segment(
            Path(recording.path),
            start,
            n_samples,
            config.sample_rate,
            recording.channel or config.channel,
            recording.info,
        )

    return read


def draw_start(track: Track, config: SegmentConfig, rng: np.random.Generator) -> int:
    """Draw the start of a segment in a track, in samples."""
    return int(rng.integers(0, max(1, track.n_samples - config.n_samples + 1)))


def draw_segment(
    catalogue: RecordingSet,
    split: str,
    config: SegmentConfig,
    rng: np.random.Generator,
    strict: bool = False,
    sampler: TrackSampler | None = None,
    read: SpanReader | None = None,
) -> tuple[Segment, list[tuple[str, str]]]:
    """Draw a random segment of a split that is not silent, as loud as in the recording.

    sampler  of the split, to save its construction for each segment
    read     a reader that shares spans between segments; default reads each from its file

    Also returns (path, reason) of recordings that could not be read. RecordingError where no
    segment is found, or for the first bad or silent recording if strict.
    """
    sampler = sampler or TrackSampler.from_split(catalogue, split)
    unreadable: list[tuple[str, str]] = []
    quiet: Recording | None = None
    for _ in range(MAX_TRACKS_TRIED):
        track = catalogue.tracks[sampler.sample(rng)]
        for _ in range(config.max_redraws + 1):
            start = draw_start(track, config, rng)
            try:
                segment = cut_segment(catalogue, track, start, config, read)
            except RecordingError as error:
                if strict:
                    raise
                unreadable.append((catalogue.recordings[track.recordings[0]].path, str(error)))
                break
            if is_loud(segment.audio[: track.n_samples - start], config):
                return segment, unreadable
        else:
            quiet = catalogue.recordings[track.recordings[0]]
            if strict:
                raise RecordingError(silence_reason(Path(quiet.path), config, quiet.channel))
    if quiet is not None:
        detail = f" The last one: {silence_reason(Path(quiet.path), config, quiet.channel)}"
    else:
        detail = f" Last error: {unreadable[-1][1]}"
    raise RecordingError(
        f"no segment of the {split} recordings was louder than a mean square of "
        f"{config.min_mean_square:g} in {MAX_TRACKS_TRIED} tries.{detail}"
    )


def is_loud(audio: NDArray[np.float32], config: SegmentConfig) -> bool:
    """Return whether audio is a usable segment; without the zeros that pad a short recording."""
    return bool(np.mean(np.square(audio, dtype=np.float64)) >= config.min_mean_square)


def spans_of(
    catalogue: RecordingSet, track: Track, start: int, config: SegmentConfig
) -> Iterator[tuple[int, int, int, int]]:
    """Yield the parts of a segment: (recording, start and stop in it, start in the segment)."""
    recording_start = 0  # in the track
    for index in track.recordings:
        recording_stop = recording_start + catalogue.recordings[index].n_samples
        low, high = max(start, recording_start), min(start + config.n_samples, recording_stop)
        if low < high:
            yield index, low - recording_start, high - recording_start, low - start
        elif recording_start >= start + config.n_samples:
            return
        recording_start = recording_stop


def cut_segment(
    catalogue: RecordingSet,
    track: Track,
    start: int,
    config: SegmentConfig,
    read: SpanReader | None = None,
) -> Segment:
    """Cut the segment of a track that begins at `start`, padded with zeros after its end."""
    read = read or file_reader(catalogue, config)
    audio = np.zeros(config.n_samples, dtype=np.float32)
    fade = round(JOIN_FADE_SECONDS * config.sample_rate)
    first: tuple[int, int] | None = None
    for index, low, high, position in spans_of(catalogue, track, start, config):
        first = first or (index, low)
        is_end_of_track = start + position + high - low == track.n_samples
        audio[position : position + high - low] = _fade_ends(
            read(index, low, high - low),
            fade,
            at_start=low == 0 and position > 0,
            at_end=high == catalogue.recordings[index].n_samples and not is_end_of_track,
        )
    assert first is not None, "a segment starts inside its track"
    return Segment(audio, *first)


def _fade_ends(
    span: NDArray[np.float32], fade: int, at_start: bool, at_end: bool
) -> NDArray[np.float32]:
    """Return a copy of a span, faded over `fade` samples at its start, its end or both."""
    length = min(fade, len(span))
    ramp = (np.arange(length, dtype=np.float32) + 0.5) / max(length, 1)
    span = span.copy()
    if at_start:
        span[:length] *= ramp
    if at_end:
        span[len(span) - length :] *= ramp[::-1]
    return span


def cut_recording(path: Path, start: int, config: SegmentConfig) -> NDArray[np.float32]:
    """Cut the segment (n_samples,) of one recording that begins at `start`.

    InputError where the recording ends before.
    """
    info = read_info(path)
    n_samples = resampled_length(info, config.sample_rate)
    if not 0 <= start < n_samples:
        raise InputError(
            f"{path}: no segment can start at {start / config.sample_rate:.2f} s (found "
            f"{n_samples / config.sample_rate:.2f} s of audio). Choose an earlier start."
        )
    return cut_segment(*_single_track(path, info, config), start, config).audio


def _single_track(path: Path, info: AudioInfo, config: SegmentConfig) -> tuple[RecordingSet, Track]:
    """Return a catalogue of one recording, and its track."""
    n_samples = resampled_length(info, config.sample_rate)
    channel = resolve_channel(path, config.channel, info)
    folder = path.absolute().parent.name
    recording = Recording(str(path), folder, n_samples, "test", info, channel)
    track = Track((0,), n_samples, "test")
    return RecordingSet((recording,), (track,)), track


def padding_warning(seconds: Mapping[Path, float], config: SegmentConfig) -> str:
    """Name the recordings of which less than half a segment is audio; empty without any.

    The silence that pads them is easily decoded, so their errors are low.

    seconds  duration of each recording
    """
    segment_seconds = config.n_samples / config.sample_rate
    names = [shown_name(path) for path, length in seconds.items() if length < segment_seconds / 2]
    if not names:
        return ""
    more = ", ..." if len(names) > MAX_NAMED else ""
    return (
        f"{counted(len(names), 'recording')} with less than half a segment of audio, padded with "
        f"silence to {segment_seconds:.2f} s: low errors mean little there "
        f"({', '.join(names[:MAX_NAMED])}{more})"
    )


def consecutive_segments(
    path: Path, config: SegmentConfig, info: AudioInfo | None = None
) -> list[Segment]:
    """Cut a recording end to end into normalised segments, without the silent ones.

    A tail shorter than half a segment is dropped, unless it is all there is. Its level is measured
    before it is padded. RecordingError where all of it is silent, with the channels that are not.
    """
    info = info or read_info(path)
    catalogue, track = _single_track(path, info, config)
    count = max(1, round(track.n_samples / config.n_samples))
    # Read once: an MP3 is decoded from its beginning, whatever part of it is needed.
    audio = file_reader(catalogue, config)(0, 0, min(track.n_samples, count * config.n_samples))
    segments = [
        cut_segment(
            catalogue,
            track,
            index * config.n_samples,
            config,
            lambda _, start, n_samples: audio[start : start + n_samples],
        )
        for index in range(count)
    ]
    loud = [
        Segment(normalise_peak(s.audio, config.level_dbfs), s.recording, s.offset)
        for s in segments
        if is_loud(s.audio[: track.n_samples - s.offset], config)
    ]
    if not loud:
        raise RecordingError(silence_reason(path, config, catalogue.recordings[0].channel))
    return loud
