"""Score matching: search the effect and settings of held-out pairs from their audio."""

from __future__ import annotations

import numpy as np

from dafxtool.effects.effect import Effect
from dafxtool.evaluation import probes
from dafxtool.evaluation.features import EvaluationData
from dafxtool.evaluation.results import MEAN, Score
from dafxtool.matching.held_out import MatchedPair, match_rows
from dafxtool.matching.paired import Options
from dafxtool.storage import some_positions
from dafxtool.utils.progress import SILENT, Progress


def match_scores(
    data: EvaluationData, n_per_effect: int, progress: Progress = SILENT
) -> list[Score]:
    """Match up to n_per_effect test pairs of each effect; no scores for 0.

    'right' is the share of pairs whose effect is the answer, 'distance' the distance left over
    that of doing nothing. 'first answer' and 'its distance' are those of the run's matcher without
    a search.
    """
    if not n_per_effect:
        return []
    labels = data.labels
    effects = [Effect.from_dict(each) for each in labels.effects]
    chosen = []
    for index, effect in enumerate(effects):
        rows = data.rows.test[labels.effect[data.rows.test] == index]
        if effect.parameters and len(rows):
            chosen.append(rows[some_positions(len(rows), n_per_effect)])
    if not chosen:
        return []
    rows = np.sort(np.concatenate(chosen))
    progress.start("matching", len(rows), "pair")
    matches: list[MatchedPair] = []
    for match in match_rows(
        rows,
        data.reader.rows(rows),
        effects,
        labels.effect[rows],
        labels.setting[rows],
        data.run,
        Options(),
    ):
        matches.append(match)
        progress.advance()
    progress.finish()
    scores = []
    for name in (MEAN, *dict.fromkeys(match.effect.name for match in matches)):
        own = [match for match in matches if name in (MEAN, match.effect.name)]
        groups = data.track[[match.row for match in own]]
        for method, values in _columns(own).items():
            estimate = probes.mean_estimate(np.array(values), groups)
            scores.append(Score("match", name, method, estimate, len(own)))
    return scores


def _columns(matches: list[MatchedPair]) -> dict[str, list[float]]:
    columns = {
        "right": [float(match.is_right) for match in matches],
        "distance": [match.relative_distance for match in matches],
        "evaluations": [float(match.answer.evaluations) for match in matches],
    }
    proposed = [(m.proposed, m.effect.name) for m in matches if m.proposed is not None]
    if len(proposed) == len(matches):
        columns["first answer"] = [float(first[0] == name) for first, name in proposed]
        columns["its distance"] = [first[1] for first, _ in proposed]
    return columns
