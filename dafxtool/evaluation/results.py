"""Scores, tables, figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.evaluation.probes import Estimate
from dafxtool.plots.scores import Confusion, Intervals, draw_evaluation
from dafxtool.utils.outputs import write_table

MEAN = "mean"


@dataclass(frozen=True)
class Section:
    title: str
    note: str
    unit: str = ""


SECTIONS = {
    "reconstruction": Section(
        "Reconstruction error",
        "Mean squared error in standardised units; lower is better. 'mean' answers every segment "
        "with the training split's mean spectrogram, 'dry' takes the dry channel for the wet one. "
        "The model decodes the wet channel with the true dry one; 'decoded dry' is without it, "
        "'style alone' without the change. 'closed form' has the average effect in place of the "
        "trained predictor, and as many latents of content and change.",
    ),
    "spectral": Section(
        "Log-spectral distance of the decoded magnitudes",
        "Lower is better; what lies more than 80 dB below the loudest bin counts as lying there.",
        "dB",
    ),
    "sound": Section(
        "Distance of the sound to the true wet sound",
        "The decoded wet magnitudes made into sound, starting from the dry recording's phase; "
        "'inverted' is the same with the true magnitudes, 'dry' the dry recording as it is. Log-"
        "spectral distance in dB, and multi-resolution STFT distance; lower is better.",
    ),
    "linear": Section(
        "Effect recognised, linear probe",
        "Share of the segments of each effect; higher is better. 'descriptors' are the fixed "
        "formulas that a style is made of, 'PCA' principal components of the spectrograms, 'mel' "
        "mean and deviation of mel spectra, dry and wet.",
    ),
    "neighbours": Section(
        "Effect recognised, 5 nearest neighbours",
        "Share of the segments of each effect; higher is better.",
    ),
    "settings": Section(
        "Settings recovered, R² of a ridge probe",
        "1 is all of the variance, 0 no better than the mean setting. Output gains cannot be "
        "told: wet segments are brought to one peak level.",
    ),
    "leakage": Section(
        "What else the latent tells",
        "R² of the dry segment's level, and the share of segments whose folder (the speaker), or "
        "else recording, a linear probe recognises on recordings it has not met. In the effect's "
        "part both are better low.",
    ),
    "midpoint": Section(
        "Half way between two settings",
        "Mean squared error of the wet channel, in standardised units, against the true rendering "
        "at the setting in the middle; lower is better. 'model' is decoded from the middle of the "
        "latents, with what the decoder leaves of both ends; 'decoded' is without that. 'detailed' "
        "is what 'interpolate --detailed' makes of the true ends; 'cross-fade' is their mean.",
    ),
    "detail": Section(
        "Half way in detail",
        "Error of 'detailed' less that of the cross-fade, on the same pairs: below 0 is better.",
    ),
    "drift": Section(
        "Drift of the dry channel",
        "Mean squared movement of the decoded dry channel, in standardised units, on the way "
        "between two wet versions of one segment: it should stand still. 'other recording' is the "
        "same on the way to another segment, for scale.",
    ),
}


@dataclass(frozen=True)
class Table:
    """A section as text: a row for each `what`, a column for each method."""

    title: str
    note: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Evaluation:
    """scores, and the confusion of the linear probe: row i true, column j told.

    remarks  what was left out, and why
    """

    run: str
    preset: str
    pairs: str
    n_segments: dict[str, int]
    effects: list[str]
    scores: list[Score]
    confusion: NDArray[np.int64]
    remarks: list[str]

    def score(self, section: str, what: str, method: str) -> Estimate:
        """One estimate; KeyError where there is none."""
        for score in self.scores:
            if (score.section, score.what, score.method) == (section, what, method):
                return score.estimate
        raise KeyError(f"{section}, {what}, {method}")

    def tables(self) -> list[Table]:
        made = []
        for key, section in SECTIONS.items():
            scores = [score for score in self.scores if score.section == key]
            if scores:
                made.append(_table(section, scores))
        return made

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        scores = [
            {
                "section": score.section,
                "what": score.what,
                "method": score.method,
                "n": score.n,
                **asdict(score.estimate),
            }
            for score in self.scores
        ]
        confusion = self.confusion.tolist()
        return {**vars(self), "scores": scores, "confusion": confusion}


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
    if estimate is None or not np.isfinite(estimate.value):
        return ""
    digits = 4 if abs(estimate.value) < 0.1 else 3 if abs(estimate.value) < 10 else 2
    value, low, high = (f"{x:.{digits}f}" for x in vars(estimate).values())
    if low == high == value or "nan" in (low, high):
        return value
    return f"{value} [{low}, {high}]"


# Showing ------------------------------------------------------------------------------------------

DRAWN = {  # section: title of its panel
    "linear": "effect recognised, linear probe (share)",
    "neighbours": "effect recognised, 5 nearest neighbours (share)",
    "settings": "settings recovered (R², lower ones drawn at -0.5)",
    "reconstruction": "reconstruction (squared error)",
    "midpoint": "half way between two settings (squared error)",
    "leakage": "what else the latent tells (R² below -0.5 drawn there)",
}
SHARES = ("linear", "neighbours")
LOWEST_R_SQUARED = -0.5  # worse than the mean is worse than the mean


def panels_of(made: Evaluation) -> list[Intervals]:
    """The panels of an evaluation's figure."""
    panels = []
    for key, title in DRAWN.items():
        rows: dict[str, dict[str, tuple[float, float, float]]] = {}
        for score in made.scores:
            if score.section == key:
                low = LOWEST_R_SQUARED if key in ("settings", "leakage") else -np.inf
                ends = score.estimate
                values = tuple(max(value, low) for value in (ends.value, ends.low, ends.high))
                rows.setdefault(score.what, {})[score.method] = (values[0], values[1], values[2])
        panels.append(Intervals(title, rows, (0.0, 1.03) if key in SHARES else None))
    return panels


def confusion_of(made: Evaluation) -> Confusion | None:
    """The confusion matrix, where there was something to tell apart."""
    if not made.confusion.sum():
        return None
    return Confusion(made.effects, made.confusion, "linear probe: true (rows), told (columns)")


def draw(path: Path, made: Evaluation, overwrite: bool = False) -> None:
    """All of it as one figure."""
    title = f"{Path(made.run).name}: {made.n_segments['test']} segments that training never saw"
    draw_evaluation(path, panels_of(made), confusion_of(made), title, overwrite)


def write_scores(path: Path, made: Evaluation, overwrite: bool = False) -> None:
    """Every figure as a row of a CSV file."""
    scores = made.scores
    columns: dict[str, Sequence[Any]] = {
        "section": [score.section for score in scores],
        "what": [score.what for score in scores],
        "method": [score.method for score in scores],
        "value": [score.estimate.value for score in scores],
        "low": [score.estimate.low for score in scores],
        "high": [score.estimate.high for score in scores],
        "n": [score.n for score in scores],
    }
    write_table(path, columns, overwrite)


@dataclass(frozen=True)
class Score:
    """One figure.

    section  what is asked, a key of SECTIONS
    what     of what: an effect, a parameter, a channel
    method   ours ("latent" or "model"), or a baseline
    n        segments that it was measured on
    """

    section: str
    what: str
    method: str
    estimate: Estimate
    n: int
