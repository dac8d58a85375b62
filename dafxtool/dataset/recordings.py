"""Find recordings, split train/validation/test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from dafxtool.audio.find_recordings import find_recordings
from dafxtool.audio.io import AudioInfo, read_info, resampled_length
from dafxtool.config import SPLITS, SegmentConfig, SplitConfig
from dafxtool.errors import InputError, RecordingError
from dafxtool.utils.progress import SILENT, Progress


@dataclass(frozen=True)
class Recording:
    """A file that segments are cut from; n_samples counts at the segments' sample rate."""

    path: str
    folder: str
    n_samples: int
    split: str
    info: AudioInfo


@dataclass(frozen=True)
class Track:
    """Recordings, by index, that are read as if they were one."""

    recordings: tuple[int, ...]
    n_samples: int
    split: str


@dataclass(frozen=True)
class RecordingSet:
    """Everything that segments can be cut from, and what was left out and why."""

    recordings: tuple[Recording, ...]
    tracks: tuple[Track, ...]
    skipped: tuple[tuple[str, str], ...] = field(default=())

    def tracks_of(self, split: str) -> tuple[int, ...]:
        return tuple(i for i, track in enumerate(self.tracks) if track.split == split)

    def splits(self) -> tuple[str, ...]:
        present = {track.split for track in self.tracks}
        return tuple(split for split in SPLITS if split in present)


def build_catalogue(
    paths: Sequence[Path],
    config: SegmentConfig,
    split: SplitConfig,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = SILENT,
    leave_out: Path | None = None,
) -> RecordingSet:
    """Find and measure recordings, divide them into splits and join the short ones.

    leave_out  a folder whose files are none, also where it lies in a folder that is searched
    """
    found = find_recordings(paths, leave_out)
    measured: list[tuple[Path, AudioInfo]] = []
    skipped: list[tuple[str, str]] = []
    progress.start("looking at recordings", len(found), "file")
    for path in found:
        try:
            measured.append((path, read_info(path)))
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
            n_samples=resampled_length(info, config.sample_rate),
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
    return RecordingSet(recordings, tracks, tuple(skipped) + left_out)


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


def recording_rows(catalogue: RecordingSet) -> list[dict[str, Any]]:
    """The table of recordings as files keep it."""
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
        }
        for i, r in enumerate(catalogue.recordings)
    ]
