"""Score a controller's predictions: effect, settings, and rendered audio."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from dafxtool.effects.effect import Effect
from dafxtool.matching.controller.audio_loss import RenderTask, distances_of
from dafxtool.matching.controller.network import Matcher, Prediction
from dafxtool.matching.search.candidate import LEVEL_PARAMETERS
from dafxtool.matching.search.pool import Pool
from dafxtool.training.loader import Targets

SMALLEST_VARIANCE = 1e-6  # of a parameter; below it, R² has no meaning


def scores_of(
    prediction: Prediction, targets: Targets, effects: Sequence[Effect]
) -> dict[str, float]:
    """Score effects (share right, share among the first three) and settings (R², error).

    R² is the mean over the parameters that vary; parameters that change only the level are left
    out, because pairs are compared at equal levels. NaN where no parameter varies. The error is
    the median absolute one, in shares of the range.
    """
    ranked = prediction.logits.argsort(dim=1, descending=True)
    right = ranked == targets.effect[:, None]
    r_squared, errors = [], []
    column = 0
    for effect in effects:
        for parameter in effect.parameters:
            true = targets.setting[:, column]
            known = true.isfinite()
            is_level = parameter.name in LEVEL_PARAMETERS.get(effect.name, ())
            if known.any() and not is_level:
                error = prediction.setting[known, column] - true[known]
                errors.append(error.abs() / 12**0.5)
                variance = float(true[known].var(correction=0))
                if variance > SMALLEST_VARIANCE:
                    r_squared.append(1 - float(error.square().mean()) / variance)
            column += 1
    return {
        "right": float(right[:, 0].float().mean()),
        "first_three": float(right[:, :3].any(dim=1).float().mean()),
        "settings_r2": float(np.mean(r_squared)) if r_squared else float("nan"),
        "settings_error": float(torch.cat(errors).median()) if errors else float("nan"),
    }


def sound_of(
    prediction: Prediction,
    targets: Targets,
    positions: NDArray[np.int64],
    matcher: Matcher,
    audio: NDArray[np.float32],
    sample_rate: int,
    pool: Pool,
) -> NDArray[np.float64]:
    """Render the predicted settings of the true effect, and compute relative distances.

    Each is the distance to the wet audio, divided by that of the dry recording.

    positions  of the predictions whose audio (n, 2, n_samples) is given
    """
    tasks = []
    for row, (dry, wet) in zip(positions.tolist(), audio, strict=True):
        index = int(targets.effect[row])
        setting = matcher.settings_of(prediction, row, index)[0]
        tasks.append(RenderTask(matcher.effects[index], (setting,), dry, wet, sample_rate))
    return np.array([ratios[0] for ratios in distances_of(pool, tasks)])
