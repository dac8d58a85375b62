"""Evaluate a run on held-out recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dafxtool.api import checks, defaults
from dafxtool.api.arguments import SILENT, PathLike, Progress, as_path
from dafxtool.utils.outputs import check_outputs

if TYPE_CHECKING:
    from dafxtool.evaluation.results import Evaluation
    from dafxtool.models.run import Run


def evaluate(
    run: Run | PathLike | None = None,
    *,
    pairs: PathLike | None = None,
    midpoints: int | None = None,
    sounds: int = 24,
    match: int = 0,
    output: PathLike | None = None,
    csv: PathLike | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Evaluation:
    """Evaluate reconstruction, effect recognition, settings, leakage, interpolation and drift.

    run        a loaded run or its path; None takes the newest in runs/, else the pretrained one
    pairs      a pairs file with a test split; None takes the run's own
    midpoints  pairs of settings of each effect whose middle is compared with the true rendering;
               None takes 20, with more than 8 effects fewer, at least 5
    sounds     segments that are inverted to audio and compared
    match      test pairs of each effect whose effect and settings are searched from the audio
    output, csv
               figure and table of scores; None writes none

    InputError, FormatError, OutputExistsError, DiskError.
    """
    figure, table = as_path(output), as_path(csv)
    checks.check_settings(device)
    checks.check_run(defaults.named_run(run))
    checks.check_pairs(defaults.named_run(run), as_path(pairs))
    check_outputs(figure, table, overwrite=overwrite)
    from dafxtool.evaluation.evaluate import evaluate as evaluate_run
    from dafxtool.evaluation.figure import draw_results
    from dafxtool.evaluation.results import write_scores

    loaded = defaults.loaded_run(run, device, progress=progress)
    source = as_path(pairs) or defaults.pairs_of_run(loaded.data, progress=progress)
    result = evaluate_run(loaded, source, midpoints, sounds, seed, match, progress)
    if figure:
        draw_results(figure, result, overwrite)
    if table:
        write_scores(table, result, overwrite)
    return result
