"""Hold the scores of an evaluation, and format them as tables and CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.evaluation.probes import Estimate
from dafxtool.utils import notebook
from dafxtool.utils.outputs import write_table
from dafxtool.utils.text import counted

MEAN = "mean"
AUDIBLE_MEAN = "mean, audible"
MOST_NAMES = 4  # of scores in a remark
REASON = "the values are constant or silent"
REASONS = {
    "spectral": "the wet segments are silent",
    "sound": "the wet segments are silent",
    "linear": "every segment has the same prediction",
    "neighbours": "every segment has the same prediction",
    "settings": "the values are constant",
    "leakage": "the levels are equal, or every segment has the same prediction",
    "midpoint": "both settings give the same audio",
    "detail": "both settings give the same audio",
}
WITHOUT_BASIS = "-"  # a score that has no value


@dataclass(frozen=True)
class Section:
    """What a task measures, for the heading of its table."""

    title: str
    note: str
    unit: str = ""


SECTIONS = {
    "reconstruction": Section(
        "Reconstruction error",
        "Mean squared error in standardised units; lower is better. 'mean' predicts the mean "
        "spectrogram of the training split for every segment, 'dry' the dry channel for the wet "
        "one. The model decodes the wet channel from its latents and the true dry channel. "
        "'decoded dry' uses the decoded dry channel instead, 'style alone' no change latents. "
        "'closed form' has the average effect in place of the trained predictor, with as many "
        "content and change latents.",
    ),
    "spectral": Section(
        "Log-spectral distance of the decoded magnitudes",
        "Lower is better. Levels more than 80 dB below the loudest bin are raised to that floor.",
        "dB",
    ),
    "sound": Section(
        "Distance of the decoded audio from the wet audio",
        "Log-spectral distance in dB, and multi-resolution STFT distance; lower is better. "
        "'model' is inverted from the decoded wet magnitudes, starting from the phase of the dry "
        "recording; 'inverted' from the true magnitudes; 'dry' is the unprocessed recording.",
    ),
    "linear": Section(
        "Effect recognised, linear probe",
        "Share of the segments of each effect; higher is better. 'descriptors' are the fixed "
        "features that the style latents start from, 'PCA' principal components of the "
        "spectrograms, 'mel' mean and standard deviation of log mel spectra, dry and wet.",
    ),
    "neighbours": Section(
        "Effect recognised, 5 nearest neighbours",
        "Share of the segments of each effect; higher is better.",
    ),
    "level": Section(
        "Level of the wet segment",
        "'effect' is the RMS level of wet over dry before both are levelled. 'decoded over true' "
        "is the level of the decoded wet spectrogram over the true one; it should be 0.",
        "dB",
    ),
    "settings": Section(
        "Settings recovered, R² of a ridge probe",
        "1 is all of the variance, 0 no better than the mean setting. 'level' is the effect's own "
        "level alone, which latents of pairs with --level match do not have: their wet segments "
        "are normalised to one peak level. 'mean, audible' is over the parameters whose change of "
        "the wet recording (next table) is above -40 dB.",
    ),
    "audibility": Section(
        "Change of the wet recording by each parameter",
        "Energy of the difference of STFT magnitudes relative to the wet recording, when the "
        "parameter moves over half its range; median of n random settings, at the level that the "
        "pairs have.",
        "dB",
    ),
    "leakage": Section(
        "Leakage: what else the latent encodes",
        "R² of the level of the dry segment, and the share of segments whose folder (speaker), or "
        "else recording, a linear probe recognises on unseen recordings. In the effect part both "
        "are better low.",
    ),
    "midpoint": Section(
        "Midpoint of two settings",
        "Mean squared error of the wet channel, in standardised units, against the effect "
        "rendered at the middle setting; lower is better. 'model' is decoded from the mean of the "
        "two latents, plus the mean residual of the decoder at both ends; 'decoded' is without "
        "that residual. 'detailed' is 'interpolate --detailed' between the true ends; "
        "'cross-fade' is their mean.",
    ),
    "parallel": Section(
        "Middle of two effects",
        "Mean squared error of the wet channel, in standardised units, against both effects in "
        "parallel, half of each; lower is better. Each effect is paired with the next one. 'model' "
        "is the blend of both decoded wet channels with what the decoder leaves of them, as "
        "'interpolate' draws it; 'latents' is decoded from the mean of the two latents, plus the "
        "mean residual at both ends.",
    ),
    "detail": Section(
        "Detailed midpoint against cross-fade",
        "Error of 'detailed' minus error of the cross-fade on the same pairs; below 0 is better.",
    ),
    "drift": Section(
        "Drift of the dry channel",
        "Mean squared change of the decoded dry channel, in standardised units, along the "
        "interpolation path between two wet versions of one segment; it should be 0. 'other "
        "recording' is the same along a path to another segment, for scale.",
    ),
    "match": Section(
        "Matching of held-out pairs",
        "'right' is the share of pairs whose effect 'match' finds, 'distance' the multi-resolution "
        "STFT distance of the matched recording to the wet one, over that of the dry recording. "
        "'first answer' and 'its distance' are of the run's matcher, without a search.",
    ),
}


@dataclass(frozen=True)
class Score:
    """One score of one method.

    section  task, a key of SECTIONS
    what     what it applies to: an effect, a parameter, a channel
    method   "latent" or "model" for the run, else a baseline
    n        number of segments
    """

    section: str
    what: str
    method: str
    estimate: Estimate
    n: int


@dataclass(frozen=True)
class Table:
    """Scores of a section as text: a row for each `what`, a column for each method."""

    title: str
    note: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, repr=False)
class Evaluation(notebook.Displayed):
    """Scores of a run, and the confusion matrix of the linear probe on the latents.

    n_segments  number of rows of each split
    confusion   (n_effects, n_effects); rows are true effects, columns predicted ones
    remarks     notes on scores that were left out
    """

    run: str
    preset: str
    pairs: str
    n_segments: dict[str, int]
    effects: list[str]
    scores: list[Score]
    confusion: NDArray[np.int64]
    remarks: list[str]

    def __repr__(self) -> str:
        n_test = counted(self.n_segments.get("test", 0), "test segment")
        return f"Evaluation({self.run!r}, {n_test}, {counted(len(self.scores), 'score')})"

    def _parts(self) -> Iterator[str]:
        yield notebook.paragraph(f"{self.run} on {self.pairs}")
        for each in self.tables():
            yield notebook.paragraph(each.title)
            yield notebook.table(each.header, each.rows)

    def score(self, section: str, what: str, method: str) -> Estimate:
        """Return one estimate; KeyError if there is none."""
        for score in self.scores:
            if (score.section, score.what, score.method) == (section, what, method):
                return score.estimate
        raise KeyError(f"{section}, {what}, {method}")

    def tables(self) -> list[Table]:
        """Return one table for each section that has scores."""
        tables = []
        for key, section in SECTIONS.items():
            scores = [score for score in self.scores if score.section == key]
            if scores:
                tables.append(_table(section, scores))
        return tables

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        scores = [
            {
                "section": score.section,
                "subject": score.what,
                "method": score.method,
                "n": score.n,
                **asdict(score.estimate),
            }
            for score in self.scores
        ]
        confusion = self.confusion.tolist()
        return {**vars(self), "scores": scores, "confusion": confusion}


def remarks_on(scores: Sequence[Score]) -> list[str]:
    """Explain the scores without a value, in one sentence for each section that has some."""
    without: dict[str, list[str]] = {}
    for score in scores:
        if not np.isfinite(score.estimate.value):
            without.setdefault(score.section, []).append(f"{score.what} ({score.method})")
    return [
        f"{SECTIONS[section].title}: '{WITHOUT_BASIS}' for {', '.join(names[:MOST_NAMES])}"
        f"{', ...' if len(names) > MOST_NAMES else ''}, because {REASONS.get(section, REASON)}"
        for section, names in without.items()
    ]


def _table(section: Section, scores: Sequence[Score]) -> Table:
    methods = list(dict.fromkeys(score.method for score in scores))
    cells = {(score.what, score.method): score.estimate for score in scores}
    counts = {score.what: score.n for score in scores}
    rows = [
        [what, str(n), *(_cell(cells.get((what, method))) for method in methods)]
        for what, n in counts.items()
    ]
    title = section.title + (f" ({section.unit})" if section.unit else "")
    return Table(title, section.note, ["", "n", *methods], rows)


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    if not np.isfinite(estimate.value):
        return WITHOUT_BASIS
    digits = 4 if abs(estimate.value) < 0.1 else 3 if abs(estimate.value) < 10 else 2
    value, low, high = (f"{x:.{digits}f}" for x in vars(estimate).values())
    if low == high == value or "nan" in (low, high):
        return value
    return f"{value} [{low}, {high}]"


def write_scores(path: Path, evaluation: Evaluation, overwrite: bool = False) -> None:
    """Write a CSV file with one row for each score; errors as in outputs.write_table."""
    scores = evaluation.scores
    columns: dict[str, Sequence[Any]] = {
        "section": [score.section for score in scores],
        "subject": [score.what for score in scores],
        "method": [score.method for score in scores],
        "value": [score.estimate.value for score in scores],
        "low": [score.estimate.low for score in scores],
        "high": [score.estimate.high for score in scores],
        "n": [score.n for score in scores],
    }
    write_table(path, columns, overwrite)
