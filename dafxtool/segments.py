"""Cut recordings into segments of equal length.

A segment is a mono float32 array (n_samples,) at the configuration's sample rate. Users name files
and folders; in here everything is counted in samples. Segments are cut from *tracks*: a track is
one recording, or several short recordings of one folder joined end to end, so that short ones are
not lost. A recording belongs to one split, and a track never crosses splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafxtool import audio
from dafxtool.errors import ConfigError, InputError, RecordingError
from dafxtool.find_recordings import find_recordings
from dafxtool.progress import SILENT, Progress

SPLITS = ("train", "validation", "test")
JOIN_FADE_SECONDS = 0.005  # a join without a fade clicks, and a click is broadband
MAX_TRACKS_TRIED = 20
HIGHEST_RATE_HZ = 1_000_000
LOWEST_LEVEL_DBFS = -120.0
# A peak: -400 dBFS. Near the least numbers of float32 it could not be scaled without infinities.
SILENCE = 1e-20


@dataclass(frozen=True)
class SegmentConfig:
    """What a segment is."""

    sample_rate: int = 24_000  # Hz
    n_samples: int = 131_072
    level_dbfs: float = -12.0  # peak of the dry and of the wet segment
    min_mean_square: float = 1e-5  # below it a segment counts as silent and is drawn again
    max_redraws: int = 20
    short: str = "join"  # what becomes of recordings shorter than a segment: join, pad or skip
    channel: str = "first"  # first, mean, or a channel's number

    def __post_init__(self) -> None:
        if self.short not in ("join", "pad", "skip"):
            raise ConfigError(f"short is {self.short!r}: use join, pad or skip.")
        audio.check_channel(self.channel)
        if not self.min_mean_square >= 0:
            raise ConfigError(f"min_mean_square is {self.min_mean_square}: it has to be 0 or more.")
        if self.n_samples < 1 or not 1 <= self.sample_rate <= HIGHEST_RATE_HZ:
            raise ConfigError(
                f"a segment of {self.n_samples} samples at {self.sample_rate} Hz is impossible: "
                f"both have to be at least 1, and the rate at most {HIGHEST_RATE_HZ:,}."
            )
        if not LOWEST_LEVEL_DBFS <= self.level_dbfs <= 0:
            raise ConfigError(
                f"level_dbfs is {self.level_dbfs}: it has to be from {LOWEST_LEVEL_DBFS} to 0."
            )


@dataclass(frozen=True)
class SplitConfig:
    """How recordings are divided into train, validation and test."""

    by: str = "recording"  # or folder: for folders that are speakers
    validation: float = 0.1  # share of the recordings or folders, and of the pairs
    test: float = 0.1
    validation_match: tuple[str, ...] = ()  # patterns of paths; they come before the shares
    test_match: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.by not in ("recording", "folder"):
            raise ConfigError(f"split by {self.by!r} is unknown: use recording or folder.")
        if not (min(self.validation, self.test) >= 0 and self.validation + self.test < 1):
            raise ConfigError(
                f"validation {self.validation} and test {self.test} leave nothing to train on: "
                "both are shares from 0 to 1 whose sum is below 1."
            )


@dataclass(frozen=True)
class Recording:
    """A file that segments are cut from; n_samples counts at the segments' sample rate."""

    path: str
    folder: str
    n_samples: int
    split: str
    info: audio.AudioInfo


@dataclass(frozen=True)
class Track:
    """Recordings, by index, that are read as if they were one."""

    recordings: tuple[int, ...]
    n_samples: int
    split: str


@dataclass(frozen=True)
class Catalogue:
    """Everything that segments can be cut from, and what was left out and why."""

    recordings: tuple[Recording, ...]
    tracks: tuple[Track, ...]
    skipped: tuple[tuple[str, str], ...] = field(default=())

    def tracks_of(self, split: str) -> tuple[int, ...]:
        return tuple(i for i, track in enumerate(self.tracks) if track.split == split)

    def splits(self) -> tuple[str, ...]:
        present = {track.split for track in self.tracks}
        return tuple(split for split in SPLITS if split in present)


@dataclass(frozen=True)
class Segment:
    """audio (n_samples,); recording and offset are those of its first sample."""

    audio: NDArray[np.float32]
    recording: int
    offset: int


def build_catalogue(
    paths: Sequence[Path],
    config: SegmentConfig,
    split: SplitConfig,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = SILENT,
    leave_out: Path | None = None,
) -> Catalogue:
    """Find and measure recordings, divide them into splits and join the short ones.

    leave_out  a folder whose files are none, also where it lies in a folder that is searched
    """
    found = find_recordings(paths, leave_out)
    measured: list[tuple[Path, audio.AudioInfo]] = []
    skipped: list[tuple[str, str]] = []
    progress.start("looking at recordings", len(found), "file")
    for path in found:
        try:
            measured.append((path, audio.probe(path)))
        except RecordingError as error:
            if strict:
                raise
            skipped.append((str(path), str(error)))
        progress.advance()
    progress.finish()
    if not measured:
        raise InputError(
            f"none of {len(found)} recordings could be read; the first: {skipped[0][1]}"
        )
    names = _assign_splits([path for path, _ in measured], split, seed)
    recordings = tuple(
        Recording(
            path=str(path.absolute()),
            folder=path.absolute().parent.name,
            n_samples=audio.resampled_length(info, config.sample_rate),
            split=name,
            info=info,
        )
        for (path, info), name in zip(measured, names, strict=True)
    )
    tracks, left_out = _tracks(recordings, config)
    if not tracks:
        raise InputError(
            f"every recording is shorter than a segment of "
            f"{config.n_samples / config.sample_rate:.2f} s: use --short join or --short pad."
        )
    return Catalogue(recordings, tracks, tuple(skipped) + left_out)


def _assign_splits(paths: Sequence[Path], config: SplitConfig, seed: int) -> list[str]:
    """One split for each path.

    Folders are dealt out as evenly as can be: each split gets its share of every folder where
    recordings are divided, and its share of the folders where folders are.
    """
    parents = [str(path.absolute().parent) for path in paths]
    unit_of = parents if config.by == "folder" else [str(path.absolute()) for path in paths]
    parent_of = dict(zip(unit_of, parents, strict=True))
    matched = {}
    for unit, path in zip(unit_of, paths, strict=True):
        for name, patterns in (
            ("test", config.test_match),
            ("validation", config.validation_match),
        ):
            if any(_matches(path, pattern) for pattern in patterns):
                matched[unit] = name
    free = sorted(set(unit_of) - set(matched))
    order = _spread_over_folders(free, parent_of if config.by == "recording" else {}, seed)
    n_test = 0 if config.test_match else _share(config.test, len(order))
    n_validation = 0 if config.validation_match else _share(config.validation, len(order))
    if len(order) < 3 and not matched:  # too few to divide: training comes first, then validation
        n_test, n_validation = 0, min(n_validation, len(order) - 1)
    while order and n_test + n_validation >= len(order):  # one at least is left to train on
        n_test, n_validation = (
            (n_test - 1, n_validation) if n_test >= n_validation else (n_test, n_validation - 1)
        )
    dealt = dict.fromkeys(order, "train")
    dealt.update(dict.fromkeys(order[:n_test], "test"))
    dealt.update(dict.fromkeys(order[n_test : n_test + n_validation], "validation"))
    dealt.update(matched)
    return [dealt[unit] for unit in unit_of]


def _matches(path: Path, pattern: str) -> bool:
    absolute = path.absolute()
    names = (str(absolute), absolute.name, absolute.parent.name)
    return any(fnmatch(name, pattern) for name in names)


def _share(fraction: float, count: int) -> int:
    return max(1, round(fraction * count)) if fraction > 0 and count else 0


def _spread_over_folders(units: list[str], parent_of: dict[str, str], seed: int) -> list[str]:
    """Units shuffled so that any stretch of them holds every folder in its proportion."""
    rng = np.random.default_rng([seed, 1])
    folders: dict[str, list[str]] = {}
    for unit in units:
        folders.setdefault(parent_of.get(unit, ""), []).append(unit)
    keyed = []
    for members in folders.values():
        for rank, index in enumerate(rng.permutation(len(members))):
            keyed.append(((rank + 0.5) / len(members), rng.random(), members[index]))
    return [unit for _, _, unit in sorted(keyed)]


def _tracks(
    recordings: Sequence[Recording], config: SegmentConfig
) -> tuple[tuple[Track, ...], tuple[tuple[str, str], ...]]:
    tracks: list[Track] = []
    left_out: list[tuple[str, str]] = []
    to_join: dict[tuple[str, str], list[int]] = {}
    for index, recording in enumerate(recordings):
        if recording.n_samples >= config.n_samples or config.short == "pad":
            tracks.append(Track((index,), recording.n_samples, recording.split))
        elif config.short == "join":
            folder = str(Path(recording.path).parent)
            to_join.setdefault((folder, recording.split), []).append(index)
        else:
            seconds = recording.n_samples / config.sample_rate
            left_out.append((recording.path, f"{recording.path}: {seconds:.2f} s is too short."))
    for (_, split), members in to_join.items():
        total = sum(recordings[index].n_samples for index in members)
        tracks.append(Track(tuple(members), total, split))
    return tuple(tracks), tuple(left_out)


@dataclass(frozen=True)
class Places:
    """The tracks of a split, to be drawn in proportion to their length."""

    tracks: tuple[int, ...]  # by index
    cumulative: NDArray[np.float64]

    @staticmethod
    def of(catalogue: Catalogue, split: str) -> Places:
        indices = catalogue.tracks_of(split)
        lengths = np.array([catalogue.tracks[i].n_samples for i in indices], dtype=np.float64)
        cumulative = np.cumsum(lengths / lengths.sum())
        return Places(indices, cumulative / cumulative[-1])

    def draw(self, rng: np.random.Generator) -> int:
        """The index of a track, so that every second of the split is as likely."""
        return self.tracks[int(self.cumulative.searchsorted(rng.random(), side="right"))]


def draw_start(track: Track, config: SegmentConfig, rng: np.random.Generator) -> int:
    """Where in a track a segment begins, in samples."""
    return int(rng.integers(0, max(1, track.n_samples - config.n_samples + 1)))


Read = Callable[[int, int, int], NDArray[np.float32]]  # of a recording, by index, from, how many


def reading(catalogue: Catalogue, config: SegmentConfig) -> Read:
    """Reads just what is asked for, each time from the file."""

    def read(index: int, start: int, n_samples: int) -> NDArray[np.float32]:
        recording = catalogue.recordings[index]
        return audio.read_segment(
            Path(recording.path),
            start,
            n_samples,
            config.sample_rate,
            config.channel,
            recording.info,
        )

    return read


def draw_segment(
    catalogue: Catalogue,
    split: str,
    config: SegmentConfig,
    rng: np.random.Generator,
    strict: bool = False,
    places: Places | None = None,
    read: Read | None = None,
) -> tuple[Segment, list[tuple[str, str]]]:
    """A random segment of a split that is not silent, at full level, and what could not be read.

    Tracks are drawn in proportion to their length, so that every second of a split is as likely.
    places and read spare finding out and reading the same again for each segment.
    """
    places = places or Places.of(catalogue, split)
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
    catalogue: Catalogue, track: Track, start: int, config: SegmentConfig
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
    catalogue: Catalogue,
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


def is_silent(samples: NDArray[np.float32]) -> bool:
    """Is there nothing that could be brought to a level?"""
    return float(np.max(np.abs(samples), initial=0.0)) < SILENCE


def normalise_peak(samples: NDArray[np.float32], level_dbfs: float) -> NDArray[np.float32]:
    """Scaled so that the largest absolute sample is at level_dbfs; silence stays silence."""
    if is_silent(samples):
        return samples
    peak = float(np.max(np.abs(samples)))
    return (samples * np.float32(10 ** (level_dbfs / 20) / peak)).astype(np.float32)


def split_pattern(splits: Sequence[str], config: SplitConfig, count: int) -> list[str]:
    """The split of examples 0 .. count - 1: the shares kept at every length, whatever the count.

    Each next example goes to the split that is furthest behind its share, so a longer dataset
    begins with the shorter one.
    """
    shares = {"validation": config.validation, "test": config.test}
    shares["train"] = 1 - config.validation - config.test
    wanted = {split: shares[split] or 0.1 for split in splits}
    total = sum(wanted.values())
    given = dict.fromkeys(splits, 0)
    pattern = []
    for position in range(count):
        behind = {s: wanted[s] / total * (position + 1) - given[s] for s in splits}
        choice = max(splits, key=lambda s: behind[s])
        given[choice] += 1
        pattern.append(choice)
    return pattern


def cut_recording(path: Path, start: int, config: SegmentConfig) -> NDArray[np.float32]:
    """The segment of one recording that begins at `start` samples (at the segments' rate)."""
    info = audio.probe(path)
    n_samples = audio.resampled_length(info, config.sample_rate)
    if not 0 <= start < n_samples:
        raise InputError(
            f"{path} is {n_samples / config.sample_rate:.2f} s long: a segment cannot start at "
            f"{start / config.sample_rate:.2f} s."
        )
    return cut_segment(*_alone(path, info, config), start, config).audio


def _alone(path: Path, info: audio.AudioInfo, config: SegmentConfig) -> tuple[Catalogue, Track]:
    """A catalogue of one recording, and its track."""
    n_samples = audio.resampled_length(info, config.sample_rate)
    recording = Recording(str(path), path.absolute().parent.name, n_samples, "test", info)
    track = Track((0,), n_samples, "test")
    return Catalogue((recording,), (track,)), track


def consecutive_segments(
    path: Path, config: SegmentConfig, info: audio.AudioInfo | None = None
) -> list[Segment]:
    """A recording cut end to end, its silent segments left out, each normalised.

    A tail shorter than half a segment is dropped, unless it is all there is.
    """
    info = info or audio.probe(path)
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
