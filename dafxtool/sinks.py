"""Where rendered pairs go: a pairs file, or a folder of audio files with a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dafxtool import audio, files, store
from dafxtool.errors import InputError, OutputExistsError
from dafxtool.plan import Pair, Plan
from dafxtool.segments import SPLITS, Catalogue

COLUMNS_OF_CSV = ("row", "effect", "setting", "recording", "offset", "split", "dry", "wet")

# Of the table; a recording's name may be any bytes, and they stay what they are.
TABLE: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}


class Sink(Protocol):
    """Takes rows in any order and remembers which it has."""

    def done(self) -> NDArray[np.bool_]: ...

    def put(self, start: int, pairs: Sequence[Pair]) -> None: ...


@dataclass
class _Hdf5Sink:
    writer: store.Writer
    plan: Plan

    def done(self) -> NDArray[np.bool_]:
        return self.writer.done()

    def put(self, start: int, pairs: Sequence[Pair]) -> None:
        setting = np.full((len(pairs), self.plan.max_parameters), np.nan)
        for row, pair in zip(setting, pairs, strict=True):
            row[: len(pair.setting)] = list(pair.setting.values())
        self.writer.put(
            start,
            audio=np.stack([pair.audio for pair in pairs]),
            effect=np.array([pair.effect for pair in pairs]),
            setting=setting,
            setting_text=store.encode_texts([_setting_text(self.plan, pair) for pair in pairs]),
            recording=np.array([pair.recording for pair in pairs]),
            offset=np.array([pair.offset for pair in pairs]),
            split=np.array([SPLITS.index(pair.split) for pair in pairs]),
        )


def _setting_text(plan: Plan, pair: Pair) -> str:
    return plan.effects[pair.effect][0].setting_text(pair.setting)


@contextmanager
def hdf5_sink(
    output: Path, plan: Plan, described: dict[str, Any], resume: bool, overwrite: bool
) -> Iterator[Sink]:
    columns = {
        "audio": ((2, plan.segments.n_samples), np.float32),
        **store.label_columns(plan.max_parameters),
    }
    effects = [effect.to_dict() for effect, _ in plan.effects]
    recordings = recording_rows(plan.catalogue)
    with store.writing_rows(
        output, store.PAIRS, columns, plan.n_rows, described, effects, recordings, resume, overwrite
    ) as writer:
        yield _Hdf5Sink(writer, plan)


@dataclass
class _FolderSink:
    folder: Path
    plan: Plan
    suffix: str
    journal: Path

    def done(self) -> NDArray[np.bool_]:
        found = np.zeros(self.plan.n_rows, dtype=bool)
        for row in _read_journal(self.journal):
            number = int(row["row"])
            if number < self.plan.n_rows and all(
                (self.folder / row[kind]).exists() for kind in ("dry", "wet")
            ):
                found[number] = True
        return found

    def put(self, start: int, pairs: Sequence[Pair]) -> None:
        for row, pair in enumerate(pairs, start):
            names = [f"{row:06d}_{kind}.{self.suffix}" for kind in ("dry", "wet")]
            for name, samples in zip(names, pair.audio, strict=True):
                audio.write(
                    self.folder / name, samples, self.plan.segments.sample_rate, overwrite=True
                )
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

    def _is_torn(self) -> bool:
        with self.journal.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 1))
            return size > 0 and file.read() != b"\n"


def _read_journal(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(**TABLE) as file:
        rows = list(csv.reader(file))
    return [
        dict(zip(COLUMNS_OF_CSV, row, strict=True))
        for row in rows
        if len(row) == len(COLUMNS_OF_CSV) and row[0].isdigit()  # no heading, no torn line
    ]


@contextmanager
def folder_sink(
    output: Path,
    plan: Plan,
    described: Mapping[str, Any],
    suffix: str,
    resume: bool,
    overwrite: bool,
) -> Iterator[Sink]:
    """Files NNNNNN_dry.wav and NNNNNN_wet.wav, and pairs.csv once all of them are there.

    `described`, everything that decides them, is kept as pairs.json and compared by a resume.
    """
    table, journal = output / "pairs.csv", output / ".pairs.csv.partial"
    description = output / "pairs.json"
    saved = json.dumps({**described, "audio_format": suffix}, sort_keys=True, indent=1)
    if output.exists() and not output.is_dir():
        raise OutputExistsError(f"{output} is a file: name a folder, or a file ending in .h5.")
    begun = journal.exists()
    if resume and description.exists() and not overwrite and description.read_text() != saved:
        raise OutputExistsError(
            f"{output} holds pairs of other recordings or options: choose another --output, resume "
            "with the same, or use --overwrite."
        )
    if resume and table.exists() and not overwrite:  # there is nothing left to do
        sink = _FolderSink(output, plan, suffix, table)
        if not sink.done().all():
            raise OutputExistsError(
                f"{output} holds other pairs, or fewer: choose another --output, or use "
                "--overwrite."
            )
        yield sink
        return
    if (table.exists() or (begun and not resume)) and not overwrite:
        raise OutputExistsError(
            f"{output} holds pairs already: choose another --output, or use --overwrite"
            + (", or --resume to go on." if begun else ".")
        )
    if overwrite and not resume:
        journal.unlink(missing_ok=True)
        table.unlink(missing_ok=True)
    with files.disk_errors(output):
        is_new = not output.exists()
        output.mkdir(parents=True, exist_ok=True)
        with files.writing(description, overwrite=True) as temporary:
            temporary.write_text(saved)
        journal.touch()
        try:
            yield _FolderSink(output, plan, suffix, journal)
        except BaseException:
            if not journal.stat().st_size:  # nothing was done: nothing to go on from
                journal.unlink()
                description.unlink()
                if is_new:
                    with suppress(OSError):
                        output.rmdir()
            raise
        latest = {int(row["row"]): row for row in _read_journal(journal)}
        missing = [row for row in range(plan.n_rows) if row not in latest]
        if missing:
            raise InputError(
                f"{output}: {len(missing)} pairs are not in the journal, the first of them row "
                f"{missing[0]}: run again with --resume."
            )
        with files.writing(table, overwrite=True) as temporary:
            with temporary.open("w", **TABLE) as file:
                writer = csv.DictWriter(file, COLUMNS_OF_CSV)
                writer.writeheader()
                writer.writerows(latest[row] for row in sorted(latest) if row < plan.n_rows)
        journal.unlink()


def recording_rows(catalogue: Catalogue) -> list[dict[str, Any]]:
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
