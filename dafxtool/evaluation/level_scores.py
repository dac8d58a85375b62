"""Score the level of the wet segment: that of the effect, and that of the decoder."""

from __future__ import annotations

import numpy as np

from dafxtool.evaluation.features import EvaluationData
from dafxtool.evaluation.probes import mean_estimate
from dafxtool.evaluation.results import MEAN, Score


def level_scores(data: EvaluationData) -> list[Score]:
    """Score the level of each effect over the dry segment, and the level error of the decoder.

    Methods: the effect's own level (RMS of wet over dry before levelling, in dB), and the level of
    the decoded wet spectrogram over the true one (sum of squared magnitudes, in dB). Segments
    without a level, because wet or dry is silent or the file stores no gains, are left out.
    """
    values = {"effect": data.own_level[data.rows.test], "decoded over true": data.decoded_level}
    scores = []
    names = [*data.labels.effect_names, MEAN]
    for index, name in enumerate(names):
        is_own = np.ones(len(data.test_effect), bool) if name == MEAN else data.test_effect == index
        for method, levels in values.items():
            rows = np.flatnonzero(is_own & np.isfinite(levels))
            if len(rows):
                level = mean_estimate(levels[rows], data.test_track[rows])
                scores.append(Score("level", name, method, level, len(rows)))
    return scores
