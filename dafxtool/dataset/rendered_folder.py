"""Import a folder of audio files that `render` wrote: with its effects, settings and splits."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from dafxtool import storage
from dafxtool.audio.reader import AudioInfo, load_audio, read_info
from dafxtool.config import SPLITS, SegmentConfig
from dafxtool.dataset.import_pairs import ImportPlan, summary
from dafxtool.dataset.import_result import ImportResult
from dafxtool.dataset.pair import Pair
from dafxtool.dataset.recordings import Recording, RecordingSet, Track
from dafxtool.dataset.writers import CSV_FILE, DESCRIPTION, TABLE, UNCHANGED, open_hdf5_writer
from dafxtool.effects.apply import parse_effect
from dafxtool.effects.effect import Effect, EffectChoice
from dafxtool.errors import DafxError, InputError, RecordingError
from dafxtool.storage import GAINS
from dafxtool.utils.progress import SILENT, Progress

Line = dict[str, str]


def is_rendered_folder(path: Path) -> bool:
    """Return whether `render` wrote this folder."""
    return path.is_dir() and (path / TABLE).is_file() and (path / DESCRIPTION).is_file()


def import_rendered_folder(
    folder: Path,
    output: Path,
    overwrite: bool = False,
    strict: bool = False,
    progress: Progress = SILENT,
) -> ImportResult:
    """Import a folder of `render`: the pairs are aligned, levelled and split already.

    A file that cannot be read is skipped; RecordingError if strict. InputError for a table or
    description that `render` did not write.
    """
    storage.check_output(output, False, overwrite)
    saved, lines = _read(folder)
    try:
        effects = [Effect.from_dict(each) for each in saved["effects"]]
        names = {each.name for each in fields(SegmentConfig)}
        config = SegmentConfig(**{k: v for k, v in saved["segments"].items() if k in names})
        known = {effect.name: effect for effect in effects}
        indices = [list(known).index(line["effect"]) for line in lines]
        settings = [
            known[line["effect"]].complete(parse_effect(line["setting"], _basic(known)).fixed)
            for line in lines
        ]
        catalogue, recordings = _catalogue(lines, config)
        offsets = [int(line["offset"]) for line in lines]
    except (DafxError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{folder / TABLE}: does not fit {DESCRIPTION} ({error}). Render the folder again."
        ) from error
    indices_read, skipped = _readable(folder, lines, config, strict)
    if not indices_read:
        raise InputError(f"no pair could be imported. First error: {skipped[0][1]}")
    plan = ImportPlan(
        catalogue,
        config,
        tuple(EffectChoice(each, {}) for each in effects),
        np.array([indices[i] for i in indices_read], dtype=np.int64),
    )
    configuration = {k: v for k, v in saved.items() if k not in ("effects", "audio_format")}
    configuration |= {"settings": storage.IMPORTED, "rendered_settings": saved.get("settings")}
    progress.start("importing", len(indices_read), "pair")
    with open_hdf5_writer(output, plan, configuration, False, overwrite) as writer:
        for row, i in enumerate(indices_read):
            audio = np.stack([load_audio(folder / lines[i][side])[0] for side in ("dry", "wet")])
            line = lines[i]
            labels = (indices[i], settings[i], recordings[i], offsets[i], line["split"])
            gains_db = (float(line.get(GAINS[0]) or "nan"), float(line.get(GAINS[1]) or "nan"))
            pair = Pair(audio, *labels, gains_db, line.get(UNCHANGED) == "1")
            writer.put(np.array([row]), [pair], [])
            progress.advance()
    progress.finish()
    return summary(output, plan, [lines[i]["split"] for i in indices_read], [], skipped)


def _read(folder: Path) -> tuple[dict[str, Any], list[Line]]:
    """Read the description and the table of a folder."""
    try:
        saved = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        with (folder / TABLE).open(**CSV_FILE) as file:
            lines = list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: cannot be read ({error}). Render the folder again.") from error
    needed = ("effect", "setting", "recording", "offset", "split", "dry", "wet")
    missing = [name for name in needed if not lines or lines[0].get(name) is None]
    if missing or not isinstance(saved, dict):
        raise InputError(
            f"{folder / TABLE}: no column {missing[0]!r}, or no pairs. Render the folder again."
            if missing
            else f"{folder / DESCRIPTION}: not a description of pairs. Render the folder again."
        )
    return saved, lines


def _basic(effects: Mapping[str, Effect]) -> dict[str, Effect]:
    """Return the effects that are no chains, those in chains too, by name."""
    stages = {s.effect.name: s.effect for effect in effects.values() for s in effect.stages}
    return stages | {name: effect for name, effect in effects.items() if not effect.stages}


def _catalogue(lines: Sequence[Line], config: SegmentConfig) -> tuple[RecordingSet, list[int]]:
    """Return the recordings that the pairs were cut from, and the index of each line's."""
    paths = list(dict.fromkeys(line["recording"] for line in lines))
    index_of = {path: i for i, path in enumerate(paths)}
    indices = [index_of[line["recording"]] for line in lines]
    n_samples, splits = [0] * len(paths), [""] * len(paths)
    for index, line in zip(indices, lines, strict=True):
        n_samples[index] = max(n_samples[index], int(line["offset"]) + config.n_samples)
        splits[index] = splits[index] or line["split"]
        if line["split"] not in SPLITS:
            raise ValueError(f"unknown split {line['split']!r}")
    recordings = tuple(
        Recording(path, Path(path).parent.name, n, split, AudioInfo(config.sample_rate, 1, n))
        for path, n, split in zip(paths, n_samples, splits, strict=True)
    )
    tracks = tuple(
        Track((i,), n, split) for i, (n, split) in enumerate(zip(n_samples, splits, strict=True))
    )
    return RecordingSet(recordings, tracks), indices


def _readable(
    folder: Path, lines: Sequence[Line], config: SegmentConfig, strict: bool
) -> tuple[list[int], list[tuple[str, str]]]:
    """Return the lines whose files can be read, and (path, reason) of the other files."""
    indices_read, skipped = [], []
    for i, line in enumerate(lines):
        try:
            for side in ("dry", "wet"):
                info = read_info(folder / line[side])
                if (info.sample_rate, info.n_samples) != (config.sample_rate, config.n_samples):
                    raise RecordingError(
                        f"{folder / line[side]}: not a segment of this folder (found "
                        f"{info.n_samples} samples at {info.sample_rate} Hz, expected "
                        f"{config.n_samples} at {config.sample_rate} Hz). Render the folder again."
                    )
        except RecordingError as error:
            if strict:
                raise
            skipped.append((str(folder / line["dry"]), str(error)))
        else:
            indices_read.append(i)
    return indices_read, skipped
