"""Encode and decode pairs or recordings, and draw them beside the originals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dafxtool import storage
from dafxtool.api import checks, display
from dafxtool.api.arguments import (
    SILENT,
    Effects,
    PathLike,
    Paths,
    Progress,
    as_path,
    as_splits,
    is_hdf5,
)
from dafxtool.api.run_arguments import RunArguments
from dafxtool.audio.find_recordings import find_recordings
from dafxtool.errors import ArgumentError
from dafxtool.utils.outputs import check_outputs

if TYPE_CHECKING:
    from dafxtool.latents.reconstruct import Reconstruction, ReconstructionTable
    from dafxtool.models.run import Run


@dataclass(frozen=True, repr=False)
class ReconstructionResult(display.Displayed):
    """Reconstructed examples, and the mean errors of each effect.

    examples  those in the figure
    errors    mean squared errors in standardised units, by effect, or of the rows named
    audio_files
              each with its spectral convergence in dB; None for an original
    """

    examples: list[Reconstruction]
    errors: ReconstructionTable
    run: Run
    output: Path | None
    audio_files: list[tuple[Path, float | None]]

    def __repr__(self) -> str:
        return f"ReconstructionResult({len(self.examples)} examples by {self.run.path})"

    def columns(self) -> tuple[str, ...]:
        """Return the headings of `rows`."""
        first = ("row", "effect") if self.errors.row else ("effect", "segments")
        return (*first, "error, dry", "error, wet")

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table of errors as text: a line for each effect, or for each row drawn."""
        table = self.errors
        first = zip(table.effect, map(str, table.n_segments), strict=True)
        if table.row:
            first = zip(map(str, table.row), table.setting, strict=True)
        errors = zip(table.dry_error, table.wet_error, strict=True)
        return [
            (*names, f"{dry:.4f}", f"{wet:.4f}")
            for names, (dry, wet) in zip(first, errors, strict=True)
        ]

    def _parts(self) -> Iterator[str]:
        from dafxtool.latents import reconstruct as stage

        draw = partial(stage.draw_reconstructions, reconstructions=self.examples, run=self.run)
        yield display.figure(draw, "originals beside reconstructions")
        yield display.table(self.columns(), self.rows())


def reconstruct(
    inputs: Paths = None,
    *,
    run: Run | PathLike | None = None,
    effects: Effects = None,
    plugins: Paths = None,
    channel: str | int | None = None,
    min_mean_square: float | None = None,
    split: str | Sequence[str] | None = None,
    examples: int | None = None,
    rows: Sequence[int] = (),
    output: PathLike | None = None,
    audio: PathLike | None = None,
    csv: PathLike | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> ReconstructionResult:
    """Encode and decode inputs.

    inputs    one pairs file, or recordings; None takes the newest pairs file in the working folder
    run       a loaded run or its path; None takes the newest in runs/, else the pretrained one
    effects   applied to recordings; None takes the first two that the run was trained on
    split     of a pairs file; None takes the pairs that training has not seen
    examples  shown of each effect of a pairs file: those nearest to its median error;
              None is 1
    rows      rows of a pairs file to reconstruct and show instead; not together with split
              or examples
    output, audio, csv
              figure (.png, .svg, .pdf), folder for audio, table of errors; None writes none
    channel, min_mean_square
              of recordings: "first", "mean", "loudest" or a number from 1; mean square below which
              a segment is silent. None takes the run's

    InputError, RecordingError, FormatError, OutputExistsError, DiskError.
    """
    figure, folder, table_path = as_path(output), as_path(audio), as_path(csv)
    arguments = RunArguments.check(
        run, effects, plugins, channel, min_mean_square, device, progress, inputs=inputs
    )
    sources = arguments.sources(inputs, (storage.PAIRS,), split=split)
    if rows and not is_hdf5(sources[0]):
        raise ArgumentError("rows are those of a pairs file. Leave them out for recordings.")
    if rows:
        checks.check_unused("with rows", split=split, examples=examples)
    if not is_hdf5(sources[0]):
        checks.check_unused("on recordings, which are all shown", examples=examples)
    check_outputs(figure, table_path, folder, overwrite)
    from dafxtool.latents import reconstruct as stage
    from dafxtool.latents.examples import load_example, warn_of_padding

    loaded = arguments.load()
    if is_hdf5(sources[0]):
        reconstructions, table = stage.reconstruct_pairs(
            sources[0], loaded, as_splits(split), examples or 1, rows, progress
        )
    else:
        chosen = arguments.effects_or(loaded.effects[:2], loaded)
        paths = find_recordings(sources)
        warn_of_padding([(path, None) for path in paths], loaded, arguments.progress)
        reconstructions = stage.reconstruct(
            [load_example(path, loaded, effect) for path in paths for effect in chosen], loaded
        )
        table = stage.mean_errors(reconstructions)
    if figure:
        stage.draw_reconstructions(figure, reconstructions, loaded, overwrite)
    if table_path:
        stage.write_reconstruction_table(table_path, table, overwrite)
    written = []
    if folder:
        written = stage.save_reconstruction_audio(
            folder, reconstructions, loaded, overwrite=overwrite, progress=progress
        )
    return ReconstructionResult(reconstructions, table, loaded, figure, written)
