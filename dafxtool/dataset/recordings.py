"""Catalogue recordings and split them into train, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from dafxtool.audio.find_recordings import find_recordings
from dafxtool.audio.fingerprint import Fingerprint
from dafxtool.audio.reader import AudioInfo, read_info, resampled_length, resolve_channel
from dafxtool.config import SPLITS, SegmentConfig, SplitConfig
from dafxtool.dataset.copies import originals, read_contents
from dafxtool.errors import InputError, RecordingError
from dafxtool.utils.progress import SILENT, Progress


@dataclass(frozen=True)
class Recording:
    """An audio file to cut segments from.

    n_samples  length at the segments' sample rate
    channel    that is read: first, mean or a number; empty is that of the configuration
    digest, sketch
               of its content, as of audio.fingerprint; empty if it was not examined
    """

    path: str
    folder: str
    n_samples: int
    split: str
    info: AudioInfo
    channel: str = ""
    digest: str = ""
    sketch: str = ""


@dataclass(frozen=True)
class Track:
    """One recording, or several that are joined end to end; by index."""

    recordings: tuple[int, ...]
    n_samples: int
    split: str


@dataclass(frozen=True)
class RecordingSet:
    """Recordings and tracks to cut segments from.

    skipped  (path, reason) of recordings that cannot be used
    copies   (path, path of the first one) of recordings with the same content as another one
    """

    recordings: tuple[Recording, ...]
    tracks: tuple[Track, ...]
    skipped: tuple[tuple[str, str], ...] = field(default=())
    copies: tuple[tuple[str, str], ...] = field(default=())

    def tracks_of(self, split: str) -> tuple[int, ...]:
        """Return the indices of the tracks of a split."""
        return tuple(i for i, track in enumerate(self.tracks) if track.split == split)

    def splits(self) -> tuple[str, ...]:
        """Return the splits that have a track, in the order of SPLITS."""
        present = {track.split for track in self.tracks}
        return tuple(split for split in SPLITS if split in present)


def build_catalogue(
    paths: Sequence[Path],
    config: SegmentConfig,
    split: SplitConfig,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = SILENT,
    exclude: Path | None = None,
) -> RecordingSet:
    """Find recordings, read their headers, assign splits and join the short ones.

    exclude  folder whose files are not used, even inside a folder that is searched

    Copies of one recording are in one split, whatever their names and formats.

    InputError where nothing can be used; RecordingError for the first bad recording if strict.
    """
    candidates = find_recordings(paths, exclude)
    readable: list[tuple[Path, AudioInfo, str]] = []
    skipped: list[tuple[str, str]] = []
    progress.start("examining recordings", len(candidates), "file")
    for path in candidates:
        try:
            info = read_info(path)
            readable.append((path, info, resolve_channel(path, config.channel, info)))
        except RecordingError as error:
            if strict:
                raise
            progress.detail(f"skipped {error}")
            skipped.append((str(path), str(error)))
        progress.advance()
    progress.finish()
    if not readable:
        raise InputError(
            f"no recording could be read (found {len(candidates)}). First error: {skipped[0][1]}"
        )
    contents, original = _examine_contents(readable, split, progress)
    splits = _splits_with_copies([path for path, _, _ in readable], original, split, seed)
    recordings = tuple(
        Recording(
            path=str(path.absolute()),
            folder=path.absolute().parent.name,
            n_samples=resampled_length(info, config.sample_rate),
            split=split_name,
            info=info,
            channel=channel,
            digest=content.digest,
            sketch=content.sketch,
        )
        for (path, info, channel), split_name, content in zip(
            readable, splits, contents, strict=True
        )
    )
    tracks, too_short = _make_tracks(recordings, config)
    if not tracks:
        raise InputError(
            f"every recording is shorter than a segment of "
            f"{config.n_samples / config.sample_rate:.2f} s. Use --short join or --short pad."
        )
    copies = tuple(
        (recordings[index].path, recordings[first].path)
        for index, first in enumerate(original)
        if first != index
    )
    return RecordingSet(recordings, tracks, tuple(skipped) + too_short, copies)


def _examine_contents(
    readable: Sequence[tuple[Path, AudioInfo, str]], config: SplitConfig, progress: Progress
) -> tuple[list[Fingerprint], list[int]]:
    """Return the fingerprint of each recording, and the index of the one that it is a copy of.

    Of several copies, the one that a pattern of the test or the validation split matches is the
    original, else the first one.
    """
    if config.copies == "ignore":
        empty = [Fingerprint(info.seconds, "", "") for _, info, _ in readable]
        return empty, list(range(len(readable)))
    contents = read_contents([(path, info) for path, info, _ in readable], progress)
    first = originals(contents)
    rank = [_rank(path, config) for path, _, _ in readable]
    best = {each: each for each in first}
    for index, each in enumerate(first):
        if rank[index] < rank[best[each]]:
            best[each] = index
    return [each.fingerprint for each in contents], [best[each] for each in first]


def _rank(path: Path, config: SplitConfig) -> int:
    for rank, patterns in enumerate((config.test_match, config.validation_match)):
        if any(_matches(path, pattern) for pattern in patterns):
            return rank
    return 2


def _splits_with_copies(
    paths: Sequence[Path], original: Sequence[int], config: SplitConfig, seed: int
) -> list[str]:
    """Return the split of each path: a copy is in the split of its original."""
    own = [index for index, first in enumerate(original) if first == index]
    splits = _assign_splits([paths[index] for index in own], config, seed)
    split_of = dict(zip(own, splits, strict=True))
    return [split_of[first] for first in original]


def _assign_splits(paths: Sequence[Path], config: SplitConfig, seed: int) -> list[str]:
    """Return the split of each path.

    By recording, each split gets its fraction of every folder. By folder, each split gets its
    fraction of the folders. Patterns come first.
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
    order = _interleave_folders(free, parent_of if config.by == "recording" else {}, seed)
    n_test = 0 if config.test_match else _count(config.test, len(order))
    n_validation = 0 if config.validation_match else _count(config.validation, len(order))
    if len(order) < 3 and not matched:  # too few for three splits: training first
        n_test, n_validation = 0, min(n_validation, len(order) - 1)
    while order and n_test + n_validation >= len(order):  # keep one for training
        n_test, n_validation = (
            (n_test - 1, n_validation) if n_test >= n_validation else (n_test, n_validation - 1)
        )
    split_of = dict.fromkeys(order, "train")
    split_of.update(dict.fromkeys(order[:n_test], "test"))
    split_of.update(dict.fromkeys(order[n_test : n_test + n_validation], "validation"))
    split_of.update(matched)
    return [split_of[unit] for unit in unit_of]


def _matches(path: Path, pattern: str) -> bool:
    absolute = path.absolute()
    names = (str(absolute), absolute.name, absolute.parent.name)
    return any(fnmatch(name, pattern) for name in names)


def _count(fraction: float, count: int) -> int:
    """Return a fraction of count, but at least one."""
    return max(1, round(fraction * count)) if fraction > 0 and count else 0


def _interleave_folders(units: list[str], parent_of: dict[str, str], seed: int) -> list[str]:
    """Shuffle units so that any run of them holds every folder in proportion to its size."""
    rng = np.random.default_rng([seed, 1])
    folders: dict[str, list[str]] = {}
    for unit in units:
        folders.setdefault(parent_of.get(unit, ""), []).append(unit)
    keyed: list[tuple[float, float, str]] = []
    for members in folders.values():
        for rank, index in enumerate(rng.permutation(len(members))):
            keyed.append(((rank + 0.5) / len(members), rng.random(), members[index]))
    return [unit for _, _, unit in sorted(keyed)]


def _make_tracks(
    recordings: Sequence[Recording], config: SegmentConfig
) -> tuple[tuple[Track, ...], tuple[tuple[str, str], ...]]:
    """Make tracks of recordings; also return (path, reason) of those that are too short."""
    tracks: list[Track] = []
    too_short: list[tuple[str, str]] = []
    to_join: dict[tuple[str, str], list[int]] = {}
    for index, recording in enumerate(recordings):
        if recording.n_samples >= config.n_samples or config.short == "pad":
            tracks.append(Track((index,), recording.n_samples, recording.split))
        elif config.short == "join":
            folder = str(Path(recording.path).parent)
            to_join.setdefault((folder, recording.split), []).append(index)
        else:
            seconds = recording.n_samples / config.sample_rate
            too_short.append((recording.path, f"{recording.path}: too short ({seconds:.2f} s)."))
    for (_, split), members in to_join.items():
        total = sum(recordings[index].n_samples for index in members)
        tracks.append(Track(tuple(members), total, split))
    return tuple(tracks), tuple(too_short)


def split_pattern(splits: Sequence[str], config: SplitConfig, count: int) -> list[str]:
    """Return the split of examples 0 to count - 1, in the configured fractions at every length.

    Each example goes to the split that lacks most of its fraction. A longer dataset therefore
    begins with the shorter one.
    """
    fractions = {"validation": config.validation, "test": config.test}
    fractions["train"] = 1 - config.validation - config.test
    weights = {split: fractions[split] or 0.1 for split in splits}
    total = sum(weights.values())
    counts = dict.fromkeys(splits, 0)
    pattern = []
    for index in range(count):
        deficit = {s: weights[s] / total * (index + 1) - counts[s] for s in splits}
        split = max(splits, key=lambda s: deficit[s])
        counts[split] += 1
        pattern.append(split)
    return pattern


def recording_rows(catalogue: RecordingSet) -> list[dict[str, Any]]:
    """Return the rows of the `recordings` table of a file."""
    track_of = {i: t for t, track in enumerate(catalogue.tracks) for i in track.recordings}
    return [
        {
            "path": r.path,
            "folder": r.folder,
            "split": r.split,
            "sample_rate": r.info.sample_rate,
            "n_channels": r.info.n_channels,
            "n_samples_native": r.info.n_samples,
            "n_samples": r.n_samples,
            "track": track_of.get(i, -1),
            "channel": r.channel,
            "digest": r.digest,
            "sketch": r.sketch,
        }
        for i, r in enumerate(catalogue.recordings)
    ]
