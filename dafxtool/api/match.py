"""Find the effect and settings between two recordings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import is_zipfile

from dafxtool.api import checks
from dafxtool.api.arguments import (
    SILENT,
    PathLike,
    Paths,
    Progress,
    as_effects,
    as_path,
    as_paths,
)
from dafxtool.api.described_chains import resolve_chains
from dafxtool.errors import ArgumentError, FormatError, InputError
from dafxtool.matching.outputs import MATCHER_FILE, check_match_outputs
from dafxtool.models.checkpoint import is_pretrained, newest_run
from dafxtool.utils.device import usable_cores

if TYPE_CHECKING:
    from dafxtool.matching.match import Match


def match(
    dry: PathLike,
    wet: PathLike | None = None,
    *,
    like: Paths = None,
    effects: str | list[str] | tuple[str, ...] = (),
    plugins: Paths = None,
    chain: int = 1,
    budget: str = "default",
    strength: float = 100.0,
    level: str | None = None,
    channel: str | int | None = None,
    run: PathLike | None = None,
    output: PathLike = "matched.wav",
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Match:
    """Find the effect and settings that make a recording sound like another one.

    wet       the same performance with the effect
    like      references with any other content, in place of wet: files and folders
    effects   candidates, with values to hold ("delay:mix=50"), or chains ("overdrive > delay");
              None takes all built-in effects
    chain     largest number of effects in series, 1 to 3
    budget    "fast", "default" or "thorough"
    strength  share of the effect in the matched recording, in %
    level     "keep" the level of the effect or "match" the reference's; None matches for wet and
              keeps for like
    channel   that the search reads: "first", "mean", "loudest" or a number from 1; None is the
              first. The effect is applied to all channels
    run       a matcher file (train_matcher), or the run folder with it: its predictions are further
              starts of the search for wet. Nothing else of a run is used. None takes matcher.pt of
              the newest run in runs/ if there is one, else no predictions
    output    the matched recording; the sheet and the JSON file are named like it

    ArgumentError, InputError, RecordingError, EffectError, OutputExistsError, DiskError.
    """
    references, plugin_files, wet_path = as_paths(like), as_paths(plugins), as_path(wet)
    names = resolve_chains(as_effects(effects), as_path(run))
    if (wet_path is None) == (not references):
        raise ArgumentError("name either a wet recording or references (like), not both.")
    checks.check_reading(channel, None)
    checks.check_effects(names, plugin_files)
    checks.check_recordings(Path(dry), wet_path, *references)
    if references:
        checks.check_unused("with references that have other content", run=run)
    matcher = None if references else _matcher(as_path(run))
    check_match_outputs(Path(output), overwrite)
    from dafxtool.matching.match import match_files, match_like_files
    from dafxtool.matching.paired import Options

    search = Options(
        chain=chain,
        budget=budget,
        level=level or ("keep" if references else "match"),
        workers=workers or usable_cores(),
    )
    rest = (Path(output), search, names, plugin_files, strength / 100, overwrite, progress)
    read = None if channel is None else str(channel)
    if wet_path:
        return match_files(Path(dry), wet_path, *rest, read, matcher)
    return match_like_files(Path(dry), references, *rest, read)


def _matcher(run: Path | None) -> Path | None:
    """Return the matcher file that a run has; None where the newest run has none.

    run  a run folder or a matcher file; InputError if it holds no matcher
    """
    if run is None:
        try:
            file = newest_run() / MATCHER_FILE
        except InputError:
            return None
        return file if file.is_file() else None
    if is_pretrained(run):
        raise InputError(
            f"{run}: the pretrained model has no matcher. Omit --run, or train a matcher with "
            f"'dafxtool train-matcher {run}' and name its file."
        )
    file = run / MATCHER_FILE if run.is_dir() else run
    if not file.is_file():
        raise InputError(f"{file}: no such matcher. Train one with 'dafxtool train-matcher'.")
    if not is_zipfile(file):
        raise FormatError(f"{file}: not a matcher. Train one with 'dafxtool train-matcher'.")
    return file
