"""Reconstruct pairs with a model, and draw and write the result.

Each has a function that computes (arrays in a dataclass) and one that writes (figure, numbers as
CSV, sound). Spectrograms in here are linear magnitudes (2, n_bins, n_frames), dry first; errors
are mean squared errors in standardised units, as the model was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import audio, store
from dafxtool.errors import InputError
from dafxtool.files import shown_name
from dafxtool.inversion import invert
from dafxtool.latents import check_segments, held_out, say_if_learnt
from dafxtool.outputs import write_table
from dafxtool.parameters import Effect, slug
from dafxtool.plan import Chosen, make_pair
from dafxtool.progress import SILENT, Progress
from dafxtool.runs import Run
from dafxtool.segments import SegmentConfig, consecutive_segments, cut_recording, normalise_peak
from dafxtool.spectrogram_figures import Panel, Sheet, draw_sheet
from dafxtool.spectrograms import linear_magnitude

CHANNELS = ("dry", "wet")


@dataclass(frozen=True)
class Source:
    """A pair as the model sees it.

    audio        (2, n_samples)
    spectrogram  (2, n_bins, n_frames) standardised, constants (2,) take it back
    magnitude    (2, n_bins, n_frames) linear
    choice       the effect and its complete setting, where they are known
    """

    audio: NDArray[np.float32]
    spectrogram: NDArray[np.float32]
    constants: NDArray[np.float32]
    magnitude: NDArray[np.float32]
    effect: str
    label: str
    recording: str
    offset_seconds: float
    choice: tuple[Effect, dict[str, float]] | None = None


def source_of(
    path: Path,
    run: Run,
    chosen: Chosen | None = None,
    wet: Path | None = None,
    start_seconds: float | None = None,
) -> Source:
    """One segment of a recording, dry and with an effect.

    chosen         the effect, its default setting where nothing is fixed
    wet            a recording of the wet sound, instead of an effect
    start_seconds  where the segment begins; None takes the loudest one
    """
    config = run.configuration.segments
    offset, dry = _segment(path, config, start_seconds)
    choice = None
    if wet is not None:
        sound = normalise_peak(cut_recording(wet, offset, config), config.level_dbfs)
        pair = np.stack([normalise_peak(dry, config.level_dbfs), sound])
        effect, label = "wet file", shown_name(wet)
    elif chosen is not None:
        held = chosen[0].at(config.sample_rate)
        pair, setting = make_pair(dry, held, held.complete(chosen[1]), config)
        effect, label, choice = held.name, held.label(setting), (held, setting)
    else:
        raise InputError(f"neither an effect nor a wet recording was given for {path}.")
    seconds = offset / config.sample_rate
    return source_of_pair(run, pair, effect, label, shown_name(path), seconds, choice)


def _segment(
    path: Path, config: SegmentConfig, start_seconds: float | None
) -> tuple[int, NDArray[np.float32]]:
    if start_seconds is not None:
        offset = round(start_seconds * config.sample_rate)
        return offset, cut_recording(path, offset, config)
    info = audio.probe(path)
    cut = consecutive_segments(path, config, info)
    # Each is at full peak level already, so the one with the largest mean is the fullest.
    fullest = max(cut, key=lambda segment: float(np.mean(np.square(segment.audio))))
    return fullest.offset, fullest.audio


def source_of_pair(
    run: Run,
    pair: NDArray[np.float32],
    effect: str,
    label: str,
    recording: str,
    offset: float,
    choice: tuple[Effect, dict[str, float]] | None = None,
) -> Source:
    """Analyse a pair (2, n_samples) that exists already; offset in seconds."""
    spectrogram, constants = run.analyse(pair[None])
    magnitude = linear_magnitude(spectrogram, constants, run.spectrogram_config)
    return Source(
        pair, spectrogram[0], constants[0], magnitude[0], effect, label, recording, offset, choice
    )


def channel_errors(
    reconstruction: NDArray[np.float32], spectrogram: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Mean squared error of each channel (..., 2) of spectrograms (..., 2, n_bins, n_frames)."""
    difference = reconstruction.astype(np.float64) - spectrogram
    return np.mean(np.square(difference), axis=(-2, -1))


# Reconstruction -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reconstruction:
    """A source, what the decoder made of its latent, and the errors (2,), dry first."""

    source: Source
    magnitude: NDArray[np.float32]
    errors: NDArray[np.float64]


@dataclass(frozen=True)
class ReconstructionTable:
    """Mean errors of each effect over all segments that were looked at."""

    effect: list[str]
    n_segments: list[int]
    dry_error: list[float]
    wet_error: list[float]


def reconstruct(sources: Sequence[Source], run: Run) -> list[Reconstruction]:
    """Encode and decode each source."""
    spectrograms = np.stack([source.spectrogram for source in sources])
    decoded = run.decode(run.embed(spectrograms), spectrograms[:, 0])
    constants = np.stack([source.constants for source in sources])
    magnitudes = linear_magnitude(decoded, constants, run.spectrogram_config)
    errors = channel_errors(decoded, spectrograms)
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
    nor the worst. With `rows`, those rows are shown instead.
    """
    with store.Reader(path, store.PAIRS) as reader:
        check_segments(reader, run)
        splits = splits or held_out(reader.labels)
        chosen = reader.labels.rows_of(splits)
        if not len(chosen):
            raise InputError(f"{path} has no pairs in the split {', '.join(splits)}.")
        say_if_learnt(reader.labels, chosen, run, progress)
        errors = _errors_of_rows(reader, chosen, run, progress)
        labels = reader.labels.take(chosen)
        shown = list(rows) or _typical(labels, errors.sum(axis=1), chosen, examples)
        sources = [_stored_source(reader, int(row), run) for row in shown]
    names = [labels.effect_of(row) for row in range(len(labels))]
    return reconstruct(sources, run), _table(names, errors)


def table_of(made: Sequence[Reconstruction]) -> ReconstructionTable:
    """Mean errors of each effect among these."""
    return _table([each.source.effect for each in made], np.stack([each.errors for each in made]))


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
    reader: store.Reader, rows: NDArray[np.int64], run: Run, progress: Progress
) -> NDArray[np.float64]:
    errors = []
    progress.start("reconstructing", len(rows), "segment")
    for start in range(0, len(rows), 16):
        spectrograms, _ = run.analyse(reader.rows(rows[start : start + 16]))
        decoded = run.decode(run.embed(spectrograms), spectrograms[:, 0])
        errors.append(channel_errors(decoded, spectrograms))
        progress.advance(len(spectrograms))
    progress.finish()
    return np.concatenate(errors)


def _typical(
    labels: store.Labels, error: NDArray[np.float64], rows: NDArray[np.int64], examples: int
) -> list[int]:
    shown: list[int] = []
    for index in range(len(labels.effect_names)):
        members = np.flatnonzero(labels.effect == index)
        if len(members):
            distance = np.abs(error[members] - np.median(error[members]))
            shown += rows[members[np.argsort(distance, kind="stable")[:examples]]].tolist()
    return shown


def _stored_source(reader: store.Reader, row: int, run: Run) -> Source:
    labels = reader.labels
    if not 0 <= row < len(labels):
        raise InputError(f"{reader.path} has rows 0 to {len(labels) - 1}, not {row}.")
    effect = Effect.from_dict(labels.effects[labels.effect[row]])
    label = effect.label(labels.setting_of(row))
    pair = np.asarray(reader.rows(np.array([row]))[0])
    seconds = float(labels.offset[row]) / run.configuration.segments.sample_rate
    return source_of_pair(
        run, pair, effect.name, label, shown_name(Path(labels.path_of(row))), seconds
    )


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
    groups = [(f"{each.source.label}\n{each.source.recording}", 2) for each in made]
    sheet = Sheet(
        panels=panels,
        **sheet_axes(run),
        row_labels=CHANNELS,
        column_labels=["original", "reconstruction"] * len(made),
        column_groups=groups,
        title="Reconstruction",
    )
    draw_sheet(path, sheet, overwrite)


def write_reconstruction_table(
    path: Path, table: ReconstructionTable, overwrite: bool = False
) -> None:
    columns: dict[str, Sequence[Any]] = dict(vars(table))
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
                audio.write(path, samples, config.sample_rate, overwrite=overwrite)
                written.append((path, decibels))
            progress.advance()
    progress.finish()
    return written


def sheet_axes(run: Run) -> dict[str, Any]:
    config = run.spectrogram_config
    return {"frequencies_hz": config.frequencies_hz(), "frame_times_s": config.frame_times_s()}
