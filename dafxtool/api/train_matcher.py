"""Train a network that proposes effect and settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dafxtool.api import checks, defaults
from dafxtool.api.arguments import SILENT, PathLike, Progress, as_path
from dafxtool.errors import ArgumentError, InputError, OutputExistsError
from dafxtool.matching.outputs import MATCHER_FILE
from dafxtool.utils.device import usable_cores
from dafxtool.utils.files import check_free

if TYPE_CHECKING:
    from dafxtool.matching.controller.train import ControllerResult
    from dafxtool.models.run import Run


def train_matcher(
    run: Run | PathLike | None = None,
    *,
    pairs: PathLike | None = None,
    loss: str = "labels",
    steps: int | None = None,
    fine_tune: bool = False,
    start: PathLike | None = None,
    output: PathLike | None = None,
    device: str = "auto",
    workers: int | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> ControllerResult:
    """Train a controller from features of the audio and latents of a run to effect and settings.

    The features of the audio are kept beside the pairs file for the next training.

    run        a loaded run or its path; None takes the newest in runs/, else the pretrained one
    pairs      a pairs file with all three splits; None takes the run's own
    loss       "labels": the stored settings supervise; "audio": the distance of the rendered audio
    steps      limit in optimiser steps; None is 3000, or 300 with loss "audio"
    fine_tune  train the encoder of the run along
    start      a matcher file of the same effects and run whose weights to start from
    output     matcher file; None takes matcher.pt in the run's folder, or in the working folder
               for the pretrained run
    workers    processes that render for loss "audio"
    resume     continue an interrupted training; start from scratch if there is none

    InputError, FormatError, TrainingError, OutputExistsError, DiskError.
    """
    if loss not in ("labels", "audio"):
        raise ArgumentError(f"loss: unknown name {loss!r}. Use labels or audio.")
    if steps is not None and steps < 1:
        raise ArgumentError(
            f"steps: too few (found {steps}, expected 1 or more). Train for more steps."
        )
    checks.check_settings(device)
    checks.check_resume(resume, overwrite)
    checks.check_run(defaults.named_run(run))
    checks.check_pairs(defaults.named_run(run), as_path(pairs))
    first = as_path(start)
    if first is not None and not first.is_file():
        raise InputError(f"{first}: does not exist. Name a matcher file, such as {MATCHER_FILE}.")
    if output is not None:
        _check_free(Path(output), resume, overwrite)
    from dafxtool.matching.controller.train import ControllerOptions, train_controller

    loaded = defaults.loaded_run(run, device, progress=progress)
    source = as_path(pairs) or defaults.pairs_of_run(loaded.data, progress=progress)
    folder = loaded.path if loaded.path.is_dir() else Path()
    target = as_path(output) or folder / MATCHER_FILE
    _check_free(target, resume, overwrite)
    options = ControllerOptions(loss, steps, fine_tune, seed, workers or usable_cores())
    progress.message(f"training a matcher on {source} into {target}")
    from dafxtool.training.tensorboard import scalar_log

    with scalar_log(target.parent / f"{target.stem}-tensorboard", resume) as log:
        return train_controller(loaded, source, target, options, resume, first, progress, log)


def _check_free(path: Path, resume: bool, overwrite: bool) -> None:
    if path.suffix != ".pt":
        raise InputError(
            f"{path}: unknown suffix of a matcher (found {path.suffix!r}, expected .pt). Choose "
            "another --output."
        )
    if not resume:
        try:
            check_free(path, overwrite)
        except OutputExistsError as error:
            raise OutputExistsError(f"{error} Or continue its training with --resume.") from error
