"""Where rendered pairs go: a pairs file, or a folder of audio files with a table."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.audio.io import save_audio
from dafxtool.config import SPLITS
from dafxtool.dataset.failures import FailedPair
from dafxtool.dataset.pair import Pair
from dafxtool.dataset.plan import RenderPlan
from dafxtool.dataset.recordings import recording_rows
from dafxtool.errors import InputError, OutputExistsError
from dafxtool.utils import files, locks

LOST_TABLE = "lost.csv"
JOURNAL = ".pairs.csv.partial"
REPLACED = ".pairs.csv.replaced"  # names of sounds that are overwritten, or of no use then
COLUMNS_OF_LOST = ("row", "effect", "setting", "split", "reason")
SOUND_NAME = re.compile(r"[0-9]{6,}_(dry|wet)\.(wav|flac)")
COLUMNS_OF_CSV = ("row", "effect", "setting", "recording", "offset", "split", "dry", "wet")

# Of the table; a recording's name may be any bytes, and they stay what they are.
TABLE: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}


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
    writer: storage.Hdf5Writer
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
            lost=storage.encode_texts([reason[: storage.MOST_REASON] for reason in reasons]),
            **columns,
        )


def _setting_text(plan: RenderPlan, pair: Pair) -> str:
    return plan.effects[pair.effect][0].setting_text(pair.setting)


@contextmanager
def hdf5_sink(
    output: Path, plan: RenderPlan, described: dict[str, Any], resume: bool, overwrite: bool
) -> Iterator[PairWriter]:
    effects = [effect.to_dict() for effect, _ in plan.effects]
    columns = {
        "audio": ((2, plan.segments.n_samples), np.float32),
        **storage.label_columns(effects, plan.max_parameters),
        **storage.LOST_COLUMN,
    }
    recordings = recording_rows(plan.catalogue)
    with storage.writing_rows(
        output,
        storage.PAIRS,
        columns,
        plan.n_rows,
        described,
        effects,
        recordings,
        resume,
        overwrite,
    ) as writer:
        yield _Hdf5Sink(writer, plan)


@dataclass
class _FolderSink:
    folder: Path
    plan: RenderPlan
    suffix: str
    journal: Path
    begin: Callable[[], None] | None = None  # called before anything in the folder is changed
    is_new: bool = False  # what the folder holds is of other pairs
    has_written: bool = False
    unmade: list[FailedPair] = field(default_factory=list)

    def done(self) -> NDArray[np.bool_]:
        found = np.zeros(self.plan.n_rows, dtype=bool)
        if self.is_new:
            return found
        for row in _read_journal(self.journal):
            number = int(row["row"])
            names = self._names(number)
            if number < self.plan.n_rows and (row["dry"], row["wet"]) == names:
                found[number] = all((self.folder / name).exists() for name in names)
        found[list(self.lost())] = True
        return found

    def lost(self) -> dict[int, str]:
        if self.is_new:
            return {}
        return {
            int(row[0]): row[-1]
            for row in _read_table(self.folder / LOST_TABLE)[1:]
            if row and row[0].isdecimal() and int(row[0]) < self.plan.n_rows
        }

    def put(
        self, rows: NDArray[np.int64], pairs: Sequence[Pair], lost: Sequence[FailedPair]
    ) -> None:
        if self.begin:
            self.begin()
            self.begin = None
        self.unmade.extend(lost)
        for row, pair in zip(rows.tolist(), pairs, strict=True):
            names = self._names(row)
            for name, samples in zip(names, pair.audio, strict=True):
                save_audio(
                    self.folder / name, samples, self.plan.segments.sample_rate, overwrite=True
                )
                self.has_written = True
            entry = (
                row,
                self.plan.effects[pair.effect][0].name,
                _setting_text(self.plan, pair),
                self.plan.catalogue.recordings[pair.recording].path,
                pair.offset,
                pair.split,
                *names,
            )
            with self.journal.open("a", **TABLE) as file:
                if self._is_torn():  # a full disk may have cut the last line off
                    file.write("\n")
                csv.writer(file).writerow(entry)

    def _names(self, row: int) -> tuple[str, str]:
        return f"{row:06d}_dry.{self.suffix}", f"{row:06d}_wet.{self.suffix}"

    def _is_torn(self) -> bool:
        with self.journal.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 1))
            return size > 0 and file.read() != b"\n"


def _read_table(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    with path.open(**TABLE) as file:
        return list(csv.reader(file))


def _read_journal(path: Path) -> list[dict[str, str]]:
    return [
        dict(zip(COLUMNS_OF_CSV, row, strict=True))
        for row in _read_table(path)
        if len(row) == len(COLUMNS_OF_CSV) and row[0].isdecimal()  # no heading, no torn line
    ]


@contextmanager
def folder_sink(
    output: Path,
    plan: RenderPlan,
    described: Mapping[str, Any],
    suffix: str,
    resume: bool,
    overwrite: bool,
) -> Iterator[PairWriter]:
    """Files NNNNNN_dry.wav and NNNNNN_wet.wav, and pairs.csv once all of them are there.

    Pairs that could not be made are in lost.csv, which is there only if there are any.

    `described`, everything that decides them, is kept as pairs.json and compared by a resume. What
    is overwritten stays until the first new pair is there.
    """
    table, journal = output / "pairs.csv", output / JOURNAL
    description, replaced = output / "pairs.json", output / REPLACED
    effects = [effect.to_dict() for effect, _ in plan.effects]
    decided = {**described, "audio_format": suffix, "effects": effects}
    saved = json.dumps(decided, sort_keys=True, indent=1)
    if output.exists() and not output.is_dir():
        raise OutputExistsError(f"{output} is a file: name a folder, or a file ending in .h5.")
    locks.check_unlocked(output, is_folder=True)
    keep = resume and not overwrite
    if keep and table.exists():  # there is nothing left to do
        yield _complete(output, plan, suffix, saved)
        return
    with files.disk_errors(output), locks.sole_writer(output, is_folder=True):
        if keep and table.exists():  # another process was quicker
            yield _complete(output, plan, suffix, saved)
            return
        same = description.exists() and _text_of(description) == saved
        begun = journal.exists()
        if keep and begun and not same:
            raise _other_pairs(output)
        if (table.exists() or (begun and not resume)) and not overwrite:
            raise OutputExistsError(
                f"{output} holds pairs already: choose another --output, or use --overwrite"
                + (", or --resume to go on." if begun else ".")
            )
        goes_on = resume and same and begun
        kept = {
            path: path.read_bytes()
            for path in (table, journal, description, output / LOST_TABLE, replaced)
            if path.exists()
        }

        def begin() -> None:
            older = _names_of(
                [row for path in (table, journal, replaced) for row in _read_table(path)]
            )
            if overwrite and older:
                with files.atomic_write(replaced, overwrite=True) as temporary:
                    temporary.write_text("".join(f"{name}\n" for name in sorted(older)))
            if not goes_on:
                journal.unlink(missing_ok=True)
            table.unlink(missing_ok=True)
            (output / LOST_TABLE).unlink(missing_ok=True)
            with files.atomic_write(description, overwrite=True) as temporary:
                temporary.write_text(saved)
            journal.touch()

        sink = _FolderSink(output, plan, suffix, journal, begin, is_new=not goes_on)
        try:
            yield sink
            if sink.begin:  # there was nothing left to put
                sink.begin()
        except BaseException:
            if not sink.begin and not sink.has_written and not goes_on:  # as it was before
                for path in (table, journal, description, output / LOST_TABLE, replaced):
                    if path in kept:
                        path.write_bytes(kept[path])
                    else:
                        path.unlink(missing_ok=True)
            raise
        latest = {int(row["row"]): row for row in _read_journal(journal)}
        lost = {each.row: each for each in sink.unmade if each.row not in latest}
        missing = [row for row in range(plan.n_rows) if row not in latest and row not in lost]
        if missing:
            raise InputError(
                f"{output}: {len(missing)} pairs are not in the journal, the first of them row "
                f"{missing[0]}: run again with --resume."
            )
        if lost:
            _write_lost(output / LOST_TABLE, plan, [lost[row] for row in sorted(lost)])
        with files.atomic_write(table, overwrite=True) as temporary:
            with temporary.open("w", **TABLE) as file:
                writer = csv.DictWriter(file, COLUMNS_OF_CSV)
                writer.writeheader()
                writer.writerows(latest[row] for row in sorted(latest) if row < plan.n_rows)
        journal.unlink()
        older = _names_of(_read_table(replaced))
        for name in older - {row[kind] for row in latest.values() for kind in ("dry", "wet")}:
            (output / name).unlink(missing_ok=True)
        replaced.unlink(missing_ok=True)


def _names_of(table: Sequence[Sequence[str]]) -> set[str]:
    """The sounds that a table or journal names, as they are named here and nowhere else."""
    return {name for row in table for name in row[-2:] if SOUND_NAME.fullmatch(name)}


def _write_lost(path: Path, plan: RenderPlan, lost: Sequence[FailedPair]) -> None:
    with (
        files.atomic_write(path, overwrite=True) as temporary,
        temporary.open("w", **TABLE) as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS_OF_LOST)
        for each in lost:
            effect = plan.effects[each.pair.effect][0].name
            setting = _setting_text(plan, each.pair)
            writer.writerow((each.row, effect, setting, each.pair.split, each.reason))


def _complete(output: Path, plan: RenderPlan, suffix: str, saved: str) -> _FolderSink:
    """A folder whose table is there, with what a killed process may have left of its journal."""
    description = output / "pairs.json"
    if description.exists() and _text_of(description) != saved:
        raise _other_pairs(output)
    sink = _FolderSink(output, plan, suffix, output / "pairs.csv")
    if not sink.done().all():
        raise OutputExistsError(
            f"{output} holds other pairs, or fewer: choose another --output, or use --overwrite."
        )
    with suppress(OSError):
        (output / JOURNAL).unlink()
    return sink


def _text_of(path: Path) -> str:
    return path.read_text("utf-8", "replace")


def _other_pairs(output: Path) -> OutputExistsError:
    return OutputExistsError(
        f"{output} holds pairs of other recordings or options: choose another --output, resume "
        "with the same, or use --overwrite."
    )
