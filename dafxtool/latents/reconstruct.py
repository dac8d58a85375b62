"""Reconstruct pairs with a model, and draw and write the result.

Each has a function that computes (arrays in a dataclass) and one that writes (figure, numbers as
CSV, sound). Spectrograms in here are linear magnitudes (2, n_bins, n_frames), dry first; errors
are mean squared errors in standardised units, as the model was trained on.
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
from dafxtool.latents.examples import CHANNELS, Example, _stored_source
from dafxtool.latents.table import check_segments, held_out, warn_if_trained_on
from dafxtool.models.run import Run
from dafxtool.plots.spectrograms import Panel, Sheet, draw_sheet
from dafxtool.spectrogram.metrics import channel_mse
from dafxtool.spectrogram.phase_retrieval import invert
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils.outputs import write_table
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import slug

# Reconstruction -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reconstruction:
    """A source, what the decoder made of its latent, and the errors (2,), dry first."""

    source: Example
    magnitude: NDArray[np.float32]
    errors: NDArray[np.float64]


@dataclass(frozen=True)
class ReconstructionTable:
    """Mean errors of each effect over all reconstructed segments, or the errors of each row.

    row, setting  row in the pairs file, and setting, where each line is one row; else empty
    """

    effect: list[str]
    n_segments: list[int]
    dry_error: list[float]
    wet_error: list[float]
    row: list[int] = field(default_factory=list)
    setting: list[str] = field(default_factory=list)


def reconstruct(sources: Sequence[Example], run: Run) -> list[Reconstruction]:
    """Encode and decode each source."""
    spectrograms = np.stack([source.spectrogram for source in sources])
    decoded = run.decode(run.embed(spectrograms), spectrograms[:, 0])
    constants = np.stack([source.constants for source in sources])
    magnitudes = linear_magnitude(decoded, constants, run.spectrogram_config)
    errors = channel_mse(decoded, spectrograms)
    return [Reconstruction(*parts) for parts in zip(sources, magnitudes, errors, strict=True)]


def reconstruct_pairs(
    path: Path,
    run: Run,
    splits: Sequence[str] | None = None,
    examples: int = 1,
    rows: Sequence[int] = (),
    progress: Progress = SILENT,
) -> tuple[list[Reconstruction], ReconstructionTable]:
    """Reconstruct every pair of a pairs file's splits; show `examples` of each effect.

    Without splits, those that training has not seen.

    The examples are those whose error is nearest to the median of their effect: neither the best
    nor the worst. With `rows`, those rows of the file are reconstructed and shown, and no others.
    """
    with storage.Hdf5Reader(path, storage.PAIRS) as reader:
        check_segments(reader, run)
        if len(rows):
            indices = reader.indices_of(list(dict.fromkeys(rows)))
            warn_if_trained_on(reader.labels, indices, run, progress)
            made = reconstruct([_stored_source(reader, int(i), run) for i in indices], run)
            return made, _table_of_rows(made)
        splits = splits or held_out(reader.labels)
        chosen = reader.labels.rows_of(splits)
        if not len(chosen):
            raise InputError(f"{path} has no pairs in the split {', '.join(splits)}.")
        warn_if_trained_on(reader.labels, chosen, run, progress)
        errors = _errors_of_rows(reader, chosen, run, progress)
        labels = reader.labels.take(chosen)
        shown = _typical(labels, errors.sum(axis=1), chosen, examples)
        sources = [_stored_source(reader, int(row), run) for row in shown]
    names = [labels.effect_of(row) for row in range(len(labels))]
    return reconstruct(sources, run), _table(names, errors)


def table_of(made: Sequence[Reconstruction]) -> ReconstructionTable:
    """Mean errors of each effect among these."""
    return _table([each.source.effect for each in made], np.stack([each.errors for each in made]))


def _table_of_rows(made: Sequence[Reconstruction]) -> ReconstructionTable:
    """Errors of each of these."""
    return ReconstructionTable(
        effect=[each.source.effect for each in made],
        n_segments=[1] * len(made),
        dry_error=[float(each.errors[0]) for each in made],
        wet_error=[float(each.errors[1]) for each in made],
        row=[each.source.row for each in made if each.source.row is not None],
        setting=[each.source.label for each in made],
    )


def _table(names: Sequence[str], errors: NDArray[np.float64]) -> ReconstructionTable:
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
    errors = []
    progress.start("reconstructing", len(rows), "segment")
    for start in range(0, len(rows), 16):
        spectrograms, _ = run.analyse(reader.rows(rows[start : start + 16]))
        decoded = run.decode(run.embed(spectrograms), spectrograms[:, 0])
        errors.append(channel_mse(decoded, spectrograms))
        progress.advance(len(spectrograms))
    progress.finish()
    return np.concatenate(errors)


def _typical(
    labels: storage.Labels, error: NDArray[np.float64], rows: NDArray[np.int64], examples: int
) -> list[int]:
    shown: list[int] = []
    for index in range(len(labels.effect_names)):
        members = np.flatnonzero(labels.effect == index)
        if len(members):
            distance = np.abs(error[members] - np.median(error[members]))
            shown += rows[members[np.argsort(distance, kind="stable")[:examples]]].tolist()
    return shown


def draw_reconstructions(
    path: Path, made: Sequence[Reconstruction], run: Run, overwrite: bool = False
) -> None:
    """A sheet with a column pair for each example: original beside reconstruction."""
    panels: list[list[Panel | None]] = [[], []]
    for each in made:
        for channel, row in enumerate(panels):
            error = f"MSE {each.errors[channel]:.4f}"
            row.append(Panel(each.source.magnitude[channel]))
            row.append(Panel(each.magnitude[channel], error))
    groups = [(f"{each.source.label}\n{_origin(each.source)}", 2) for each in made]
    sheet = Sheet(
        panels=panels,
        **sheet_axes(run),
        row_labels=CHANNELS,
        column_labels=["original", "reconstruction"] * len(made),
        column_groups=groups,
        title="Reconstruction",
    )
    draw_sheet(path, sheet, overwrite)


def _origin(source: Example) -> str:
    """Name the recording of an example, and its row."""
    return source.recording if source.row is None else f"{source.recording}, row {source.row}"


def write_reconstruction_table(
    path: Path, table: ReconstructionTable, overwrite: bool = False
) -> None:
    columns: dict[str, Sequence[Any]] = {
        name: values for name, values in vars(table).items() if values
    }
    write_table(path, columns, overwrite)


def sound_reconstructions(
    folder: Path,
    made: Sequence[Reconstruction],
    run: Run,
    method: str = "fast",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> list[tuple[Path, float | None]]:
    """Write original and reconstruction of each example, dry and wet, with convergence in dB."""
    config = run.spectrogram_config
    written: list[tuple[Path, float | None]] = []
    progress.start("inverting", 2 * len(made), "sound")
    for number, each in enumerate(made):
        for channel, kind in enumerate(CHANNELS):
            # A slug: the name comes from a file, which may be a stranger's, and may say ../..
            name = f"{number}-{slug(each.source.effect)}-{kind}"
            sound = invert(
                each.magnitude[channel],
                config,
                config.n_samples,
                method,
                phase_from=each.source.audio[0],
                consistent=False,
            )
            for what, samples, decibels in (
                ("original", each.source.audio[channel], None),
                ("reconstruction", sound.audio, sound.convergence_db),
            ):
                path = folder / f"{name}-{what}.wav"
                save_audio(path, samples, config.sample_rate, overwrite=overwrite)
                written.append((path, decibels))
            progress.advance()
    progress.finish()
    return written


def sheet_axes(run: Run) -> dict[str, Any]:
    config = run.spectrogram_config
    return {"frequencies_hz": config.frequencies_hz(), "frame_times_s": config.frame_times_s()}
