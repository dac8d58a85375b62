"""Where rendered pairs go: a pairs file, or a folder of audio files with a table."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.audio.writer import save_audio
from dafxtool.config import SPLITS
from dafxtool.dataset.failures import FailedPair
from dafxtool.dataset.pair import Pair
from dafxtool.dataset.plan import PairRenderer, RenderPlan
from dafxtool.dataset.recordings import recording_rows
from dafxtool.errors import DiskError, OutputExistsError
from dafxtool.utils import files
from dafxtool.utils.locks import check_unlocked, sole_writer
from dafxtool.utils.progress import SILENT, Progress

TABLE, DESCRIPTION, LOST_TABLE = "pairs.csv", "pairs.json", "lost.csv"
COLUMNS_OF_CSV = ("row", "effect", "setting", "recording", "offset", "split", "dry", "wet")
COLUMNS_OF_LOST = ("row", "effect", "setting", "split", "reason")
AUDIO_NAME = re.compile(r"[0-9]{6,}_(dry|wet)\.(wav|flac)")
WORKING_FILE = ".pairs.h5"  # what a folder is exported from
STAGING = ".dafxtool-export-"  # beginning of the name of the folder that an export writes into

# A recording's name may be any bytes, and they stay what they are.
CSV_FILE: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}


class PairWriter(Protocol):
    """Takes rows in any order and remembers which it has."""

    def done(self) -> NDArray[np.bool_]: ...

    def lost(self) -> dict[int, str]:
        """Rows that `done` counts although they could not be made, and why."""
        ...

    def put(
        self, rows: NDArray[np.int64], pairs: Sequence[Pair], lost: Sequence[FailedPair]
    ) -> None: ...


@dataclass
class _Hdf5Sink:
    writer: storage.Writer
    plan: RenderPlan

    def done(self) -> NDArray[np.bool_]:
        return self.writer.done()

    def lost(self) -> dict[int, str]:
        return self.writer.lost()

    def put(
        self, rows: NDArray[np.int64], pairs: Sequence[Pair], lost: Sequence[FailedPair]
    ) -> None:
        if pairs:
            self._put(rows, pairs, [""] * len(pairs), audio=[pair.audio for pair in pairs])
        if lost:
            unmade = np.array([each.row for each in lost], dtype=np.int64)
            self._put(unmade, [each.pair for each in lost], [each.reason for each in lost])

    def _put(
        self,
        rows: NDArray[np.int64],
        pairs: Sequence[Pair],
        reasons: Sequence[str],
        **columns: Sequence[NDArray[Any]],
    ) -> None:
        setting = np.full((len(pairs), self.plan.max_parameters), np.nan)
        for row, pair in zip(setting, pairs, strict=True):
            row[: len(pair.setting)] = list(pair.setting.values())
        self.writer.put(
            rows,
            effect=np.array([pair.effect for pair in pairs]),
            setting=setting,
            setting_text=storage.encode_texts([_setting_text(self.plan, pair) for pair in pairs]),
            recording=np.array([pair.recording for pair in pairs]),
            offset=np.array([pair.offset for pair in pairs]),
            split=np.array([SPLITS.index(pair.split) for pair in pairs]),
            lost=storage.encode_texts(reasons, storage.LONGEST_REASON),
            **columns,
        )


def _setting_text(plan: RenderPlan, pair: Pair) -> str:
    return plan.effects[pair.effect][0].setting_text(pair.setting)


@contextmanager
def hdf5_sink(
    output: Path, plan: RenderPlan, described: dict[str, Any], resume: bool, overwrite: bool
) -> Iterator[PairWriter]:
    effects = [effect.to_dict() for effect, _ in plan.effects]
    columns = {"audio": ((2, plan.segments.n_samples), np.float32)}
    recordings = recording_rows(plan.catalogue)
    effect = np.arange(plan.n_rows) % len(effects)
    about = {"sample_rate": plan.segments.sample_rate}
    with storage.writing_rows(
        *(
            output,
            storage.PAIRS,
            columns,
            effect,
            described,
            effects,
            recordings,
            resume,
            overwrite,
        ),
        attributes=about,
    ) as writer:
        yield _Hdf5Sink(writer, plan)


# --- a folder of audio files ---------------------------------------------------------------------


@contextmanager
def folder_sink(
    output: Path,
    plan: RenderPlan,
    described: Mapping[str, Any],
    suffix: str,
    resume: bool,
    overwrite: bool,
    progress: Progress = SILENT,
) -> Iterator[PairWriter]:
    """Render into a hidden pairs file in the folder, and export it when all rows are there.

    The folder then holds NNNNNN_dry.wav and NNNNNN_wet.wav of each pair, pairs.csv, pairs.json with
    everything that decides the pairs, and lost.csv if pairs failed. The pairs file is removed.
    """
    effects = [effect.to_dict() for effect, _ in plan.effects]
    decided = {**described, "audio_format": suffix, "effects": effects}
    description = json.dumps(decided, sort_keys=True, indent=1)
    working = output / WORKING_FILE

    def is_complete() -> bool:
        has_table = (output / TABLE).exists() and not _is_started(output)
        return resume and not overwrite and has_table

    check_folder(output, resume, overwrite)
    if not is_complete():
        with files.disk_errors(output), sole_writer(output, is_folder=True):
            if not is_complete():  # else another process has just finished it
                check_folder(output, resume, overwrite)
                _check_space(output, plan, suffix)
                with hdf5_sink(working, plan, dict(described), resume, overwrite) as sink:
                    yield sink
                _export(working, output, plan, suffix, description, progress)
                working.unlink()
                return
    yield _open_complete(output, plan, suffix, description)


def check_folder(output: Path, resume: bool, overwrite: bool) -> None:
    """Raise OutputExistsError where `folder_sink` would, before the work."""
    if output.exists() and not output.is_dir():
        raise OutputExistsError(f"{output} is a file: name a folder, or a file ending in .h5.")
    check_unlocked(output, is_folder=True)
    has_table, is_started = (output / TABLE).exists(), _is_started(output)
    if overwrite or (resume and (has_table or is_started)):
        return
    if has_table or is_started or _audio_files(output):
        raise OutputExistsError(
            f"{output} holds pairs already: choose another --output, or use --overwrite"
            + (", or --resume to continue." if is_started else ".")
        )


def _is_started(output: Path) -> bool:
    """Is there the pairs file of an interrupted render or export?"""
    working = output / WORKING_FILE
    return working.exists() or storage.partial_path(working).exists()


def _audio_files(output: Path) -> list[Path]:
    """The audio files in a folder that have the names of pairs."""
    if not output.is_dir():
        return []
    return [path for path in output.iterdir() if AUDIO_NAME.fullmatch(path.name)]


def _names(row: int, suffix: str) -> tuple[str, str]:
    return f"{row:06d}_dry.{suffix}", f"{row:06d}_wet.{suffix}"


def _check_space(output: Path, plan: RenderPlan, suffix: str) -> None:
    """Raise DiskError where the pairs file and the WAV files do not fit together.

    FLAC files are not counted, because nobody knows their size beforehand.
    """
    copies = (not _is_started(output)) + (suffix == "wav")
    n_bytes = copies * plan.n_rows * 2 * plan.segments.n_samples * np.float32().itemsize
    free = shutil.disk_usage(output).free
    if n_bytes > free:
        raise DiskError(
            f"{output} cannot be written, because it needs {n_bytes / 1e6:,.1f} MB until it is "
            f"complete and the disk has {free / 1e6:,.1f} MB left: free some space, choose another "
            "--output, or render fewer pairs."
        )


def _export(
    working: Path, output: Path, plan: RenderPlan, suffix: str, description: str, progress: Progress
) -> None:
    """Write the pairs of a file as audio files and tables, then put them in place of older ones.

    Everything is written beside the older files first. Until then the folder stays as it was; what
    follows only renames, the table last.
    """
    for remains in output.glob(f"{STAGING}*"):
        shutil.rmtree(remains, ignore_errors=True)
    with TemporaryDirectory(prefix=STAGING, dir=output) as place:
        staging = Path(place)
        with storage.Reader(working, storage.PAIRS) as pairs:
            lost = pairs.lost()
            rows = [row for row in range(plan.n_rows) if row not in lost]
            entries = _export_pairs(pairs, rows, staging, plan, suffix, progress)
        _write_table(staging / TABLE, COLUMNS_OF_CSV, entries)
        if lost:
            _write_table(staging / LOST_TABLE, COLUMNS_OF_LOST, _lost_entries(lost, plan))
        with files.atomic_write(staging / DESCRIPTION) as temporary:
            temporary.write_text(description, "utf-8")
        (output / TABLE).unlink(missing_ok=True)
        for older in (*_audio_files(output), output / LOST_TABLE):
            older.unlink(missing_ok=True)
        for path in sorted(staging.iterdir(), key=lambda path: path.name == TABLE):
            path.replace(output / path.name)


def _export_pairs(
    pairs: storage.Reader,
    rows: Sequence[int],
    folder: Path,
    plan: RenderPlan,
    suffix: str,
    progress: Progress,
) -> list[tuple[Any, ...]]:
    """Write the audio of each pair; return the lines of the table."""
    labels, entries = pairs.labels, []
    progress.start("exporting", len(rows), "pair")
    for index, row in enumerate(rows):
        names = _names(row, suffix)
        for name, samples in zip(names, pairs.rows(slice(index, index + 1))[0], strict=True):
            save_audio(folder / name, samples, plan.segments.sample_rate)
        entries.append(
            (
                row,
                plan.effects[int(labels.effect[index])][0].name,
                labels.setting_text[index],
                plan.catalogue.recordings[int(labels.recording[index])].path,
                int(labels.offset[index]),
                labels.split_of(index),
                *names,
            )
        )
        progress.advance()
    progress.finish()
    return entries


def _lost_entries(lost: Mapping[int, str], plan: RenderPlan) -> Iterator[tuple[Any, ...]]:
    rows = PairRenderer(plan)
    for row, reason in sorted(lost.items()):
        pair = rows.unmade(row)
        effect = plan.effects[pair.effect][0]
        yield row, effect.name, effect.setting_text(pair.setting), pair.split, reason


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with files.atomic_write(path) as temporary, temporary.open("w", **CSV_FILE) as file:
        csv.writer(file).writerows([columns, *rows])


def _read_table(path: Path) -> list[list[str]]:
    """The rows without the heading; none where there is no such file."""
    if not path.exists():
        return []
    with path.open(**CSV_FILE) as file:
        return [row for row in csv.reader(file) if row][1:]


@dataclass
class _CompleteFolder:
    """A folder in which nothing is missing."""

    n_rows: int
    reasons: dict[int, str]

    def done(self) -> NDArray[np.bool_]:
        return np.ones(self.n_rows, dtype=bool)

    def lost(self) -> dict[int, str]:
        return self.reasons

    def put(
        self, rows: NDArray[np.int64], pairs: Sequence[Pair], lost: Sequence[FailedPair]
    ) -> None:
        raise ValueError("the folder is complete")


def _open_complete(
    output: Path, plan: RenderPlan, suffix: str, description: str
) -> _CompleteFolder:
    """Check that a folder with a table holds these pairs, each with its audio.

    OutputExistsError  it holds others, or some are missing
    """
    path = output / DESCRIPTION
    if not path.exists() or path.read_text("utf-8", "replace") != description:
        raise OutputExistsError(
            f"{output} holds pairs of other recordings or options: choose another --output, resume "
            "with the same, or use --overwrite."
        )
    reasons = {
        int(row[0]): row[-1] for row in _read_table(output / LOST_TABLE) if row[0].isdecimal()
    }
    expected = [
        [str(row), *_names(row, suffix)] for row in range(plan.n_rows) if row not in reasons
    ]
    found = [[row[0], *row[-2:]] for row in _read_table(output / TABLE)]
    if found != expected or not all(
        (output / name).exists() for row in expected for name in row[1:]
    ):
        raise OutputExistsError(
            f"{output} holds other pairs, or fewer: choose another --output, or use --overwrite."
        )
    return _CompleteFolder(plan.n_rows, reasons)
