"""Draw the results of an evaluation as one figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dafxtool.evaluation.results import Evaluation
from dafxtool.plots.scores import Confusion, Intervals, draw_evaluation

PANEL_TITLES = {  # by section
    "linear": "effect recognised, linear probe (share)",
    "neighbours": "effect recognised, 5 nearest neighbours (share)",
    "settings": "settings recovered (R², lower ones drawn at -0.5)",
    "reconstruction": "reconstruction (squared error)",
    "midpoint": "midpoint of two settings (squared error)",
    "leakage": "leakage: level and speaker (R² below -0.5 drawn there)",
}
SHARES = ("linear", "neighbours")
LOWEST_R_SQUARED = -0.5  # all values below 0 say the same: worse than the mean


def draw_results(path: Path, evaluation: Evaluation, overwrite: bool = False) -> None:
    """Draw scores and confusion matrix into a PNG, SVG or PDF file.

    InputError for another suffix; OutputExistsError and DiskError as in files.atomic_write.
    """
    n_segments = evaluation.n_segments["test"]
    title = f"{Path(evaluation.run).name}: {n_segments} segments that training never saw"
    draw_evaluation(path, _panels(evaluation), _confusion(evaluation), title, overwrite)


def _panels(evaluation: Evaluation) -> list[Intervals]:
    """Return the panels of the figure."""
    panels = []
    for section, title in PANEL_TITLES.items():
        lowest = LOWEST_R_SQUARED if section in ("settings", "leakage") else -np.inf
        rows: dict[str, dict[str, tuple[float, float, float]]] = {}
        for score in evaluation.scores:
            if score.section == section:
                value, low, high = (max(each, lowest) for each in vars(score.estimate).values())
                rows.setdefault(score.what, {})[score.method] = (value, low, high)
        panels.append(Intervals(title, rows, (0.0, 1.03) if section in SHARES else None))
    return panels


def _confusion(evaluation: Evaluation) -> Confusion | None:
    """Return the confusion matrix; None if recognition was not evaluated."""
    if not evaluation.confusion.sum():
        return None
    title = "linear probe: true (rows), predicted (columns)"
    return Confusion(evaluation.effects, evaluation.confusion, title)
