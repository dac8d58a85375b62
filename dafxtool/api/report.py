"""Write a report on a run as one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dafxtool.api import checks, defaults
from dafxtool.api.arguments import SILENT, PathLike, Progress, as_path
from dafxtool.utils.outputs import check_page_path

if TYPE_CHECKING:
    from dafxtool.models.run import Run
    from dafxtool.web.report import ReportResult


def report(
    run: Run | PathLike | None = None,
    *,
    output: PathLike = "report.html",
    pairs: PathLike | None = None,
    points: int = 40,
    without: Sequence[str] = (),
    title: str | None = None,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> ReportResult:
    """Write one HTML page with data, training, map, reconstructions, sweeps, matches, evaluation.

    run      a loaded run or its path; None takes the newest in runs/, else the pretrained one
    pairs    a pairs file; None takes the run's own
    points   of the latent map, how many have audio
    without  parts to leave out: "map", "sweeps", "matches", "evaluation"
    title    None takes the run's name

    InputError, FormatError, OutputExistsError, DiskError.
    """
    path = Path(output)
    checks.check_settings(device)
    checks.check_run(defaults.named_run(run))
    checks.check_pairs(defaults.named_run(run), as_path(pairs))
    check_page_path(path, overwrite)
    from dafxtool.web.report import write_report

    loaded = defaults.loaded_run(run, device, progress=progress)
    source = as_path(pairs) or defaults.pairs_of_run(loaded.data, progress=progress)
    return write_report(
        path, loaded, source, points, without, title or "", seed, overwrite, progress
    )
