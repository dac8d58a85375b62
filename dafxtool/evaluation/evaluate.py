"""Evaluate a run on recordings that training never saw.

Every figure stands beside the trivial ways to get one, and has a 95% interval by the bootstrap over
recordings. What is asked:

- reconstruction: how near is what the decoder makes, as numbers and as sound?
- recognition: is the effect told from the latent, and from what else would one tell it?
- settings: are the values of its parameters told?
- leakage: what else does the effect's part of the latent tell: the level, the speaker?
- midpoint: is half way between two settings what the effect really does half way?
- drift: does the dry channel stand still when only the effect changes?
"""

from __future__ import annotations

from pathlib import Path

from dafxtool import storage
from dafxtool.evaluation.features import EvaluationData
from dafxtool.evaluation.midpoints import ways
from dafxtool.evaluation.results import Evaluation
from dafxtool.evaluation.tasks import _leakage, _recognition, _reconstruction, _settings, _sound
from dafxtool.latents.table import check_segments
from dafxtool.models.run import Run
from dafxtool.utils.progress import SILENT, Progress


def evaluate(
    run: Run,
    pairs: Path,
    midpoints_per_effect: int = 20,
    n_sounds: int = 24,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Evaluation:
    """Evaluate a run on the test split of a pairs file; probes are fitted on its training split.

    midpoints_per_effect  pairs of settings that the way between is judged on
    n_sounds              wet segments that are made into sound

    Raises InputError where there is nothing to judge on, FormatError for segments of another size.
    """
    with storage.Reader(pairs, storage.PAIRS) as reader:
        check_segments(reader, run)
        data = EvaluationData(reader, run, progress)
        scores, confusion = _recognition(data)
        scores = [
            *_reconstruction(data),
            *_sound(data, n_sounds, progress),
            *scores,
            *_settings(data),
            *_leakage(data),
            *ways(data, midpoints_per_effect, seed, progress),
        ]
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
