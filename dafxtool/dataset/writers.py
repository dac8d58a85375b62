"""Write rendered pairs: to a pairs file, or to a folder of audio files with a table."""

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
from dafxtool.config import SPLITS, SegmentConfig
from dafxtool.dataset.failures import FailedPair
from dafxtool.dataset.pair import Pair, PairRenderer
from dafxtool.dataset.plan import RenderPlan
from dafxtool.dataset.recordings import RecordingSet, recording_rows
from dafxtool.effects.effect import EffectChoice
from dafxtool.errors import DiskError, OutputExistsError
from dafxtool.utils import files
from dafxtool.utils.locks import check_unlocked, sole_writer
from dafxtool.utils.progress import SILENT, Progress

TABLE, DESCRIPTION, FAILED_TABLE = "pairs.csv", "pairs.json", "lost.csv"
RIGHT = "wet_right"  # array of the pairs file that a folder in stereo is exported from
UNCHANGED = "unchanged"  # array of a pairs file, and column of the table
PAIR_COLUMNS = (
    *("row", "effect", "setting", "recording", "offset", "split"),
    *(*storage.GAINS, UNCHANGED, "dry", "wet"),
)
FAILED_COLUMNS = ("row", "effect", "setting", "split", "reason")
AUDIO_NAME = re.compile(r"[0-9]{6,}_(dry|wet)\.(wav|flac)")
WORKING_FILE = ".pairs.h5"  # pairs file that a folder is exported from
STAGING = ".dafxtool-export-"  # prefix of the temporary folder of an export

# The name of a recording may be any bytes, which are written unchanged.
CSV_FILE: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}


class PairPlan(Protocol):
    """Information that a pairs file needs before its first row, of a render or an import."""

    @property
    def effects(self) -> Sequence[EffectChoice]: ...
    @property
    def segments(self) -> SegmentConfig: ...
    @property
    def catalogue(self) -> RecordingSet: ...
    @property
    def n_rows(self) -> int: ...
    @property
    def max_parameters(self) -> int: ...
    @property
    def effect_indices(self) -> NDArray[np.int64]: ...
    @property
    def stereo(self) -> bool: ...


class PairWriter(Protocol):
    """Writer of rows in any order, which records the ones that are done."""

    def done(self) -> NDArray[np.bool_]:
        """Return which rows are written or failed (n_rows,)."""
        ...

    def failed(self) -> dict[int, str]:
        """Return the failed rows among those done, with the reasons."""
        ...

    def recordings(self) -> NDArray[np.int64]:
        """Return the index of the recording of each row (n_rows,), -1 where there is no pair."""
        ...

    def unchanged(self) -> NDArray[np.bool_]:
        """Return in which rows the wet segment is the dry one (n_rows,)."""
        ...

    def put(
        self, rows: NDArray[np.int64], pairs: Sequence[Pair], failed: Sequence[FailedPair]
    ) -> None:
        """Write pairs to rows (rows[i] for pairs[i]), and failed pairs."""
        ...


# --- a pairs file ---------------------------------------------------------------------------------


@dataclass
class _Hdf5PairWriter:
    """Writer of a pairs file; converts pairs to columns."""

    writer: storage.Hdf5Writer
    plan: PairPlan

    def done(self) -> NDArray[np.bool_]:
        return self.writer.done()

    def failed(self) -> dict[int, str]:
        return self.writer.failed()

    def recordings(self) -> NDArray[np.int64]:
        recordings = self.writer.read("recording").astype(np.int64)
        recordings[~self.done()] = -1
        recordings[list(self.failed())] = -1
        return recordings

    def unchanged(self) -> NDArray[np.bool_]:
        return self.writer.read(UNCHANGED).astype(bool) & self.done()

    def put(
        self, rows: NDArray[np.int64], pairs: Sequence[Pair], failed: Sequence[FailedPair]
    ) -> None:
        if pairs:
            columns = {"audio": [pair.audio[:2] for pair in pairs]}
            if self.plan.stereo:
                columns[RIGHT] = [pair.audio[2] for pair in pairs]
            self._put(rows, pairs, [""] * len(pairs), **columns)
        if failed:
            failed_rows = np.array([each.row for each in failed], dtype=np.int64)
            self._put(failed_rows, [each.pair for each in failed], [each.reason for each in failed])

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
            dry_gain_db=np.array([pair.gains_db[0] for pair in pairs]),
            wet_gain_db=np.array([pair.gains_db[1] for pair in pairs]),
            lost=storage.encode_texts(reasons, storage.LONGEST_REASON),
            unchanged=np.array([pair.unchanged for pair in pairs], np.uint8),
            **columns,
        )


def _setting_text(plan: PairPlan, pair: Pair) -> str:
    return plan.effects[pair.effect][0].setting_text(pair.setting)


@contextmanager
def open_hdf5_writer(
    output: Path,
    plan: PairPlan,
    configuration: dict[str, Any],
    resume: bool,
    overwrite: bool,
) -> Iterator[PairWriter]:
    """Open a writer of a pairs file. The file gets its final name when all rows are done."""
    effects = [effect.to_dict() for effect, _ in plan.effects]
    with storage.open_writer(
        output,
        storage.PAIRS,
        columns={
            "audio": ((2, plan.segments.n_samples), np.float32),
            UNCHANGED: ((), np.uint8),
            **({RIGHT: ((plan.segments.n_samples,), np.float32)} if plan.stereo else {}),
        },
        effect=plan.effect_indices,
        configuration=configuration,
        effects=effects,
        recordings=recording_rows(plan.catalogue),
        resume=resume,
        overwrite=overwrite,
        attributes={"sample_rate": plan.segments.sample_rate},
    ) as writer:
        yield _Hdf5PairWriter(writer, plan)


# --- a folder of audio files ---------------------------------------------------------------------


@contextmanager
def open_folder_writer(
    output: Path,
    plan: RenderPlan,
    configuration: Mapping[str, Any],
    suffix: str,
    resume: bool,
    overwrite: bool,
    progress: Progress = SILENT,
) -> Iterator[PairWriter]:
    """Open a writer of a hidden pairs file in the folder, and export it when all rows are done.

    The folder then holds NNNNNN_dry.wav and NNNNNN_wet.wav of each pair, pairs.csv, pairs.json with
    everything that determines the pairs, and lost.csv if pairs failed. The pairs file is removed.
    """
    effects = [effect.to_dict() for effect, _ in plan.effects]
    decisive = {**configuration, "audio_format": suffix, "effects": effects}
    description = json.dumps(decisive, sort_keys=True, indent=1)
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
                with open_hdf5_writer(
                    working, plan, dict(configuration), resume, overwrite
                ) as writer:
                    yield writer
                _export(working, output, plan, suffix, description, progress)
                working.unlink()
                return
    yield _open_complete(output, plan, suffix, description)


def check_folder(output: Path, resume: bool, overwrite: bool) -> None:
    """Raise OutputExistsError where `open_folder_writer` would, before the work."""
    if output.exists() and not output.is_dir():
        raise OutputExistsError(
            f"{output}: is a file (expected a folder). Name a folder, or a file ending in .h5."
        )
    check_unlocked(output, is_folder=True)
    has_table, is_started = (output / TABLE).exists(), _is_started(output)
    if overwrite or (resume and (has_table or is_started)):
        return
    if has_table or is_started or _audio_files(output):
        raise OutputExistsError(
            f"{output}: holds pairs already. Use --overwrite"
            + (", use --resume to continue," if is_started else "")
            + " or choose another --output."
        )


def _is_started(output: Path) -> bool:
    """Return whether there is a pairs file of an interrupted render or export."""
    working = output / WORKING_FILE
    return working.exists() or storage.partial_path(working).exists()


def _audio_files(output: Path) -> list[Path]:
    """List the audio files in a folder that have the names of pairs."""
    if not output.is_dir():
        return []
    return [path for path in output.iterdir() if AUDIO_NAME.fullmatch(path.name)]


def _names(row: int, suffix: str) -> tuple[str, str]:
    return f"{row:06d}_dry.{suffix}", f"{row:06d}_wet.{suffix}"


def _check_space(output: Path, plan: RenderPlan, suffix: str) -> None:
    """Raise DiskError where the pairs file and the WAV files together do not fit on the disk.

    FLAC files are not counted, because their size is unknown.
    """
    copies = (not _is_started(output)) + (suffix == "wav")
    n_bytes = (
        copies * plan.n_rows * (2 + plan.stereo) * plan.segments.n_samples * np.float32().itemsize
    )
    free = shutil.disk_usage(output).free
    if n_bytes > free:
        raise DiskError(
            f"{output}: cannot be written (needs {n_bytes / 1e6:,.1f} MB while it is rendered, "
            f"the disk has {free / 1e6:,.1f} MB left). Free some space, choose another --output, "
            "or render fewer pairs."
        )


def _export(
    working: Path, output: Path, plan: RenderPlan, suffix: str, description: str, progress: Progress
) -> None:
    """Write the pairs of a file as audio files and tables, then replace the older ones.

    Everything is written to a temporary folder first. Until then the older files are untouched. The
    rest is only renaming, the table last.
    """
    for remains in output.glob(f"{STAGING}*"):
        shutil.rmtree(remains, ignore_errors=True)
    with TemporaryDirectory(prefix=STAGING, dir=output) as temporary_folder:
        staging = Path(temporary_folder)
        with storage.Hdf5Reader(working, storage.PAIRS) as pairs:
            failed = pairs.failed()
            rows = [row for row in range(plan.n_rows) if row not in failed]
            lines = _export_pairs(pairs, rows, staging, plan, suffix, progress)
        _write_table(staging / TABLE, PAIR_COLUMNS, lines)
        if failed:
            _write_table(staging / FAILED_TABLE, FAILED_COLUMNS, _failed_lines(failed, plan))
        with files.atomic_write(staging / DESCRIPTION) as temporary:
            temporary.write_text(description, "utf-8")
        (output / TABLE).unlink(missing_ok=True)
        for older in (*_audio_files(output), output / FAILED_TABLE):
            older.unlink(missing_ok=True)
        for path in sorted(staging.iterdir(), key=lambda path: path.name == TABLE):
            path.replace(output / path.name)


def _export_pairs(
    pairs: storage.Hdf5Reader,
    rows: Sequence[int],
    folder: Path,
    plan: RenderPlan,
    suffix: str,
    progress: Progress,
) -> list[tuple[Any, ...]]:
    """Write the audio of each pair. Return the lines of the table."""
    labels, lines, unchanged = pairs.labels, [], pairs.column(UNCHANGED)
    progress.start("exporting", len(rows), "pair")
    for index, row in enumerate(rows):
        names = _names(row, suffix)
        dry, wet = pairs.rows(slice(index, index + 1))[0]
        if plan.stereo:
            wet = np.stack([wet, pairs.column(RIGHT, slice(index, index + 1))[0]])
        for name, samples in zip(names, (dry, wet), strict=True):
            save_audio(folder / name, samples, plan.segments.sample_rate)
        lines.append(
            (
                row,
                plan.effects[int(labels.effect[index])][0].name,
                labels.setting_text[index],
                plan.catalogue.recordings[int(labels.recording[index])].path,
                int(labels.offset[index]),
                labels.split_of(index),
                *(f"{gain:.6f}" for gain in labels.gains_db[index]),
                int(unchanged[index]),
                *names,
            )
        )
        progress.advance()
    progress.finish()
    return lines


def _failed_lines(failed: Mapping[int, str], plan: RenderPlan) -> Iterator[tuple[Any, ...]]:
    renderer = PairRenderer(plan)
    for row, reason in sorted(failed.items()):
        pair = renderer.failed_pair(row)
        effect = plan.effects[pair.effect][0]
        yield row, effect.name, effect.setting_text(pair.setting), pair.split, reason


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with files.atomic_write(path) as temporary, temporary.open("w", **CSV_FILE) as file:
        csv.writer(file).writerows([columns, *rows])


def _read_table(path: Path) -> list[list[str]]:
    """Read the rows below the heading; none where the file does not exist."""
    if not path.exists():
        return []
    with path.open(**CSV_FILE) as file:
        return [row for row in csv.reader(file) if row][1:]


@dataclass
class _CompleteFolder:
    """Writer of a folder that is complete: there is nothing to write."""

    n_rows: int
    reasons: dict[int, str]
    recording: NDArray[np.int64]
    is_unchanged: NDArray[np.bool_]

    def done(self) -> NDArray[np.bool_]:
        return np.ones(self.n_rows, dtype=bool)

    def failed(self) -> dict[int, str]:
        return self.reasons

    def recordings(self) -> NDArray[np.int64]:
        return self.recording

    def unchanged(self) -> NDArray[np.bool_]:
        return self.is_unchanged

    def put(
        self, rows: NDArray[np.int64], pairs: Sequence[Pair], failed: Sequence[FailedPair]
    ) -> None:
        raise ValueError("the folder is complete")


def _open_complete(
    output: Path, plan: RenderPlan, suffix: str, description: str
) -> _CompleteFolder:
    """Check that a folder with a table holds these pairs, each with its audio.

    OutputExistsError for other or missing pairs.
    """
    path = output / DESCRIPTION
    if not path.exists() or path.read_text("utf-8", "replace") != description:
        raise OutputExistsError(
            f"{output}: holds pairs of other recordings or options. Choose another --output, "
            "resume with the same ones, or use --overwrite."
        )
    reasons = {
        int(row[0]): row[-1] for row in _read_table(output / FAILED_TABLE) if row[0].isdecimal()
    }
    expected = [
        [str(row), *_names(row, suffix)] for row in range(plan.n_rows) if row not in reasons
    ]
    table = _read_table(output / TABLE)
    stored = [[row[0], *row[-2:]] for row in table]
    if stored != expected or not all(
        (output / name).exists() for row in expected for name in row[1:]
    ):
        raise OutputExistsError(
            f"{output}: holds other pairs, or fewer. Choose another --output, or use --overwrite."
        )
    index_of = {each.path: i for i, each in enumerate(plan.catalogue.recordings)}
    recording = np.full(plan.n_rows, -1)
    unchanged = np.zeros(plan.n_rows, dtype=bool)
    for row in table:
        recording[int(row[0])] = index_of.get(row[PAIR_COLUMNS.index("recording")], -1)
        unchanged[int(row[0])] = row[PAIR_COLUMNS.index(UNCHANGED)] == "1"
    return _CompleteFolder(plan.n_rows, reasons, recording, unchanged)
