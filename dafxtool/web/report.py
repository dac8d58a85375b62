"""Write a report on a run as one page: data, training, results and audio.

Figures 1 to 6 are those of the weekly report (2023) from which this project grew: two latent maps,
reconstructions of two effects, an interpolation between two effects on one recording, and one
between two recordings with one effect. All figures come from pairs that training has not seen.

A section is a title and blocks of text, tables and figures with audio. A section that fails (a
missing plugin, too few pairs) shows the error in place of its blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dafxtool import storage
from dafxtool.errors import DafxError
from dafxtool.latents.table import check_segments, held_out, seen_in_training
from dafxtool.models.run import Run
from dafxtool.utils import outputs
from dafxtool.utils.notebook import Displayed
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import counted, shown_name
from dafxtool.web.blocks import Block, Section, Text, section_fragments
from dafxtool.web.match_sections import match_blocks
from dafxtool.web.page import render_page, write_page
from dafxtool.web.result_sections import (
    between_effects,
    between_recordings,
    evaluation_blocks,
    evaluation_results,
    map_blocks,
    reconstruction_blocks,
    sweep_blocks,
)
from dafxtool.web.run_sections import data_blocks, effect_blocks, training_blocks

N_POINTS = 40  # points of the map with audio: a page of 5 s segments stays below LARGE_BYTES
LARGE_BYTES = 20e6  # the limit of many mail servers
OPTIONAL = ("map", "sweeps", "matches", "evaluation")


@dataclass(frozen=True, repr=False)
class ReportResult(Displayed):
    """A written report; left_out has the title of each failed section and the reason."""

    path: Path
    n_bytes: int
    sections: list[str]
    left_out: list[tuple[str, str]]

    def __repr__(self) -> str:
        sections = counted(len(self.sections), "section")
        return f"ReportResult({str(self.path)!r}, {sections}, {self.n_bytes / 1e6:.1f} MB)"


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

    pairs     source of figures, audio and scores: the pairs that training has not seen
    n_points  number of points of the interactive map with audio
    without   sections of OPTIONAL to leave out, which saves time and space

    FormatError if the segments of the pairs do not fit the run; InputError, OutputExistsError and
    DiskError as in outputs.check_page_path.
    """
    outputs.check_page_path(path, overwrite)
    with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
        check_segments(reader, run)
    sections, left_out = [], []
    for key, heading, build in _builders(run, pairs, n_points, seed, progress):
        if key in without:
            continue
        progress.message(f"report: {heading.lower()}")
        try:
            blocks = build()
        except DafxError as error:
            left_out.append((heading, str(error)))
            blocks = [Text(f"This section failed: {error}")]
        sections.append(Section(key, heading, blocks))
    title = title or f"Report on {shown_name(run.path)}"
    text = render_page(title, section_fragments(sections), _introduction(run, pairs))
    write_page(path, text, overwrite)
    n_bytes = path.stat().st_size
    if n_bytes > LARGE_BYTES:
        progress.message(
            f"{path} has {n_bytes / 1e6:.0f} MB, too large for many mail servers. Use fewer "
            "--points, or --without map."
        )
    return ReportResult(path, n_bytes, [section.title for section in sections], left_out)


def _builders(
    run: Run, pairs: Path, n_points: int, seed: int, progress: Progress
) -> list[tuple[str, str, Callable[[], Sequence[Block]]]]:
    """Return key, title and a function that builds the blocks of each section."""
    return [
        ("data", "Data", lambda: data_blocks(pairs, run)),
        ("effects", "Effects", lambda: effect_blocks(pairs, run)),
        ("training", "Training", lambda: training_blocks(run)),
        ("map", "Latent map", lambda: map_blocks(pairs, run, n_points, seed, progress)),
        ("reconstruction", "Reconstruction", lambda: reconstruction_blocks(pairs, run, progress)),
        ("between-effects", "Interpolation between effects",
         lambda: between_effects(pairs, run, seed, progress)),
        ("between-recordings", "Interpolation between recordings",
         lambda: between_recordings(pairs, run, seed, progress)),
        ("sweeps", "Sweeps of parameters", lambda: sweep_blocks(pairs, run, seed, progress)),
        ("matches", "Matches of held-out pairs", lambda: match_blocks(pairs, run, progress)),
        ("evaluation", "Evaluation",
         lambda: evaluation_blocks(*evaluation_results(pairs, run, seed, progress))),
    ]  # fmt: skip


def _introduction(run: Run, pairs: Path) -> str:
    """Describe the model, and warn if the pairs contain recordings of its training."""
    model = run.configuration.model
    with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
        rows = reader.labels.rows_of(held_out(reader.labels))
        n_seen = int(seen_in_training(reader.labels, rows, run).sum())
    text = (
        f"The run {shown_name(run.path)}: a {model.architecture} variational autoencoder with "
        f"{model.n_latent} latents after {counted(run.step, 'training step')}. All results are on "
        f"held-out pairs of {shown_name(pairs)}."
    )
    if n_seen:
        text += (
            f" {n_seen} of these {len(rows)} pairs are of recordings that the run was trained on "
            "or selected by, so their results are too good."
        )
    return text
