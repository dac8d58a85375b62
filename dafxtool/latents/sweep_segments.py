"""Choose the segments that a sweep applies every setting to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dafxtool import storage
from dafxtool.config import SegmentConfig, SplitConfig
from dafxtool.dataset.recordings import RecordingSet, build_catalogue, recording_rows
from dafxtool.dataset.segments import Segment, draw_segment
from dafxtool.errors import InputError, RecordingError
from dafxtool.latents.table import check_segments, held_out
from dafxtool.models.run import Run
from dafxtool.utils.progress import Progress


@dataclass(frozen=True)
class SweepSegments:
    """Segments, the split of each, the table of recordings, and (path, reason) of skipped ones."""

    segments: list[Segment]
    splits: list[str]
    recordings: list[dict[str, Any]]
    skipped: tuple[tuple[str, str], ...]


def choose_segments(
    inputs: Sequence[Path], run: Run, count: int, seed: int, strict: bool, progress: Progress
) -> SweepSegments:
    """Choose up to `count` segments from recordings, or from one pairs file.

    InputError without inputs or usable recordings; RecordingError with strict.
    """
    if not inputs:
        raise InputError("no inputs. Name recordings or a pairs.h5.")
    hdf5 = [path for path in inputs if path.suffix.lower() in (".h5", ".hdf5")]
    if hdf5 and len(inputs) > 1:
        raise InputError("an HDF5 file has to be the only input. Sweep over one file at a time.")
    rng = np.random.default_rng([seed, 4])
    if hdf5:
        return _from_pairs(hdf5[0], run, count, rng)
    config = run.configuration.segments
    split = SplitConfig("recording", 0, 0, copies="ignore")
    catalogue = build_catalogue(inputs, config, split, 0, strict, progress)
    return _from_recordings(catalogue, config, count, rng, strict, progress)


def _from_pairs(path: Path, run: Run, count: int, rng: np.random.Generator) -> SweepSegments:
    """Take dry segments of pairs that training has not seen, in turn from each recording."""
    with storage.Hdf5Reader(path, storage.PAIRS) as reader:
        check_segments(reader, run)
        labels = reader.labels
        row_of: dict[tuple[int, int], int] = {}  # one row of each segment
        for row in rng.permutation(labels.rows_of(held_out(labels))).tolist():
            row_of.setdefault((int(labels.recording[row]), int(labels.offset[row])), row)
        n_taken: Counter[int] = Counter()
        ranked: list[tuple[int, int, int]] = []
        for (recording, _), row in row_of.items():
            ranked.append((n_taken[recording], len(ranked), row))
            n_taken[recording] += 1
        rows = [row for _, _, row in sorted(ranked)[:count]]
        if not rows:
            raise InputError(f"{path}: no pairs. Render some.")
        dry = reader.rows(np.array(rows))[:, 0].astype(np.float32)
    segments = [
        Segment(audio, int(labels.recording[row]), int(labels.offset[row]))
        for audio, row in zip(dry, rows, strict=True)
    ]
    return SweepSegments(segments, [labels.split_of(row) for row in rows], labels.recordings, ())


def _from_recordings(
    catalogue: RecordingSet,
    config: SegmentConfig,
    count: int,
    rng: np.random.Generator,
    strict: bool,
    progress: Progress,
) -> SweepSegments:
    """Draw one segment of each track in turn, until there are enough or no new ones."""
    skipped = dict(catalogue.skipped)
    segments: dict[tuple[int, int], Segment] = {}
    tracks = [catalogue.tracks[index] for index in rng.permutation(len(catalogue.tracks))]
    n_before = -1
    while n_before < len(segments) < count:
        n_before = len(segments)
        for track in list(tracks):
            only_track = RecordingSet(catalogue.recordings, (track,))
            try:
                segment, _ = draw_segment(only_track, track.split, config, rng, strict)
            except RecordingError as error:
                if strict:
                    raise
                progress.detail(f"skipped {error}")
                skipped[catalogue.recordings[track.recordings[0]].path] = str(error)
                tracks.remove(track)
                continue
            segments.setdefault((segment.recording, segment.offset), segment)
            if len(segments) == count:
                break
    if not segments:
        raise InputError(f"no usable recordings. First error: {next(iter(skipped.values()))}")
    table = [row | {"split": "test"} for row in recording_rows(catalogue)]
    splits = ["test"] * len(segments)
    return SweepSegments(list(segments.values()), splits, table, tuple(skipped.items()))
