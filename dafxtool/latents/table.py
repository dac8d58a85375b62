"""Hold latents with the labels of their segments, and write and read them.

A row is the mean of the posterior of one segment, never a sample. The model is in evaluation mode,
so a row does not depend on its batch or on the order of the rows.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.config import SPLITS
from dafxtool.dataset.copies import content_of, copies_among, known_contents
from dafxtool.effects.effect import EffectChoice
from dafxtool.errors import FormatError, InputError
from dafxtool.latents.columns import csv_cells, latent_names, part_bounds, setting_columns
from dafxtool.storage import Labels
from dafxtool.utils import notebook
from dafxtool.utils.files import atomic_write
from dafxtool.utils.outputs import LATENT_SUFFIXES
from dafxtool.utils.progress import Progress
from dafxtool.utils.text import counted

if TYPE_CHECKING:  # imports torch, which a map of stored latents does not need
    from dafxtool.models.run import Run


MAX_COPIES = 3  # that a warning names


@dataclass(frozen=True, repr=False)
class Latents(notebook.Displayed):
    """Latents of segments, and the labels of each.

    latent     (n, n_latent)
    labels     effect, setting, recording, offset and split of each row
    run        path of the run that embedded the segments
    n_content  number of content latents, the first ones, which encode the recording; 0 for a model
               that does not divide its latents
    n_style    number of style latents, the last ones, which encode the effect of the whole segment
    scale      (n_latent,) change of the decoded spectrogram with each latent; distances between
               latent * scale are distances between spectrograms
    skipped    path and reason of each recording that was skipped
    """

    latent: NDArray[np.float32]
    labels: Labels
    run: str
    n_content: int
    n_style: int
    scale: NDArray[np.float32]
    skipped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

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
        """Latents that encode the effect, scaled (n, size): the style, else all but the content."""
        first = self.latent.shape[1] - self.n_style if self.n_style else self.n_content
        return (self.latent * self.scale)[:, first:]

    def effects(self) -> list[str]:
        """Return the name of the effect of each row."""
        return [self.labels.effect_of(row) for row in range(len(self))]

    def take(self, rows: NDArray[np.int64]) -> Latents:
        """Return some rows."""
        return replace(self, latent=self.latent[rows], labels=self.labels.take(rows))


def check_segments(reader: storage.Hdf5Reader, run: Run) -> None:
    """Check that a file's segments have the length and rate of the run; FormatError if not."""
    segments, expected = reader.configuration["segments"], run.configuration.segments
    actual = (segments["sample_rate"], segments["n_samples"])
    if actual != (expected.sample_rate, expected.n_samples):
        raise FormatError(
            f"{reader.path}: segments do not fit the run {run.path} (found {actual[1]} samples at "
            f"{actual[0]} Hz, expected {expected.n_samples} at {expected.sample_rate} Hz). Render "
            "with the run's preset."
        )


def latent_parts(run: Run) -> tuple[str, int, int, NDArray[np.float32]]:
    """Return run, n_content, n_style and scale of Latents."""
    model = run.model
    return str(run.path), model.n_content, model.n_style, model.latent_scale.cpu().numpy()


def labels_of(
    rows: Sequence[tuple[int, int, int, dict[str, float]]],
    table: list[dict[str, Any]],
    chosen: Sequence[EffectChoice],
) -> Labels:
    """Build the labels of embedded recordings, whose split is test.

    rows    (recording, offset, index of the effect, setting) of each row
    table   row of each recording
    """
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
    """Write latents as HDF5, CSV or NPZ, depending on the suffix of `output`.

    InputError for another suffix; OutputExistsError and DiskError as in files.atomic_write.
    """
    suffix = output.suffix.lower()
    if suffix not in LATENT_SUFFIXES:
        raise InputError(
            f"{output}: unknown suffix of a latents file (found {suffix!r}, expected one of "
            f"{', '.join(LATENT_SUFFIXES)}). Choose another --output."
        )
    if suffix in (".h5", ".hdf5"):
        _write_hdf5(latents, output, overwrite)
        return
    with atomic_write(output, overwrite) as temporary:
        if suffix == ".npz":
            arrays: dict[str, Any] = {**_label_columns(latents), **_part_arrays(latents)}
            np.savez(temporary, **arrays)
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
        overwrite=overwrite or not output.exists(),  # an unfinished file is not resumed
        rows_per_chunk=256,
        tables={
            "parts": storage.make_table("parts", _parts(latents)),
            "scale": latents.scale.astype(np.float32),
        },
    ) as writer:
        writer.put(0, latent=latents.latent, **storage.label_rows(labels, slice(None)))


def _parts(latents: Latents) -> list[dict[str, Any]]:
    """Return the table of parts: content, change and style."""
    bounds = part_bounds(latents.latent.shape[1], latents.n_content, latents.n_style)
    return [{"name": name, "start": a, "stop": b} for name, (a, b) in bounds.items()]


def _label_columns(latents: Latents) -> dict[str, NDArray[Any]]:
    """Return the labels as arrays (n,) of numbers and fixed-length text, without objects."""
    labels, n = latents.labels, len(latents)
    return {
        "row": labels.row,
        "effect": np.array(latents.effects()),
        **setting_columns(labels),
        "recording": np.array([labels.path_of(row) for row in range(n)]),
        "offset": labels.offset,
        "split": np.array([labels.split_of(row) for row in range(n)]),
    }


def _part_arrays(latents: Latents) -> dict[str, NDArray[np.float32]]:
    """Return each part (n, size) and its scale (size,); `latent` and `scale` without parts."""
    bounds = part_bounds(latents.latent.shape[1], latents.n_content, latents.n_style)
    if "undivided" in bounds:
        return {"latent": latents.latent, "scale": latents.scale}
    arrays = {}
    for name, (start, stop) in bounds.items():
        arrays[name] = latents.latent[:, start:stop]
        arrays[f"{name}_scale"] = latents.scale[start:stop]
    return arrays


def _write_csv(latents: Latents, path: Path) -> None:
    """Write one line for each row; settings of other effects are empty."""
    columns = {name: csv_cells(column) for name, column in _label_columns(latents).items()}
    names = latent_names(latents.latent.shape[1], latents.n_content, latents.n_style)
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *names])
        for row, values in enumerate(latents.latent.tolist()):
            writer.writerow([*(column[row] for column in columns.values()), *map(repr, values)])


def read_latents(path: Path) -> Latents:
    """Read a latents.h5; FormatError for latents that are NaN or infinite."""
    with storage.Hdf5Reader(path, storage.LATENTS) as reader:
        latent = np.asarray(reader.rows(slice(None)), dtype=np.float32)
        if not np.isfinite(latent).all():
            raise FormatError(f"{path}: latents are NaN or infinite. Embed the segments again.")
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
    """Return the splits that training has not seen: test, else validation, else train."""
    for splits in (["test"], ["validation"]):
        if len(labels.rows_of(splits)):
            return splits
    return ["train"]


def seen_in_training(labels: Labels, rows: NDArray[np.int64], run: Run) -> NDArray[np.bool_]:
    """Return (n,) whether the run was trained on the recording of each row, or selected by it.

    Recordings are identified by their real paths and by their content, so that a copy under another
    name counts as well.
    """
    seen = {
        os.path.realpath(path)
        for what in ("recordings", "validated_on")
        for path in run.data.get(what, ())
    }
    own = np.array([os.path.realpath(str(r["path"])) in seen for r in labels.recordings], bool)
    own[list(copies_of_training(labels.recordings, run))] = True
    is_seen: NDArray[np.bool_] = own[labels.recording[rows]]
    return is_seen


def copies_of_training(recordings: Sequence[Mapping[str, Any]], run: Run) -> dict[int, str]:
    """Return the path of a training recording for the index of each recording with its content.

    recordings  rows of a table of recordings; those without a digest are not compared
    """
    known = known_contents(run.data.get("contents", ()))
    return copies_among([content_of(row) for row in recordings], known) if known else {}


def training_warning(labels: Labels, rows: NDArray[np.int64], run: Run) -> str:
    """Return a warning about rows whose recordings the run was trained on; empty if there are none.

    Their results are too good. Copies under another name or in another format are listed.
    """
    count = int(seen_in_training(labels, rows, run).sum())
    if not count:
        return ""
    used = set(labels.recording[rows].tolist())
    copies = [
        f"{Path(own).name} = {path}"
        for index, path in copies_of_training(labels.recordings, run).items()
        if index in used and (own := str(labels.recordings[index]["path"])) != path
    ]
    more = ", ..." if len(copies) > MAX_COPIES else ""
    return (
        f"{count} of {len(rows)} segments are of recordings that the run was trained on or "
        "selected by: their results are better than on other recordings"
        + (f" (copies: {', '.join(copies[:MAX_COPIES])}{more})" if copies else "")
    )


def warn_if_trained_on(
    labels: Labels, rows: NDArray[np.int64], run: Run, progress: Progress
) -> None:
    """Report `training_warning`, if there is one."""
    warning = training_warning(labels, rows, run)
    if warning:
        progress.message(warning)


def held_out_of(path: Path) -> list[str]:
    """Return the splits of a pairs or spectrograms file as held_out; test for recordings."""
    kind = storage.kind_of(path) if path.suffix.lower() in (".h5", ".hdf5") else None
    if kind not in (storage.PAIRS, storage.SPECTROGRAMS):
        return ["test"]
    with storage.Hdf5Reader(path, kind) as reader:
        return held_out(reader.labels)
