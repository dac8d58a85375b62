"""Map latents to a plane, as a figure or an interactive page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dafxtool import storage
from dafxtool.api import checks, defaults, display
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
from dafxtool.errors import ArgumentError
from dafxtool.latents.projection import Projection, check_method
from dafxtool.utils.outputs import check_outputs, check_page_path, is_page
from dafxtool.utils.text import counted

if TYPE_CHECKING:
    from dafxtool.latents.table import Latents
    from dafxtool.models.run import Run
    from dafxtool.web.map_audio import MapAudio, ReadAudio

KINDS = (storage.PAIRS, storage.SPECTROGRAMS, storage.LATENTS)


@dataclass(frozen=True, repr=False)
class MapResult(display.Displayed):
    """Latents, their points on the map, and the file that was written.

    projection  points (n, 2)
    page_audio  audio of a page; None for a figure and for a page without audio
    """

    latents: Latents
    projection: Projection
    title: str
    output: Path | None
    is_page: bool
    page_audio: MapAudio | None

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {name}" for name, n in self.counts().items())
        return f"MapResult({counted(len(self.latents), 'segment')}: {counts})"

    def counts(self) -> dict[str, int]:
        """Return the number of segments of each effect."""
        names = self.latents.effects()
        return {name: names.count(name) for name in dict.fromkeys(names)}

    def _parts(self) -> Iterator[str]:
        from dafxtool.latents import latent_map as stage

        draw = partial(
            stage.draw_latent_map,
            latents=self.latents,
            projection=self.projection,
            title=self.title,
        )
        yield display.figure(draw, self.title)
        yield from map(display.paragraph, self.notes())

    def notes(self) -> list[str]:
        """Return sentences on segments that share one point."""
        from dafxtool.latents.latent_map import identical_lines

        return identical_lines(self.projection)


def latent_map(
    inputs: Paths = None,
    *,
    run: Run | PathLike | None = None,
    effects: Effects = None,
    plugins: Paths = None,
    channel: str | int | None = None,
    min_mean_square: float | None = None,
    split: str | Sequence[str] | None = None,
    method: str = "tsne",
    part: str = "effect",
    points: int | None = None,
    title: str | None = None,
    output: PathLike | None = None,
    csv: PathLike | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> MapResult:
    """Map the latents of inputs to a plane: one point for each segment.

    inputs   one pairs, spectrograms or latents file, or recordings; None takes the newest pairs
             file in the working folder
    run      a loaded run or its path; None takes the newest in runs/, else the pretrained one.
             Not used for a latents file
    split    of an HDF5 file; None takes what training has not seen
    method   of projection
    part     "effect": the latents that represent the effect; "all": all of them
    points   of a page, how many have audio
    output   a figure (.png, .svg, .pdf) or a page (.html); None writes none
    csv      table of points
    channel, min_mean_square
              of recordings: "first", "mean", "loudest" or a number from 1; mean square below which
              a segment is silent. None takes the run's

    InputError, RecordingError, FormatError, OutputExistsError, DiskError.
    """
    path, table = as_path(output), as_path(csv)
    as_page = path is not None and is_page(path)
    check_method(method)
    arguments = RunArguments.check(
        run, effects, plugins, channel, min_mean_square, device, progress, False, inputs
    )
    if path and as_page:
        check_page_path(path, overwrite)
    elif points:
        raise ArgumentError("points are those of a page. Choose an output that ends in .html.")
    check_outputs(None if as_page else path, table, overwrite=overwrite)
    sources = arguments.sources(inputs, KINDS, defaults.newest_with_audio, split)
    is_embedded = is_hdf5(sources[0]) and storage.kind_of(sources[0]) == storage.LATENTS
    if not is_embedded:
        checks.check_run(arguments.run)
    from dafxtool.latents import latent_map as stage
    from dafxtool.latents.table import held_out, read_latents

    loaded, read_audio = None, None
    if is_embedded:
        latents = read_latents(sources[0])
        rows = latents.labels.rows_of(as_splits(split) or held_out(latents.labels))
        latents = latents.take(rows)
    else:
        loaded = arguments.load()
        latents, read_audio = _embed(arguments, sources, loaded, as_splits(split), as_page)
    progress.message(f"projecting {len(latents)} latents with {method}")
    projection = stage.latent_map(latents, method, seed, part)
    title = title or stage.map_title(latents)
    page_audio = None
    if path and as_page:
        from dafxtool.web.latent_map import write_map_page
        from dafxtool.web.map_audio import N_POINTS

        silent = f"{sources[0].name} has no audio. Map the pairs or the recordings to hear it."
        page_audio = write_map_page(
            path,
            latents,
            projection,
            loaded,
            read_audio,
            points or N_POINTS,
            title,
            silent if read_audio is None else "",
            seed,
            overwrite,
            progress,
        )
    elif path:
        stage.draw_latent_map(path, latents, projection, title, overwrite)
    if table:
        stage.write_map_table(table, latents, projection, overwrite)
    return MapResult(latents, projection, title, path, as_page, page_audio)


def _embed(
    arguments: RunArguments,
    sources: list[Path],
    run: Run,
    splits: tuple[str, ...] | None,
    as_page: bool,
) -> tuple[Latents, ReadAudio | None]:
    """Embed recordings, pairs or spectrograms; for a page also return a function for audio."""
    from dafxtool.latents.embed import embed
    from dafxtool.latents.table import held_out_of
    from dafxtool.web.map_audio import audio_reader

    chosen = arguments.chosen_effects(run)
    splits = splits or tuple(held_out_of(sources[0]))
    latents = embed(sources, run, chosen, splits, progress=arguments.progress)
    return latents, audio_reader(sources[0], latents, run, splits) if as_page else None
