"""Embed recordings, pairs and spectrograms: posterior means, one row a segment.

A latent is never a sample of the posterior, and the model is in evaluation mode: a row depends on
its segment alone, not on the batch that it was in or the order of the rows.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.config import SPLITS
from dafxtool.effects.effect import EffectChoice
from dafxtool.errors import FormatError, InputError
from dafxtool.storage import Labels
from dafxtool.utils import notebook
from dafxtool.utils.files import atomic_write
from dafxtool.utils.outputs import LATENT_SUFFIXES
from dafxtool.utils.progress import Progress
from dafxtool.utils.text import counted

if TYPE_CHECKING:  # it imports torch, which a map of stored latents does not need
    from dafxtool.models.run import Run


@dataclass(frozen=True, repr=False)
class Latents(notebook.Displayed):
    """latent (n, n_latent) float32, and what each row is; skipped are (path, reason).

    n_content  how many of the first numbers tell of the recording; the rest tell of the effect. 0
               of a model that does not divide its latents.
    n_style    how many of the last numbers tell of the effect for the whole segment at once
    scale      (n_latent,) by how much the decoded spectrogram changes with each number; with it
               distances between latents are distances between sounds
    """

    latent: NDArray[np.float32]
    labels: Labels
    run: str
    n_content: int
    n_style: int
    scale: NDArray[np.float32]
    skipped: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        size = f"{counted(len(self), 'segment')}, {counted(self.latent.shape[1], 'latent')} each"
        return f"Latents({size}, by {self.run})"

    def _parts(self) -> Iterator[str]:
        yield notebook.paragraph(repr(self))
        yield notebook.table(("effect", "segments"), list(Counter(self.effects()).items()))

    def __len__(self) -> int:
        return len(self.latent)

    @property
    def effect_part(self) -> NDArray[np.float32]:
        """(n, size): the style, or what else tells of the effect, scaled."""
        first = self.latent.shape[1] - self.n_style if self.n_style else self.n_content
        return (self.latent * self.scale)[:, first:]

    def effects(self) -> list[str]:
        """The name of each row's effect."""
        return [self.labels.effect_of(row) for row in range(len(self))]

    def take(self, rows: NDArray[np.int64]) -> Latents:
        return replace(self, latent=self.latent[rows], labels=self.labels.take(rows))


def check_segments(reader: storage.Hdf5Reader, run: Run) -> None:
    """The pairs' segments have to be of the size that the run takes."""
    segments, wanted = reader.configuration["segments"], run.configuration.segments
    found = (segments["sample_rate"], segments["n_samples"])
    if found != (wanted.sample_rate, wanted.n_samples):
        raise FormatError(
            f"{reader.path} has segments of {found[1]} samples at {found[0]} Hz, the run "
            f"{run.path} takes {wanted.n_samples} at {wanted.sample_rate} Hz: render with the "
            "run's preset."
        )


def about(run: Run) -> tuple[str, int, int, NDArray[np.float32]]:
    """run, n_content, n_style and scale of Latents."""
    model = run.model
    return str(run.path), model.n_content, model.n_style, model.latent_scale.cpu().numpy()


def labels_of(
    rows: Sequence[tuple[int, int, int, dict[str, float]]],
    table: list[dict[str, Any]],
    chosen: Sequence[EffectChoice],
) -> Labels:
    """Labels of rows (recording, offset, index of the effect, setting); their split is test."""
    width = max(1, *(len(effect.parameters) for effect, _ in chosen))
    setting = np.full((len(rows), width), np.nan)
    for values, row in zip(setting, rows, strict=True):
        values[: len(row[3])] = list(row[3].values())
    return Labels(
        row=np.arange(len(rows)),
        effect=np.array([row[2] for row in rows]),
        setting=setting,
        setting_text=[chosen[row[2]][0].setting_text(row[3]) for row in rows],
        recording=np.array([row[0] for row in rows]),
        offset=np.array([row[1] for row in rows]),
        split=np.full(len(rows), SPLITS.index("test")),
        effects=[effect.to_dict() for effect, _ in chosen],
        recordings=table,
    )


def write_latents(latents: Latents, output: Path, overwrite: bool = False) -> None:
    """Write HDF5, CSV or NPZ, by the ending of `output`."""
    suffix = output.suffix.lower()
    if suffix not in LATENT_SUFFIXES:
        raise InputError(f"{output} ends in {suffix!r}: use one of {', '.join(LATENT_SUFFIXES)}.")
    if suffix in (".h5", ".hdf5"):
        _write_hdf5(latents, output, overwrite)
        return
    with atomic_write(output, overwrite) as temporary:
        if suffix == ".npz":
            columns: dict[str, Any] = {"latent": latents.latent, **_named_columns(latents)}
            np.savez(temporary, **columns)
        else:
            _write_csv(latents, temporary)


def _write_hdf5(latents: Latents, output: Path, overwrite: bool) -> None:
    labels = latents.labels
    with storage.open_writer(
        output,
        storage.LATENTS,
        {"latent": (latents.latent.shape[1:], np.float32)},
        labels.effect,
        {"run": latents.run},
        labels.effects,
        labels.recordings,
        resume=False,
        overwrite=overwrite or not output.exists(),  # remains of a killed one are worth nothing
        rows_per_chunk=256,
        tables={
            "parts": storage.make_table("parts", _parts(latents)),
            "scale": latents.scale.astype(np.float32),
        },
    ) as writer:
        writer.put(0, latent=latents.latent, **storage.label_rows(labels, slice(None)))


def _parts(latents: Latents) -> list[dict[str, Any]]:
    """Which of the numbers are content, change and style; a model may not divide them."""
    n_latent = latents.latent.shape[1]
    if not latents.n_content and not latents.n_style:
        return [{"name": "undivided", "start": 0, "stop": n_latent}]
    first, last = latents.n_content, n_latent - latents.n_style
    bounds = {"content": (0, first), "change": (first, last), "style": (last, n_latent)}
    return [{"name": name, "start": a, "stop": b} for name, (a, b) in bounds.items()]


def _named_columns(latents: Latents) -> dict[str, NDArray[Any]]:
    """Labels as arrays of numbers and fixed-length text: no pickled objects."""
    labels, n = latents.labels, len(latents)
    return {
        "row": labels.row,
        "effect": np.array(latents.effects()),
        "setting_text": np.array(labels.setting_text),
        "setting": labels.setting,
        "recording": np.array([labels.path_of(row) for row in range(n)]),
        "offset": labels.offset,
        "split": np.array([labels.split_of(row) for row in range(n)]),
    }


def _write_csv(latents: Latents, path: Path) -> None:
    columns = _named_columns(latents)
    del columns["setting"]
    names = [f"latent_{i}" for i in range(latents.latent.shape[1])]
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *names])
        for row, values in enumerate(latents.latent.tolist()):
            writer.writerow([*(column[row] for column in columns.values()), *map(repr, values)])


def read_latents(path: Path) -> Latents:
    """A latents.h5 that `write_latents` wrote."""
    with storage.Hdf5Reader(path, storage.LATENTS) as reader:
        latent = np.asarray(reader.rows(slice(None)), dtype=np.float32)
        if not np.isfinite(latent).all():
            raise FormatError(f"{path} holds latents that are NaN or infinite. Make it again.")
        size = {
            part["name"]: part["stop"] - part["start"]
            for part in storage.read_table("parts", reader.table("parts"))
        }
        return Latents(
            latent,
            reader.labels,
            str(reader.configuration["run"]),
            size.get("content", 0),
            size.get("style", 0),
            reader.table("scale").astype(np.float32),
        )


def held_out(labels: Labels) -> list[str]:
    """The splits that training did not learn from: test, else validation, else everything."""
    for splits in (["test"], ["validation"]):
        if len(labels.rows_of(splits)):
            return splits
    return ["train"]


def seen_in_training(labels: Labels, rows: NDArray[np.int64], run: Run) -> NDArray[np.bool_]:
    """(n,) whether the recording of each row is one that the run was trained on or chosen by.

    Recordings are known by their real paths: a copy elsewhere is another one.
    """
    known = {
        os.path.realpath(path)
        for what in ("recordings", "validated_on")
        for path in run.data.get(what, ())
    }
    own = np.array([os.path.realpath(str(r["path"])) in known for r in labels.recordings], bool)
    found: NDArray[np.bool_] = own[labels.recording[rows]]
    return found


def warn_if_trained_on(
    labels: Labels, rows: NDArray[np.int64], run: Run, progress: Progress
) -> None:
    """A word where what is shown flatters the model."""
    count = int(seen_in_training(labels, rows, run).sum())
    if count:
        progress.message(
            f"{count} of {len(rows)} segments are of recordings that the run was trained on, or "
            "chosen by: what is shown of them flatters it"
        )


def held_out_of(path: Path) -> list[str]:
    """The same of a pairs or spectrograms file; recordings are all of the split test."""
    kind = storage.kind_of(path) if path.suffix.lower() in (".h5", ".hdf5") else None
    if kind not in (storage.PAIRS, storage.SPECTROGRAMS):
        return ["test"]
    with storage.Hdf5Reader(path, kind) as reader:
        return held_out(reader.labels)
