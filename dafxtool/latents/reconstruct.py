"""Reconstruct pairs with a model, and draw and write the result.

Spectrograms are linear magnitudes (2, n_bins, n_frames), dry first. Errors are mean squared errors
in standardised units, as in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.audio.writer import save_audio
from dafxtool.errors import InputError
from dafxtool.latents.examples import CHANNELS, Example, stored_example
from dafxtool.latents.table import check_segments, held_out, warn_if_trained_on
from dafxtool.models.run import Run
from dafxtool.plots.spectrograms import Panel, Sheet, draw_sheet
from dafxtool.spectrogram.metrics import channel_mse
from dafxtool.spectrogram.phase_retrieval import invert
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils.outputs import write_table
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import slug


@dataclass(frozen=True)
class Reconstruction:
    """An example, its decoded magnitude, and the errors (2,), dry first."""

    example: Example
    magnitude: NDArray[np.float32]
    errors: NDArray[np.float64]


@dataclass(frozen=True)
class ReconstructionTable:
    """Mean errors of each effect over all its segments, or the errors of chosen rows.

    row, setting  of the pairs file, if each line is one row; otherwise empty
    """

    effect: list[str]
    n_segments: list[int]
    dry_error: list[float]
    wet_error: list[float]
    row: list[int] = field(default_factory=list)
    setting: list[str] = field(default_factory=list)

    def columns(self) -> dict[str, list[Any]]:
        """Return the columns that are not empty."""
        return {name: values for name, values in vars(self).items() if values}

    def records(self) -> list[dict[str, Any]]:
        """Return one dict for each line."""
        columns = self.columns()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def reconstruct(examples: Sequence[Example], run: Run) -> list[Reconstruction]:
    """Encode and decode each example."""
    spectrograms = np.stack([example.spectrogram for example in examples])
    decoded = run.decode(run.embed(spectrograms), spectrograms[:, 0])
    constants = np.stack([example.constants for example in examples])
    magnitudes = linear_magnitude(decoded, constants, run.spectrogram_config)
    errors = channel_mse(decoded, spectrograms)
    return [Reconstruction(*parts) for parts in zip(examples, magnitudes, errors, strict=True)]


def reconstruct_pairs(
    path: Path,
    run: Run,
    splits: Sequence[str] | None = None,
    examples: int = 1,
    rows: Sequence[int] = (),
    progress: Progress = SILENT,
) -> tuple[list[Reconstruction], ReconstructionTable]:
    """Reconstruct the pairs of a file, and return examples and the mean errors of each effect.

    splits    None takes those that training has not seen
    examples  number of examples of each effect: those whose error is nearest to its median
    rows      rows of the file to reconstruct and return instead

    InputError for a missing row and for splits without pairs; FormatError as in check_segments.
    """
    with storage.Hdf5Reader(path, storage.PAIRS) as reader:
        check_segments(reader, run)
        if len(rows):
            indices = reader.indices_of(list(dict.fromkeys(rows)))
            warn_if_trained_on(reader.labels, indices, run, progress)
            chosen_rows = [stored_example(reader, int(index), run) for index in indices]
            reconstructions = reconstruct(chosen_rows, run)
            return reconstructions, _errors_by_row(reconstructions)
        splits = splits or held_out(reader.labels)
        chosen = reader.labels.rows_of(splits)
        if not len(chosen):
            raise InputError(
                f"{path}: no pairs in the split {', '.join(splits)}. Choose another --split."
            )
        warn_if_trained_on(reader.labels, chosen, run, progress)
        errors = _errors_of_rows(reader, chosen, run, progress)
        labels = reader.labels.take(chosen)
        shown = _median_rows(labels, errors.sum(axis=1), chosen, examples)
        shown_examples = [stored_example(reader, int(index), run) for index in shown]
    names = [labels.effect_of(row) for row in range(len(labels))]
    return reconstruct(shown_examples, run), _table(names, errors)


def mean_errors(reconstructions: Sequence[Reconstruction]) -> ReconstructionTable:
    """Compute the mean errors of each effect."""
    return _table(
        [each.example.effect for each in reconstructions],
        np.stack([each.errors for each in reconstructions]),
    )


def _errors_by_row(reconstructions: Sequence[Reconstruction]) -> ReconstructionTable:
    """Return a table with one line for each reconstruction of a row."""
    return ReconstructionTable(
        effect=[each.example.effect for each in reconstructions],
        n_segments=[1] * len(reconstructions),
        dry_error=[float(each.errors[0]) for each in reconstructions],
        wet_error=[float(each.errors[1]) for each in reconstructions],
        row=[each.example.row for each in reconstructions if each.example.row is not None],
        setting=[each.example.label for each in reconstructions],
    )


def _table(names: Sequence[str], errors: NDArray[np.float64]) -> ReconstructionTable:
    """Average the errors (n, 2) of rows with these names of effects."""
    effects = list(dict.fromkeys(names))
    members = [errors[[name == effect for name in names]] for effect in effects]
    means = [rows.mean(axis=0).tolist() for rows in members]
    return ReconstructionTable(
        effects,
        [len(rows) for rows in members],
        [dry for dry, _ in means],
        [wet for _, wet in means],
    )


def _errors_of_rows(
    reader: storage.Hdf5Reader, rows: NDArray[np.int64], run: Run, progress: Progress
) -> NDArray[np.float64]:
    """Compute the squared errors (n_rows, 2) of rows of a file."""
    errors = []
    progress.start("reconstructing", len(rows), "segment")
    for start in range(0, len(rows), 16):
        spectrograms, _ = run.analyse(reader.rows(rows[start : start + 16]))
        decoded = run.decode(run.embed(spectrograms), spectrograms[:, 0])
        errors.append(channel_mse(decoded, spectrograms))
        progress.advance(len(spectrograms))
    progress.finish()
    return np.concatenate(errors)


def _median_rows(
    labels: storage.Labels, error: NDArray[np.float64], rows: NDArray[np.int64], examples: int
) -> list[int]:
    """Return the rows of each effect whose error is nearest to the median of that effect."""
    shown: list[int] = []
    for index in range(len(labels.effect_names)):
        members = np.flatnonzero(labels.effect == index)
        if len(members):
            distance = np.abs(error[members] - np.median(error[members]))
            shown += rows[members[np.argsort(distance, kind="stable")[:examples]]].tolist()
    return shown


def draw_reconstructions(
    path: Path, reconstructions: Sequence[Reconstruction], run: Run, overwrite: bool = False
) -> None:
    """Draw a sheet with two columns for each example: original and reconstruction."""
    panels: list[list[Panel | None]] = [[], []]
    for each in reconstructions:
        for channel, row in enumerate(panels):
            error = f"MSE {each.errors[channel]:.4f}"
            row.append(Panel(each.example.magnitude[channel]))
            row.append(Panel(each.magnitude[channel], error))
    groups = [(f"{each.example.label}\n{_origin(each.example)}", 2) for each in reconstructions]
    sheet = Sheet(
        panels=panels,
        **sheet_axes(run),
        row_labels=CHANNELS,
        column_labels=["original", "reconstruction"] * len(reconstructions),
        column_groups=groups,
        title="Reconstruction",
    )
    draw_sheet(path, sheet, overwrite)


def _origin(example: Example) -> str:
    """Name the recording of an example, and its row."""
    if example.row is None:
        return example.recording
    return f"{example.recording}, row {example.row}"


def write_reconstruction_table(
    path: Path, table: ReconstructionTable, overwrite: bool = False
) -> None:
    """Write the errors as CSV; errors as in outputs.write_table."""
    write_table(path, table.columns(), overwrite)


def save_reconstruction_audio(
    folder: Path,
    reconstructions: Sequence[Reconstruction],
    run: Run,
    method: str = "fast",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> list[tuple[Path, float | None]]:
    """Write original and reconstruction of each example, dry and wet.

    Returns each file and its spectral convergence in dB, which is None for an original.
    """
    config = run.spectrogram_config
    written: list[tuple[Path, float | None]] = []
    progress.start("inverting", 2 * len(reconstructions), "file")
    for number, each in enumerate(reconstructions):
        for channel, kind in enumerate(CHANNELS):
            # A slug, because the name comes from a file and may contain ../..
            name = f"{number}-{slug(each.example.effect)}-{kind}"
            inversion = invert(
                each.magnitude[channel],
                config,
                config.n_samples,
                method,
                phase_from=each.example.audio[0],
                consistent=False,
            )
            for what, samples, convergence_db in (
                ("original", each.example.audio[channel], None),
                ("reconstruction", inversion.audio, inversion.convergence_db),
            ):
                path = folder / f"{name}-{what}.wav"
                save_audio(path, samples, config.sample_rate, overwrite=overwrite)
                written.append((path, convergence_db))
            progress.advance()
    progress.finish()
    return written


def sheet_axes(run: Run) -> dict[str, Any]:
    """Return the axes of a sheet of this run's spectrograms, as arguments of Sheet."""
    config = run.spectrogram_config
    return {"frequencies_hz": config.frequencies_hz(), "frame_times_s": config.frame_times_s()}
