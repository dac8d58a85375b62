"""Evaluate a run on recordings that training never saw.

Every score stands beside trivial baselines and has a 95% interval by the bootstrap over recordings.
The tasks:

- reconstruction: distance of the decoded pair from the original, as spectrograms and as audio
- level: the level that the effect gives, and the level error of the decoded wet spectrogram
- recognition: identify the effect from the latent, and from other features
- settings: predict the values of the effect's parameters
- leakage: level and speaker predicted from the effect part of the latent
- midpoint: decoded midpoint of two settings against the effect rendered at the middle setting
- parallel: middle of two effects against both in parallel
- drift: movement of the dry channel when only the effect changes
- match: effect and settings searched from the audio alone, on request
"""

from __future__ import annotations

from pathlib import Path

from dafxtool import storage
from dafxtool.evaluation.features import EvaluationData
from dafxtool.evaluation.level_scores import level_scores
from dafxtool.evaluation.matches import match_scores
from dafxtool.evaluation.midpoints import midpoint_scores
from dafxtool.evaluation.results import Evaluation, remarks_on
from dafxtool.evaluation.tasks import (
    audio_scores,
    leakage_scores,
    recognition_scores,
    reconstruction_scores,
    setting_scores,
)
from dafxtool.latents.table import check_segments
from dafxtool.models.run import Run
from dafxtool.utils.progress import SILENT, Progress


def evaluate(
    run: Run,
    pairs: Path,
    midpoints_per_effect: int | None = None,
    n_sounds: int = 24,
    seed: int = 0,
    matches_per_effect: int = 0,
    progress: Progress = SILENT,
) -> Evaluation:
    """Evaluate a run on the test split of a pairs file; probes are fitted on its training split.

    midpoints_per_effect  number of pairs of settings whose midpoint is evaluated; None as of
                          midpoint_scores
    n_sounds              number of wet segments whose audio is reconstructed and compared
    seed                  random seed of the settings of the midpoints
    matches_per_effect    number of test pairs of each effect that are matched

    InputError if no training rows or no unseen test rows exist; FormatError for segments of
    another size.
    """
    with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
        check_segments(reader, run)
        data = EvaluationData(reader, run, progress)
        recognition, confusion = recognition_scores(data)
        scores = [
            *reconstruction_scores(data),
            *audio_scores(data, n_sounds, progress),
            *level_scores(data),
            *recognition,
            *setting_scores(data),
            *leakage_scores(data),
            *midpoint_scores(data, midpoints_per_effect, seed, progress),
            *match_scores(data, matches_per_effect, progress),
        ]
        data.remarks += remarks_on(scores)
        return Evaluation(
            run=str(run.path),
            preset=run.configuration.preset,
            pairs=str(pairs),
            n_segments={
                name: len(getattr(data.rows, name)) for name in ("train", "validation", "test")
            },
            effects=data.labels.effect_names,
            scores=scores,
            confusion=confusion,
            remarks=data.remarks,
        )
