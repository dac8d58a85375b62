"""Embed recordings, pairs or spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dafxtool import storage
from dafxtool.api.arguments import (
    SILENT,
    Effects,
    PathLike,
    Paths,
    Progress,
    as_path,
    as_splits,
)
from dafxtool.api.run_arguments import RunArguments
from dafxtool.config import SPLITS
from dafxtool.utils.locks import sole_writer
from dafxtool.utils.outputs import check_latents_path

if TYPE_CHECKING:
    from dafxtool.latents.table import Latents
    from dafxtool.models.run import Run

KINDS = (storage.PAIRS, storage.SPECTROGRAMS)


def embed(
    inputs: Paths = None,
    *,
    run: Run | PathLike | None = None,
    effects: Effects = None,
    plugins: Paths = None,
    channel: str | int | None = None,
    min_mean_square: float | None = None,
    split: str | Sequence[str] | None = None,
    output: PathLike | None = None,
    device: str = "auto",
    overwrite: bool = False,
    strict: bool = False,
    progress: Progress = SILENT,
) -> Latents:
    """Embed inputs: the mean of the encoder's posterior for each segment, with its labels.

    inputs   recordings and folders, cut end to end; or one pairs or spectrograms file. None takes
             the newest such file in the working folder
    run      a loaded run or its path; None takes the newest in runs/, else the pretrained one
    effects  applied to recordings; without them, dry and wet are the recording itself
    split    "train", "validation" or "test" of an HDF5 file; None and "all" take all of it
    output   a file ending in .h5, .csv or .npz; None writes none
    strict   raise for a recording that cannot be used, instead of skipping it
    channel, min_mean_square
              of recordings: "first", "mean", "loudest" or a number from 1; mean square below which
              a segment is silent. None takes the run's

    InputError, RecordingError, FormatError, OutputExistsError, DiskError.
    """
    arguments = RunArguments.check(
        run, effects, plugins, channel, min_mean_square, device, progress, inputs=inputs
    )
    splits = as_splits(split) or SPLITS
    sources, path = arguments.sources(inputs, KINDS, split=split), as_path(output)
    if path:
        check_latents_path(path, sources, overwrite)
    from dafxtool.latents.embed import embed as embed_inputs
    from dafxtool.latents.table import write_latents

    loaded = arguments.load()
    chosen = arguments.chosen_effects(loaded)
    if path is None:
        return embed_inputs(sources, loaded, chosen, splits, strict, progress)
    with sole_writer(path):
        latents = embed_inputs(sources, loaded, chosen, splits, strict, progress)
        write_latents(latents, path, overwrite)
    return latents
