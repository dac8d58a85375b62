"""Train a controller on the pairs of a file: labels or audio as supervision.

By default the encoder of the run is frozen: features are computed once, and training takes seconds
to minutes on a CPU. The controller with the smallest validation error is kept.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dafxtool import storage
from dafxtool.effects.effect import Effect
from dafxtool.errors import TrainingError
from dafxtool.latents.table import check_segments
from dafxtool.matching.controller.audio_loss import renderers, spsa_gradient
from dafxtool.matching.controller.data import ROWS_A_BATCH, SPLITS, Data, read_splits
from dafxtool.matching.controller.network import (
    SETTING_SCALE,
    SETTING_WEIGHT,
    FeatureExtractor,
    Matcher,
    Prediction,
    label_loss,
    load_matcher,
    new_controller,
    save_matcher,
)
from dafxtool.matching.controller.scores import scores_of, sound_of
from dafxtool.models.run import Run
from dafxtool.training.loader import Targets
from dafxtool.utils import signals
from dafxtool.utils.progress import SILENT, Progress

LOSSES = ("labels", "audio")
DEFAULT_STEPS = {"labels": 3000, "audio": 300}
BATCH_SIZES = {"labels": 64, "audio": 16}
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 1e-2
ENCODER_RATE = 0.1  # of the learning rate, for the encoder
START_RATE = 0.1  # of the learning rate, for a matcher that is trained already
FEATURE_NOISE = 0.3  # standard deviations
GRADIENT_NORM = 1.0
VALIDATIONS = 20  # during a training
MOST_SOUNDS = 60  # held-out pairs whose predicted settings are rendered at the end


@dataclass(frozen=True)
class ControllerOptions:
    """Options of training a controller.

    loss       "labels" or "audio"
    steps      optimiser steps, resumed ones included; None takes the default of the loss
    fine_tune  also train the encoder of the run
    """

    loss: str = "labels"
    steps: int | None = None
    fine_tune: bool = False
    seed: int = 0
    workers: int = 1

    @property
    def n_steps(self) -> int:
        return self.steps or DEFAULT_STEPS[self.loss]


class ControllerTrainer:
    """State of one training, its steps and its validations."""

    def __init__(
        self,
        run: Run,
        reader: storage.Hdf5Reader,
        options: ControllerOptions,
        progress: Progress = SILENT,
        splits: Mapping[str, Data] | None = None,
    ) -> None:
        """Prepare a training.

        splits  data of all splits, as of read_splits; None reads it
        """
        check_segments(reader, run)
        if options.fine_tune:  # the caller's run stays as it is
            run = replace(run, model=copy.deepcopy(run.model))
        self.run, self.reader, self.options = run, reader, options
        self.extractor = FeatureExtractor(run)
        self.effects = [Effect.from_dict(each) for each in reader.labels.effects]
        splits = splits or read_splits(reader, self.extractor, progress)
        self.train, self.validation, self.test = (splits[name] for name in SPLITS)
        torch.manual_seed(options.seed)
        self.controller = new_controller(self.train.features.shape[1], self.effects)
        setting = self.train.targets.setting if options.loss == "labels" else None
        self.controller.fit(self.train.features, self.train.targets.effect, setting)
        self.controller.to(run.device)
        groups: list[dict[str, Any]] = [{"params": list(self.controller.parameters())}]
        if options.fine_tune:
            model = run.model.train()
            groups.append({"params": list(model.parameters()), "lr": ENCODER_RATE * LEARNING_RATE})
        self.optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        self.step_number, self.seconds = 0, 0.0
        self.rate_scale = 1.0
        self.best_error, self.best_state = np.inf, self.weights()

    @property
    def sample_rate(self) -> int:
        return self.run.configuration.segments.sample_rate

    def weights(self) -> dict[str, Tensor]:
        """Copy the weights of the controller, and of the encoder if it is fine-tuned."""
        return {name: value.detach().cpu().clone() for name, value in self._named()}

    def _named(self) -> list[tuple[str, Tensor]]:
        named = [(f"controller.{n}", v) for n, v in self.controller.state_dict().items()]
        if self.options.fine_tune:
            trained = [(n, p) for n, p in self.run.model.named_parameters() if p.grad is not None]
            named += [(f"encoder.{name}", parameter) for name, parameter in trained]
        return named

    def step(self, pool: Any) -> float:
        """Make one step of the optimiser; return the loss.

        The batch depends on the seed and the number of the step alone, so that a resumed training
        continues as it would have.
        """
        options = self.options
        rng = np.random.default_rng((options.seed, self.step_number))
        size = min(BATCH_SIZES[options.loss], len(self.train.rows))
        positions = rng.choice(len(self.train.rows), size, replace=False)
        self.controller.train()
        torch.manual_seed(options.seed * 1_000_003 + self.step_number)
        features, targets = self._batch(positions)
        noise = FEATURE_NOISE * torch.randn_like(features)
        prediction = self.controller(features, noise)
        if options.loss == "labels":
            loss = shown = label_loss(prediction, targets, self.controller.setting_scale)
        else:
            loss, shown = self._audio_loss(prediction, targets, positions, pool, rng)
        self.optimizer.zero_grad(set_to_none=False)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(
            [p for group in self.optimizer.param_groups for p in group["params"]], GRADIENT_NORM
        )
        for group, scale in zip(self.optimizer.param_groups, (1.0, ENCODER_RATE), strict=False):
            group["lr"] = scale * self._learning_rate()
        self.optimizer.step()
        self.step_number += 1
        return float(shown.detach())

    def _learning_rate(self) -> float:
        """Return a learning rate that falls like a cosine to a twentieth."""
        share = min(1.0, self.step_number / self.options.n_steps)
        shape = 0.05 + 0.95 * 0.5 * (1 + float(np.cos(np.pi * share)))
        return self.rate_scale * LEARNING_RATE * shape

    def _batch(self, positions: NDArray[np.int64]) -> tuple[Tensor, Targets]:
        features, targets = self.train.take(positions)
        device = self.run.device
        features = features.to(device)
        if self.options.fine_tune:
            features = self._with_style(features, self._style(self.train.rows[positions]))
        return features, Targets(targets.effect.to(device), targets.setting.to(device))

    def _style(self, rows: NDArray[np.int64]) -> Tensor:
        """Encode rows with the encoder as it is now."""
        return self.extractor.style(self.extractor.spectrogram(self.reader.rows(rows)))

    def _with_style(self, features: Tensor, style: Tensor) -> Tensor:
        return torch.cat([features[:, : -style.shape[1]], style], dim=1)

    def _audio_loss(
        self,
        prediction: Prediction,
        targets: Targets,
        positions: NDArray[np.int64],
        pool: Any,
        rng: np.random.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Compute the cross entropy of the effect plus the audio loss of its settings."""
        cross_entropy = functional.cross_entropy(prediction.logits, targets.effect)
        own = [torch.isfinite(row).nonzero()[:, 0] for row in targets.setting]
        chosen = [i for i, columns in enumerate(own) if len(columns)]
        if not chosen:
            return cross_entropy, cross_entropy
        predicted = [prediction.setting[i, own[i]] for i in chosen]
        normalised = [
            (each.detach().cpu().double().numpy() / SETTING_SCALE + 0.5).clip(0, 1)
            for each in predicted
        ]
        effects = [self.effects[int(targets.effect[i])] for i in chosen]
        audio = self.reader.rows(self.train.rows[positions[chosen]])
        slopes, ratio = spsa_gradient(pool, effects, normalised, audio, self.sample_rate, rng)
        surrogate = torch.stack(
            [
                (values * torch.from_numpy(slope / SETTING_SCALE).to(values)).sum()
                for values, slope in zip(predicted, slopes, strict=True)
            ]
        ).mean()
        # Beyond the range nothing is rendered, so nothing leads back.
        beyond = torch.stack(
            [(values.abs() - SETTING_SCALE / 2).clamp_min(0).square().sum() for values in predicted]
        ).mean()
        loss = cross_entropy + surrogate + SETTING_WEIGHT * beyond
        return loss, cross_entropy.detach() + ratio

    @torch.no_grad()
    def predict(self, data: Data) -> Prediction:
        """Predict all rows of a split."""
        self.controller.eval()
        features = data.features.to(self.run.device)
        if self.options.fine_tune:
            self.run.model.eval()
            parts = range(0, len(data.rows), ROWS_A_BATCH)
            style = [self._style(data.rows[start : start + ROWS_A_BATCH]) for start in parts]
            features = self._with_style(features, torch.cat(style))
            self.run.model.train()
        result: Prediction = self.controller(features)
        return Prediction(result.logits.cpu(), result.setting.cpu(), result.log_variance.cpu())

    def validate(self, pool: Any) -> dict[str, float]:
        """Score the validation split, and keep the controller if it has the smallest error.

        The error is the share of wrong effects plus the error of the settings, in the supervision
        of the loss. The cross entropy would choose an early controller: it rises with the
        confidence of the few wrong predictions, while more effects and better settings are found.
        """
        targets = self.validation.targets
        self.controller.choose_linear_gain(
            lambda: self.predict(self.validation).logits, targets.effect
        )
        prediction = self.predict(self.validation)
        scores = scores_of(prediction, targets, self.effects)
        if self.options.loss == "labels":
            scale = self.controller.setting_scale.cpu()
            scores["loss"] = float(label_loss(prediction, targets, scale))
            wrong = scores["settings_error"]
        else:
            few = storage.some_positions(len(self.validation.rows), MOST_SOUNDS // 2)
            wrong = float(np.mean(self.sound(prediction, self.validation, few, pool)))
            scores["loss"] = (
                float(functional.cross_entropy(prediction.logits, targets.effect)) + wrong
            )
        error = 1 - scores["right"] + float(np.nan_to_num(wrong))
        if error < self.best_error:
            self.best_error, self.best_state = error, self.weights()
        return scores

    def sound(
        self, prediction: Prediction, data: Data, positions: NDArray[np.int64], pool: Any
    ) -> NDArray[np.float64]:
        """Return relative distances of the audio with the predicted settings."""
        return sound_of(
            prediction,
            data.targets,
            positions,
            Matcher(self.controller, self.effects, self.options.loss),
            self.reader.rows(data.rows[positions]),
            self.sample_rate,
            pool,
        )

    def test_scores(self, pool: Any) -> dict[str, float]:
        """Score the best controller on the test split."""
        last = self.weights()
        self.load(self.best_state)
        prediction = self.predict(self.test)
        scores = scores_of(prediction, self.test.targets, self.effects)
        positions = storage.some_positions(len(self.test.rows), MOST_SOUNDS)
        scores["sound"] = float(np.median(self.sound(prediction, self.test, positions, pool)))
        self.load(last)
        return scores

    def restore(self, matcher: Matcher, path: Path) -> None:
        """Continue from a saved training; TrainingError if it does not fit."""
        state = matcher.about
        if (
            not self._has_effects_of(matcher)
            or matcher.loss != self.options.loss
            or "optimizer" not in state
        ):
            raise TrainingError(
                f"{path}: cannot be resumed with these pairs and this loss (found a matcher of "
                f"{len(matcher.effects)} effects, loss {matcher.loss}). Use --overwrite."
            )
        if bool(matcher.encoder) != self.options.fine_tune:
            raise TrainingError(
                f"{path}: was trained with another --fine-tune. Resume with the same, "
                "or use --overwrite."
            )
        self.load(state["last"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step_number, self.seconds = int(state["step"]), float(state["seconds"])
        self.best_state = _weights_of(matcher)
        self.best_error = float(state["best_error"])
        self.rate_scale = float(state.get("rate_scale", 1.0))

    def start_from(self, matcher: Matcher, path: Path) -> None:
        """Take the weights of a matcher as the first ones; TrainingError if they do not fit."""
        n_features = len(matcher.controller.feature_mean)
        if not self._has_effects_of(matcher) or n_features != self.train.features.shape[1]:
            raise TrainingError(
                f"{path}: its effects or features are not those of the pairs and the run (found "
                f"{len(matcher.effects)} effects and {n_features} features, expected "
                f"{len(self.effects)} and {self.train.features.shape[1]}). Train it again."
            )
        self.load(_weights_of(matcher))
        self.best_state, self.rate_scale = self.weights(), START_RATE

    def _has_effects_of(self, matcher: Matcher) -> bool:
        ours, theirs = ([each.to_dict() for each in m.effects] for m in (self, matcher))
        return ours == theirs

    def load(self, weights: dict[str, Tensor]) -> None:
        """Set the weights to a result of `weights`."""
        self.controller.load_state_dict(_part(weights, "controller."))
        encoder = _part(weights, "encoder.")
        if encoder:
            self.run.model.load_state_dict(encoder, strict=False)

    def save(self, path: Path, scores: dict[str, float]) -> Matcher:
        """Write the best controller with the state of the training."""
        best = new_controller(self.train.features.shape[1], self.effects)
        best.load_state_dict(_part(self.best_state, "controller."))
        about = {
            "step": self.step_number,
            "seconds": self.seconds,
            "best_error": float(self.best_error),
            "rate_scale": self.rate_scale,
            "scores": scores,
            "run": str(self.run.path),
            "pairs": str(self.reader.path),
            "seed": self.options.seed,
            "last": self.weights(),
            "optimizer": self.optimizer.state_dict(),
        }
        encoder = _part(self.best_state, "encoder.")
        matcher = Matcher(best.eval(), self.effects, self.options.loss, encoder, about)
        save_matcher(path, matcher)
        return matcher


def _weights_of(matcher: Matcher) -> dict[str, Tensor]:
    controller = {f"controller.{n}": v for n, v in matcher.controller.state_dict().items()}
    return controller | {f"encoder.{n}": v for n, v in matcher.encoder.items()}


def _part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}


@dataclass(frozen=True)
class ControllerResult:
    """A trained matcher.

    scores      of the test split: `right` and `first_three` (shares of the pairs whose effect is
                the likeliest, or one of three), `settings_r2`, `settings_error` (median, share of
                the range), `sound` (distance to the wet audio over that of the dry recording)
    end_reason  "complete" or "interrupted"
    """

    output: Path
    steps: int
    seconds: float
    loss: str
    effects: list[str]
    scores: dict[str, float]
    end_reason: str


def train_controller(
    run: Run,
    pairs: Path,
    output: Path,
    options: ControllerOptions,
    resume: bool = False,
    start: Path | None = None,
    progress: Progress = SILENT,
    log: Callable[[int, dict[str, float]], None] = lambda step, figures: None,
) -> ControllerResult:
    """Train a controller on a pairs file and save it after each validation.

    start  matcher whose weights to start from
    log    called with the step and figures at each validation

    InputError for a split without rows; TrainingError for a matcher that cannot be resumed or
    started from.
    """
    first = None if start is None else load_matcher(start)
    with ExitStack() as stack:
        reader = stack.enter_context(storage.Hdf5Reader(pairs, storage.PAIRS))
        pool = stack.enter_context(renderers(options.workers))
        trainer = ControllerTrainer(run, reader, options, progress)
        if resume and output.exists():
            trainer.restore(load_matcher(output), output)
        elif start is not None and first is not None:
            trainer.start_from(first, start)
        every = max(1, options.n_steps // VALIDATIONS)
        ended, losses = "complete", []
        progress.start("training", options.n_steps, "step")
        progress.advance(trainer.step_number)
        try:
            while trainer.step_number < options.n_steps:
                began = time.monotonic()
                signals.check()
                losses.append(trainer.step(pool))
                trainer.seconds += time.monotonic() - began
                progress.advance()
                if trainer.step_number % every == 0:
                    scores = trainer.validate(pool)
                    mean = float(np.mean(losses))
                    log(trainer.step_number, {"training/loss": mean} | _named(scores))
                    losses = []
                    trainer.save(output, scores)
        except KeyboardInterrupt:
            ended = "interrupted"
        progress.finish()
        if not np.isfinite(trainer.best_error):
            trainer.validate(pool)
        scores = trainer.test_scores(pool)
        trainer.save(output, scores)
    return ControllerResult(
        output,
        trainer.step_number,
        trainer.seconds,
        options.loss,
        [effect.name for effect in trainer.effects],
        scores,
        ended,
    )


def _named(scores: dict[str, float]) -> dict[str, float]:
    return {f"validation/{name}": value for name, value in scores.items() if np.isfinite(value)}
