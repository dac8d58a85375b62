"""Cut recordings into segments of equal length.

A segment is a mono float32 array (n_samples,) at the configuration's sample rate. Users name files
and folders; in here everything is counted in samples. Segments are cut from *tracks*: a track is
one recording, or several short recordings of one folder joined end to end, so that short ones are
not lost. A recording belongs to one split, and a track never crosses splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.io import (
    AudioInfo,
    load_segment,
    read_info,
    resampled_length,
)
from dafxtool.audio.level import normalise_peak
from dafxtool.config import SegmentConfig
from dafxtool.dataset.recordings import Recording, RecordingSet, Track
from dafxtool.errors import InputError, RecordingError

JOIN_FADE_SECONDS = 0.005  # a join without a fade clicks, and a click is broadband
MAX_TRACKS_TRIED = 20


@dataclass(frozen=True)
class Segment:
    """audio (n_samples,); recording and offset are those of its first sample."""

    audio: NDArray[np.float32]
    recording: int
    offset: int


@dataclass(frozen=True)
class TrackSampler:
    """The tracks of a split, to be drawn in proportion to their length."""

    tracks: tuple[int, ...]  # by index
    cumulative: NDArray[np.float64]

    @staticmethod
    def of(catalogue: RecordingSet, split: str) -> TrackSampler:
        indices = catalogue.tracks_of(split)
        lengths = np.array([catalogue.tracks[i].n_samples for i in indices], dtype=np.float64)
        cumulative = np.cumsum(lengths / lengths.sum())
        return TrackSampler(indices, cumulative / cumulative[-1])

    def draw(self, rng: np.random.Generator) -> int:
        """The index of a track, so that every second of the split is as likely."""
        return self.tracks[int(self.cumulative.searchsorted(rng.random(), side="right"))]


def draw_start(track: Track, config: SegmentConfig, rng: np.random.Generator) -> int:
    """Where in a track a segment begins, in samples."""
    return int(rng.integers(0, max(1, track.n_samples - config.n_samples + 1)))


Read = Callable[[int, int, int], NDArray[np.float32]]  # of a recording, by index, from, how many


def reading(catalogue: RecordingSet, config: SegmentConfig) -> Read:
    """Reads just what is asked for, each time from the file."""

    def read(index: int, start: int, n_samples: int) -> NDArray[np.float32]:
        recording = catalogue.recordings[index]
        return load_segment(
            Path(recording.path),
            start,
            n_samples,
            config.sample_rate,
            config.channel,
            recording.info,
        )

    return read


def draw_segment(
    catalogue: RecordingSet,
    split: str,
    config: SegmentConfig,
    rng: np.random.Generator,
    strict: bool = False,
    places: TrackSampler | None = None,
    read: Read | None = None,
) -> tuple[Segment, list[tuple[str, str]]]:
    """A random segment of a split that is not silent, at full level, and what could not be read.

    Tracks are drawn in proportion to their length, so that every second of a split is as likely.
    places and read spare finding out and reading the same again for each segment.
    """
    places = places or TrackSampler.of(catalogue, split)
    failures: list[tuple[str, str]] = []
    for _ in range(MAX_TRACKS_TRIED):
        track = catalogue.tracks[places.draw(rng)]
        for _ in range(config.max_redraws + 1):
            start = draw_start(track, config, rng)
            try:
                segment = cut_segment(catalogue, track, start, config, read)
            except RecordingError as error:
                if strict:
                    raise
                failures.append((catalogue.recordings[track.recordings[0]].path, str(error)))
                break
            if np.mean(np.square(segment.audio, dtype=np.float64)) >= config.min_mean_square:
                return segment, failures
    detail = f"; the last failure: {failures[-1][1]}" if failures else "."
    raise RecordingError(
        f"no segment of the {split} recordings was louder than a mean square of "
        f"{config.min_mean_square:g} in {MAX_TRACKS_TRIED} tries: lower --min-mean-square or name "
        f"other recordings{detail}"
    )


def stretches_of(
    catalogue: RecordingSet, track: Track, start: int, config: SegmentConfig
) -> Iterator[tuple[int, int, int, int]]:
    """What a segment is made of: (recording, from, to in it, where in the segment), in samples."""
    begin = 0  # of the current recording, in samples of the track
    for index in track.recordings:
        end = begin + catalogue.recordings[index].n_samples
        low, high = max(start, begin), min(start + config.n_samples, end)
        if low < high:
            yield index, low - begin, high - begin, low - start
        elif begin >= start + config.n_samples:
            return
        begin = end


def cut_segment(
    catalogue: RecordingSet,
    track: Track,
    start: int,
    config: SegmentConfig,
    read: Read | None = None,
) -> Segment:
    """The segment of a track that begins at `start` samples; zeros follow where it ends early."""
    read = read or reading(catalogue, config)
    output = np.zeros(config.n_samples, dtype=np.float32)
    fade = round(JOIN_FADE_SECONDS * config.sample_rate)
    first: tuple[int, int] | None = None
    for index, low, high, position in stretches_of(catalogue, track, start, config):
        first = first or (index, low)
        end_of_track = start + position + high - low == track.n_samples
        output[position : position + high - low] = _faded(
            read(index, low, high - low),
            fade,
            at_start=low == 0 and position > 0,
            at_end=high == catalogue.recordings[index].n_samples and not end_of_track,
        )
    assert first is not None, "a segment starts inside its track"
    return Segment(output, *first)


def _faded(
    piece: NDArray[np.float32], fade: int, at_start: bool, at_end: bool
) -> NDArray[np.float32]:
    length = min(fade, len(piece))
    ramp = (np.arange(length, dtype=np.float32) + 0.5) / max(length, 1)
    piece = piece.copy()
    if at_start:
        piece[:length] *= ramp
    if at_end:
        piece[len(piece) - length :] *= ramp[::-1]
    return piece


def cut_recording(path: Path, start: int, config: SegmentConfig) -> NDArray[np.float32]:
    """The segment of one recording that begins at `start` samples (at the segments' rate)."""
    info = read_info(path)
    n_samples = resampled_length(info, config.sample_rate)
    if not 0 <= start < n_samples:
        raise InputError(
            f"{path} is {n_samples / config.sample_rate:.2f} s long: a segment cannot start at "
            f"{start / config.sample_rate:.2f} s."
        )
    return cut_segment(*_alone(path, info, config), start, config).audio


def _alone(path: Path, info: AudioInfo, config: SegmentConfig) -> tuple[RecordingSet, Track]:
    """A catalogue of one recording, and its track."""
    n_samples = resampled_length(info, config.sample_rate)
    recording = Recording(str(path), path.absolute().parent.name, n_samples, "test", info)
    track = Track((0,), n_samples, "test")
    return RecordingSet((recording,), (track,)), track


def consecutive_segments(
    path: Path, config: SegmentConfig, info: AudioInfo | None = None
) -> list[Segment]:
    """A recording cut end to end, its silent segments left out, each normalised.

    A tail shorter than half a segment is dropped, unless it is all there is.
    """
    info = info or read_info(path)
    catalogue, track = _alone(path, info, config)
    count = max(1, round(track.n_samples / config.n_samples))
    # Read once: an MP3 is decoded from its beginning, whatever part of it is asked for.
    whole = reading(catalogue, config)(0, 0, min(track.n_samples, count * config.n_samples))
    segments = [
        cut_segment(
            catalogue,
            track,
            index * config.n_samples,
            config,
            lambda _, start, n_samples: whole[start : start + n_samples],
        )
        for index in range(count)
    ]
    loud = [
        Segment(normalise_peak(s.audio, config.level_dbfs), s.recording, s.offset)
        for s in segments
        if np.mean(np.square(s.audio, dtype=np.float64)) >= config.min_mean_square
    ]
    if not loud:
        raise RecordingError(
            f"{path}: all of it is silent (mean square below {config.min_mean_square:g}), so there "
            "is nothing to analyse: lower min_mean_square or name another recording."
        )
    return loud
