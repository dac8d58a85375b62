"""A report on a run, as one page that can be sent: what data, what was learnt, how it sounds.

Figures 1 to 6 are those of the weekly report (2023) from which this project grew: two latent maps,
reconstructions of two effects, one recording from one effect to another, one effect from one
recording to another. All of them are made of pairs that training has not seen.

A section is a title and blocks: words, tables, figures with sounds. One that cannot be made (a
plugin is missing, there are too few pairs) says why instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dafxtool import storage
from dafxtool.errors import DafxError
from dafxtool.latents.table import (
    check_segments,
    held_out,
    seen_in_training,
)
from dafxtool.models.run import Run
from dafxtool.utils import outputs
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import shown_name
from dafxtool.web.blocks import Block, Section, Words, _fragments
from dafxtool.web.page import page, write_page
from dafxtool.web.sections import (
    between_effects,
    between_recordings,
    data_blocks,
    effect_blocks,
    evaluation_blocks,
    evaluation_of,
    map_blocks,
    reconstruction_blocks,
    sweep_blocks,
    training_blocks,
)

N_POINTS = 40  # of the map that carry sound: a page of 5 s segments stays below MOST_BYTES
MOST_BYTES = 20e6
OPTIONAL = ("map", "sweeps", "evaluation")


@dataclass(frozen=True)
class ReportResult:
    """left_out are (title of a section, why it could not be made)."""

    path: Path
    n_bytes: int
    sections: list[str]
    left_out: list[tuple[str, str]]


# --- the report -----------------------------------------------------------------------------------


def write_report(
    path: Path,
    run: Run,
    pairs: Path,
    n_points: int = N_POINTS,
    without: Sequence[str] = (),
    title: str = "",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> ReportResult:
    """Write a report on a run as one page.

    pairs     where figures, sounds and numbers are from: the pairs that training has not seen
    n_points  of the interactive map that carry sound
    without   of OPTIONAL what shall be left out, which saves time and space

    FormatError where the pairs are not of the run's size; errors of outputs.check_page_path.
    """
    outputs.check_page_path(path, overwrite)
    with storage.Reader(pairs, storage.PAIRS) as reader:
        check_segments(reader, run)
    wanted: list[tuple[str, str, Callable[[], Sequence[Block]]]] = [
        ("data", "Data", lambda: data_blocks(pairs, run)),
        ("effects", "Effects", lambda: effect_blocks(pairs, run)),
        ("training", "Training", lambda: training_blocks(run)),
        ("map", "Latent map", lambda: map_blocks(pairs, run, n_points, seed, progress)),
        ("reconstruction", "Reconstruction", lambda: reconstruction_blocks(pairs, run, progress)),
        ("between-effects", "From one effect to another",
         lambda: between_effects(pairs, run, seed, progress)),
        ("between-recordings", "From one recording to another",
         lambda: between_recordings(pairs, run, seed, progress)),
        ("sweeps", "Sweeps of parameters", lambda: sweep_blocks(pairs, run, seed, progress)),
        ("evaluation", "Evaluation",
         lambda: evaluation_blocks(*evaluation_of(pairs, run, seed, progress))),
    ]  # fmt: skip
    sections, left_out = [], []
    for key, heading, make in wanted:
        if key in without:
            continue
        progress.say(f"report: {heading.lower()}")
        try:
            blocks = make()
        except DafxError as error:
            left_out.append((heading, str(error)))
            blocks = [Words(f"This could not be made: {error}")]
        sections.append(Section(key, heading, blocks))
    name = shown_name(run.path)
    text = page(title or f"Report on {name}", _fragments(sections), _introduction(run, pairs))
    write_page(path, text, overwrite)
    n_bytes = path.stat().st_size
    if n_bytes > MOST_BYTES:
        progress.say(
            f"{path} has {n_bytes / 1e6:.0f} MB, which many a mail server refuses: take fewer "
            "--points, or --without map."
        )
    return ReportResult(path, n_bytes, [section.title for section in sections], left_out)


def _introduction(run: Run, pairs: Path) -> str:
    model = run.configuration.model
    with storage.Reader(pairs, storage.PAIRS) as reader:
        rows = reader.labels.rows_of(held_out(reader.labels))
        n_learnt = int(seen_in_training(reader.labels, rows, run).sum())
    seen = (
        f", {n_learnt} of the {len(rows)} of recordings that it was trained on or chosen by: what "
        "is shown of those flatters it."
        if n_learnt
        else " that training has not seen."
    )
    return (
        f"The run {shown_name(run.path)}: a {model.architecture} variational autoencoder with "
        f"{model.n_latent} latents, after {run.step:,} steps, looked at on pairs of "
        f"{shown_name(pairs)}{seen}"
    )
