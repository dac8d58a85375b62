"""Propose starts of the search for a pair of recordings with a trained matcher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dafxtool.audio.resample import resample
from dafxtool.dataset.pair import level_recordings
from dafxtool.matching.controller.network import (
    FeatureExtractor,
    Matcher,
    Prediction,
    load_matcher,
)
from dafxtool.matching.hints.start import DEVIATION, Start
from dafxtool.matching.objective import SILENT_RMS, Array, rms
from dafxtool.matching.outputs import MATCHER_FILE
from dafxtool.matching.prepare import Prepared
from dafxtool.models.run import Run, load_run

MOST_SEGMENTS = 4
N_PROPOSED = 3  # likeliest effects that get a start
SMALLEST_DEVIATION = 0.02  # share of the range: predictions are never exact


@dataclass(frozen=True)
class Proposals:
    """Starts of the likeliest effects, and the probability of every effect."""

    starts: Mapping[str, Start]
    probabilities: Mapping[str, float]


class Proposer:
    """A matcher and the run whose latents are its input."""

    def __init__(self, matcher: Matcher, run: Run) -> None:
        if matcher.encoder:
            run.model.load_state_dict(matcher.encoder, strict=False)
        self.matcher, self._run = matcher, run
        self._extractor = FeatureExtractor(run)
        self._controller = matcher.controller.to(run.device).eval()

    @torch.no_grad()
    def propose(self, dry: Array, wet: Array, sample_rate: int) -> Proposals:
        """Predict effect and settings of an aligned pair (n_samples,) at one rate."""
        audio = self._segments(dry, wet, sample_rate)
        features = self._extractor(audio).to(self._run.device)
        output = self._controller(features)
        mean = Prediction(
            output.logits.log_softmax(dim=1).mean(dim=0, keepdim=True).cpu(),
            output.setting.mean(dim=0, keepdim=True).cpu(),
            output.log_variance.mean(dim=0, keepdim=True).cpu(),
        )
        probabilities = mean.logits[0].softmax(dim=0).tolist()
        names = [effect.name for effect in self.matcher.effects]
        starts = {}
        for index in np.argsort(probabilities)[::-1][:N_PROPOSED].tolist():
            starts[names[index]] = self._start(mean, index)
        return Proposals(starts, dict(zip(names, probabilities, strict=True)))

    def _start(self, prediction: Prediction, index: int) -> Start:
        setting, deviations = self.matcher.settings_of(prediction, 0, index)
        if self.matcher.loss == "labels":
            limits = {name: max(d, SMALLEST_DEVIATION) for name, d in deviations.items()}
        else:  # the loss in the audio says nothing about the uncertainty
            limits = dict.fromkeys(deviations, DEVIATION)
        return Start(self.matcher.effects[index], setting, limits)

    def _segments(self, dry: Array, wet: Array, sample_rate: int) -> NDArray[np.float32]:
        """Cut segments (n, 2, n_samples) that are not silent, at the rate and levels of the run."""
        config = self._run.configuration.segments
        both = [resample(each, sample_rate, config.sample_rate) for each in (dry, wet)]
        n = config.n_samples
        n_samples = max(n, both[0].size)
        padded = np.stack([np.pad(each, (0, n_samples - each.size)) for each in both])
        n_cut = max(1, min(MOST_SEGMENTS, n_samples // n))
        starts = np.linspace(0, n_samples - n, n_cut).astype(int)
        cut = [padded[:, start : start + n] for start in starts.tolist()]
        loud = [each for each in cut if min(rms(each[0]), rms(each[1])) > SILENT_RMS] or cut[:1]
        return np.stack([level_recordings(each[0], each[1], config)[0] for each in loud])


def load_proposer(path: Path, run: Path | None = None) -> Proposer:
    """Load a matcher and the run whose latents are its input.

    path  a run's folder with a matcher, or a matcher file
    run   None takes the folder of the matcher, or the run that it was trained with
    """
    file = path / MATCHER_FILE if path.is_dir() else path
    matcher = load_matcher(file)
    if run is None:
        own = (file.parent / "checkpoints").is_dir()
        run = file.parent if own else Path(matcher.about["run"])
    return Proposer(matcher, load_run(run, "cpu"))


def starts_for_pair(proposer: Proposer, prepared: Prepared) -> dict[str, Start]:
    """Return the proposals for a prepared pair of recordings."""
    span = slice(prepared.first, prepared.last)
    proposals = proposer.propose(prepared.dry[span], prepared.wet[span], prepared.sample_rate)
    return dict(proposals.starts)
