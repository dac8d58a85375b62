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

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dafxtool import probes, store
from dafxtool.descriptors import Descriptors
from dafxtool.distances import (
    level_db,
    log_spectral_distance_db,
    mel_features,
    multi_resolution_distance,
)
from dafxtool.drawing import write_table
from dafxtool.errors import DafxError, InputError
from dafxtool.evaluation_figures import Confusion, Intervals, draw_evaluation
from dafxtool.inversion import invert
from dafxtool.latents import Latents, about, check_segments
from dafxtool.parameters import Effect, draw_setting
from dafxtool.plan import make_pair
from dafxtool.probes import Estimate
from dafxtool.progress import SILENT, Progress
from dafxtool.runs import Run
from dafxtool.spectrograms import linear_magnitude

ROWS_A_BATCH = 16
MOST_PICTURE_BYTES = 1.5e9  # of training spectrograms that principal components are measured on
DRIFT_STEPS = 5
MEAN = "mean"


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


@dataclass(frozen=True)
class Section:
    title: str
    note: str
    unit: str = ""


SECTIONS = {
    "reconstruction": Section(
        "Reconstruction error",
        "Mean squared error in standardised units; lower is better. 'mean' answers every segment "
        "with the training split's mean spectrogram, 'dry' takes the dry channel for the wet one.",
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
        "at the setting in the middle; lower is better. 'detailed' adds to the cross-fade of the "
        "true ends what the decoder, from content and style alone, says the middle has beyond the "
        "cross-fade of its own ends.",
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
    with store.Reader(pairs, store.PAIRS) as reader:
        check_segments(reader, run)
        data = _Data(reader, run, progress)
        scores, confusion = _recognition(data)
        scores = [
            *_reconstruction(data),
            *_sound(data, n_sounds, progress),
            *scores,
            *_settings(data),
            *_leakage(data),
            *_ways(data, midpoints_per_effect, seed, progress),
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


class _Data:
    """The rows, their features, and the errors of what the model makes of the test rows."""

    def __init__(self, reader: store.Reader, run: Run, progress: Progress) -> None:
        self.reader, self.run, self.labels = reader, run, reader.labels
        self.remarks: list[str] = []
        labels = reader.labels
        tracks = np.array([r.get("track", i) for i, r in enumerate(labels.recordings)])
        self.track: NDArray[np.int64] = tracks[labels.recording].astype(np.int64)
        self.rows = probes.Rows(
            labels.rows_of(["train"]), labels.rows_of(["validation"]), self._unseen(), self.track
        )
        if not len(self.rows.train):
            raise InputError(f"{reader.path} has no rows of the split train to fit probes on.")
        if len(np.unique(labels.effect[self.rows.train])) < 2:
            self.remarks.append("one effect alone: nothing to recognise")
        self._read(progress)

    def _unseen(self) -> NDArray[np.int64]:
        """Test rows of recordings that the run was not trained on."""
        labels = self.labels
        rows = labels.rows_of(["test"])
        learnt = set(self.run.data.get("recordings", ()))
        kept = np.array([row for row in rows if labels.path_of(row) not in learnt], dtype=np.int64)
        if not len(kept):
            raise InputError(
                f"{self.reader.path} has no test rows of recordings that {self.run.path} was not "
                "trained on: render with a share for --test, or name other pairs."
            )
        if len(kept) < len(rows):
            self.remarks.append(f"{len(rows) - len(kept)} test rows left out: trained on")
        return kept

    def _read(self, progress: Progress) -> None:
        """Go through the file once: latents, baselines, and the test rows' errors."""
        rate = self.run.configuration.segments.sample_rate
        latent, mel, level, errors, spectral, trivial = [], [], [], [], [], []
        describe, described = Descriptors(*self.run.model.shape[1:]), []
        self.mean_picture = self._mean_picture()
        test = set(self.rows.test.tolist())
        progress.start("reading and embedding", len(self.labels), "segment")
        for rows, audio, spectrogram, constants in self._batches():
            embedded = self.run.embed(spectrogram)
            latent.append(embedded)
            mel.append(mel_features(audio, rate))
            level.append(level_db(audio))
            described.append(describe(torch.from_numpy(spectrogram)).numpy())
            of_test = np.array([row in test for row in rows.tolist()])
            if of_test.any():
                found = self._errors(spectrogram[of_test], constants[of_test], embedded[of_test])
                errors.append(found[0])
                spectral.append(found[1])
                trivial.append(found[2])
            progress.advance(len(rows))
        progress.finish()
        made = Latents(np.concatenate(latent), self.labels, *about(self.run))
        self.latent = made.latent
        self.effect_part, n_content = made.effect_part, made.n_content
        self.content_part = made.latent[:, :n_content] if n_content else None
        self.mel = np.concatenate(mel)
        self.descriptors = np.concatenate(described)
        self.level = np.concatenate(level)
        self.errors = np.concatenate(errors)  # (n_test, 2)
        self.spectral = np.concatenate(spectral)  # (n_test, 2, 2): model, dry as both
        self.trivial = np.concatenate(trivial)  # (n_test, 3): mean dry, mean wet, dry as wet

    def _batches(
        self,
    ) -> Iterator[tuple[NDArray[np.int64], Any, NDArray[np.float32], NDArray[np.float32]]]:
        for start in range(0, len(self.labels), ROWS_A_BATCH):
            rows = np.arange(start, min(start + ROWS_A_BATCH, len(self.labels)))
            audio = self.reader.rows(rows)
            yield rows, audio, *self.run.analyse(audio)

    def _mean_picture(self) -> NDArray[np.float32]:
        """(2, n_bins, n_frames): the mean of some training spectrograms."""
        some = self.rows.train[store.some_positions(len(self.rows.train), 64)]
        total: NDArray[np.float32] = self.run.analyse(self.reader.rows(np.unique(some)))[0].mean(
            axis=0
        )
        return total

    def _errors(
        self,
        spectrogram: NDArray[np.float32],
        constants: NDArray[np.float32],
        latent: NDArray[np.float32],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        config = self.run.spectrogram_config
        decoded = self.run.decode(latent)
        true = linear_magnitude(spectrogram, constants, config)
        ours = linear_magnitude(decoded, constants, config)
        dry = np.repeat(true[:, :1], 2, axis=1)
        spectral = np.stack([log_spectral_distance_db(each, true) for each in (ours, dry)], axis=2)
        trivial = np.stack(
            [
                *_squared(self.mean_picture[None], spectrogram).T,
                _squared(spectrogram[:, :1], spectrogram)[:, 1],
            ],
            axis=1,
        )
        return _squared(decoded, spectrogram), spectral, trivial

    @cached_property
    def principal(self) -> NDArray[np.float32]:
        """Principal components of the spectrograms, as many as the effect part has numbers."""
        size = int(np.prod(self.run.model.shape))
        most = max(2, int(MOST_PICTURE_BYTES // (4 * size)))
        train = self.rows.train
        some = train[store.some_positions(len(train), most)]
        pictures = np.concatenate(
            [
                self.run.analyse(self.reader.rows(some[i : i + ROWS_A_BATCH]))[0].reshape(-1, size)
                for i in range(0, len(some), ROWS_A_BATCH)
            ]
        )
        return probes.principal_features(
            pictures,
            lambda: (batch[2].reshape(-1, size) for batch in self._batches()),
            self.effect_part.shape[1],
        )

    def features(self) -> dict[str, NDArray[np.float32]]:
        return {
            "latent": self.effect_part,
            "descriptors": self.descriptors,
            "PCA": self.principal,
            "mel": self.mel,
        }

    @property
    def test_effect(self) -> NDArray[np.int64]:
        return self.labels.effect[self.rows.test]

    @property
    def test_track(self) -> NDArray[np.int64]:
        return self.track[self.rows.test]


def _squared(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean squared difference of each channel: (n, 2)."""
    return np.mean(np.square(a.astype(np.float64) - b), axis=(-2, -1))


def _each_effect(data: _Data) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """(name, positions among the test rows) of each effect, then of all."""
    for index, name in enumerate(data.labels.effect_names):
        members = np.flatnonzero(data.test_effect == index)
        if len(members):
            yield name, members
    yield MEAN, np.arange(len(data.rows.test))


def _reconstruction(data: _Data) -> list[Score]:
    scores = []
    for name, rows in _each_effect(data):
        groups = data.test_track[rows]
        for channel, kind in enumerate(("dry", "wet")):
            columns = {"model": data.errors[rows, channel], "mean": data.trivial[rows, channel]}
            if kind == "wet":
                columns["dry"] = data.trivial[rows, 2]
            for method, values in columns.items():
                found = probes.mean_estimate(values, groups)
                scores.append(Score("reconstruction", f"{name}, {kind}", method, found, len(rows)))
    for name, rows in _each_effect(data):
        groups = data.test_track[rows]
        for channel, kind in enumerate(("dry", "wet")):
            for number, method in enumerate(("model", "dry")[: channel + 1]):
                found = probes.mean_estimate(data.spectral[rows, channel, number], groups)
                scores.append(Score("spectral", f"{name}, {kind}", method, found, len(rows)))
    return scores


def _sound(data: _Data, n_sounds: int, progress: Progress) -> list[Score]:
    """Distances of sound: decoded, of the true magnitudes, and the dry recording."""
    if n_sounds < 1:
        return []
    config, run = data.run.spectrogram_config, data.run
    positions = store.some_positions(len(data.rows.test), n_sounds)
    rows = data.rows.test[positions]
    found: dict[tuple[str, str], list[float]] = {}
    progress.start("inverting", len(rows), "segment")
    for row in rows:
        audio = data.reader.rows(np.array([row]))
        spectrogram, constants = run.analyse(audio)
        decoded = run.decode(run.embed(spectrogram))
        magnitudes = {
            "model": linear_magnitude(decoded, constants, config)[0, 1],
            "inverted": linear_magnitude(spectrogram, constants, config)[0, 1],
        }
        dry, wet = audio[0]
        sounds = {
            method: invert(
                magnitude,
                config,
                config.n_samples,
                phase_from=dry,
                consistent=method == "inverted",
            ).audio
            for method, magnitude in magnitudes.items()
        }
        truth = run.analyse(np.stack([dry, wet])[None])
        true = linear_magnitude(*truth, config)[0, 1]
        for method, sound in {**sounds, "dry": dry}.items():
            heard = linear_magnitude(*run.analyse(np.stack([dry, sound])[None]), config)[0, 1]
            distance = float(log_spectral_distance_db(heard, true))
            found.setdefault(("log-spectral (dB)", method), []).append(distance)
            found.setdefault(("multi-resolution", method), []).append(
                multi_resolution_distance(sound, wet)
            )
        progress.advance()
    progress.finish()
    return [
        Score("sound", what, method, probes.mean_estimate(np.array(v), data.track[rows]), len(v))
        for (what, method), v in found.items()
    ]


def _recognition(data: _Data) -> tuple[list[Score], NDArray[np.int64]]:
    """How the effect is told from each kind of features, and the latent's confusion."""
    labels, classes, groups = data.labels, data.labels.effect, data.test_track
    n = len(labels.effects)
    confusion = np.zeros((n, n), dtype=np.int64)
    present = np.unique(data.test_effect)
    if len(np.unique(classes[data.rows.train])) < 2:
        return [], confusion
    scores = []
    for section, probe in (
        ("linear", probes.classify_linearly),
        ("neighbours", probes.classify_by_neighbours),
    ):
        for method, features in data.features().items():
            told = probe(features, classes, data.rows)
            if section == "linear" and method == "latent":
                confusion = probes.confusion(told, data.test_effect, n)
            for index in present:
                found = probes.recall(told, data.test_effect, groups, int(index))
                count = int(np.sum(data.test_effect == index))
                scores.append(Score(section, labels.effect_names[index], method, found, count))
            found = probes.mean_recall(told, data.test_effect, groups)
            scores.append(Score(section, MEAN, method, found, len(told)))
        chance = 1 / len(np.unique(classes[data.rows.train]))
        names = [labels.effect_names[index] for index in present]
        for name in [*names, MEAN]:
            scores.append(Score(section, name, "chance", Estimate(chance, chance, chance), 0))
    return _counted(scores), confusion


def _counted(scores: list[Score]) -> list[Score]:
    """Baselines without rows of their own take the count of what they stand beside."""
    counts = {(s.section, s.what): s.n for s in scores if s.n}
    return [s if s.n else replace(s, n=counts.get((s.section, s.what), 0)) for s in scores]


def _settings(data: _Data) -> list[Score]:
    """R² of every parameter that was varied, and the mean over parameters."""
    labels, rows = data.labels, data.rows
    scores: list[Score] = []
    told: dict[str, list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]] = {}
    for index, described in enumerate(labels.effects):
        effect = Effect.from_dict(described)
        own = {
            name: part[labels.effect[part] == index]
            for name, part in (
                ("train", rows.train),
                ("validation", rows.validation),
                ("test", rows.test),
            )
        }
        if len(own["train"]) < 10 or len(own["test"]) < 5:
            continue
        chosen = probes.Rows(own["train"], own["validation"], own["test"], rows.recording)
        for number, parameter in enumerate(effect.parameters):
            raw = labels.setting[:, number]
            values = np.full(len(labels), np.nan)
            members = np.concatenate(list(own.values()))
            values[members] = [parameter.position_of(float(value)) for value in raw[members]]
            if np.ptp(values[own["train"]]) == 0 or np.ptp(values[own["test"]]) == 0:
                continue
            what = f"{effect.name} {parameter.name}"
            for method, features in data.features().items():
                found = probes.regress(features, values, chosen)
                true, groups = values[own["test"]], data.track[own["test"]]
                score = probes.r_squared_estimate(found, true, groups)
                scores.append(Score("settings", what, method, score, len(true)))
                told.setdefault(method, []).append((own["test"], found, true))
    for method, parts in told.items():
        scores.append(Score("settings", MEAN, method, _mean_r_squared(data, parts), len(rows.test)))
    return scores


def _mean_r_squared(
    data: _Data, parts: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]
) -> Estimate:
    """The mean of R² over parameters; all parameters see the same draw of recordings."""
    places = [np.searchsorted(data.rows.test, rows) for rows, _, _ in parts]
    tables = []
    for place, (_, found, true) in zip(places, parts, strict=True):
        table = np.full((len(data.rows.test), 2), np.nan)
        table[place] = np.stack([found, true], axis=1)
        tables.append(table)

    def mean(rows: NDArray[np.int64]) -> float:
        scores = []
        for table in tables:
            drawn = table[rows]
            drawn = drawn[np.isfinite(drawn[:, 0])]
            if len(drawn) > 1:
                scores.append(probes.r_squared(drawn[:, 0], drawn[:, 1]))
        return float(np.nanmean(scores)) if scores else float("nan")

    return probes.estimate(mean, data.test_track)


def _leakage(data: _Data) -> list[Score]:
    """Level and speaker told from the effect's part, and from the rest for comparison."""
    parts = {"effect part": data.effect_part, "PCA": data.principal, "mel": data.mel}
    if data.content_part is not None:
        parts = {"effect part": data.effect_part, "content part": data.content_part, **parts}
    rows, labels = data.rows, data.labels
    scores = []
    level = data.level[:, 0]
    for method, features in parts.items():
        told = probes.regress(features, level, rows)
        found = probes.r_squared_estimate(told, level[rows.test], data.test_track)
        scores.append(
            Score("leakage", "level of the dry segment (R²)", method, found, len(rows.test))
        )
    kind, classes, groups = "speaker (folder)", _folders(labels), data.track
    kept = rows.test[probes.classes_with_groups(classes[rows.test], groups[rows.test])]
    if len(np.unique(classes[kept])) < 2:  # no folders: segments of one recording instead
        kind, classes, groups = "recording", data.track, np.arange(len(labels))
        kept = rows.test[probes.classes_with_groups(classes[rows.test], groups[rows.test])]
    n_classes = len(np.unique(classes[kept]))
    if n_classes < 2:
        data.remarks.append("no two recordings that could be told apart")
        return scores
    for method, features in parts.items():
        recognised = probes.cross_validated_classes(features[kept], classes[kept], groups[kept])
        found = probes.mean_recall(recognised, classes[kept], data.track[kept])
        scores.append(Score("leakage", f"{kind} recognised", method, found, len(kept)))
    chance = Estimate(1 / n_classes, 1 / n_classes, 1 / n_classes)
    scores.append(Score("leakage", f"{kind} recognised", "chance", chance, len(kept)))
    return scores


def _folders(labels: store.Labels) -> NDArray[np.int64]:
    names = [str(recording["folder"]) for recording in labels.recordings]
    return np.unique(names, return_inverse=True)[1][labels.recording].astype(np.int64)


# Ways through the latent space --------------------------------------------------------------------


def _ways(data: _Data, per_effect: int, seed: int, progress: Progress) -> list[Score]:
    """Midpoints of settings against their true rendering, and the drift of the dry channel."""
    if per_effect < 1:
        return []
    if find_spec("pedalboard") is None:
        data.remarks.append("no midpoints: pedalboard, which renders them, is not installed")
        return []
    effects = [Effect.from_dict(described) for described in data.labels.effects]
    moving = [index for index, effect in enumerate(effects) if effect.parameters]
    rng = np.random.default_rng([seed, 5])
    errors: dict[tuple[str, str], list[float]] = {}
    drifts: dict[str, list[float]] = {}
    groups: dict[str, list[int]] = {}
    progress.start("half way between settings", len(moving) * per_effect, "pair")
    for index in moving:
        own = data.rows.test[data.test_effect == index]
        for row in own[np.linspace(0, len(own) - 1, per_effect).astype(int)] if len(own) else []:
            try:
                found = _one_way(data, effects, index, int(row), rng)
            except DafxError as error:
                data.remarks.append(f"no midpoints of {effects[index].name}: {error}")
                break
            for method, value in found[0].items():
                errors.setdefault((effects[index].name, method), []).append(value)
            for what, value in found[1].items():
                drifts.setdefault(what, []).append(value)
            groups.setdefault(effects[index].name, []).append(int(data.track[row]))
            progress.advance()
    progress.finish()
    return _way_scores(errors, drifts, groups)


def _way_scores(
    errors: dict[tuple[str, str], list[float]],
    drifts: dict[str, list[float]],
    groups: dict[str, list[int]],
) -> list[Score]:
    scores = []
    every = np.array([track for tracks in groups.values() for track in tracks])
    for (name, method), values in errors.items():
        found = probes.mean_estimate(np.array(values), np.array(groups[name]))
        scores.append(Score("midpoint", name, method, found, len(values)))
    for method in dict.fromkeys(method for _, method in errors):
        values = [v for name in groups for v in errors[name, method]]
        found = probes.mean_estimate(np.array(values), every)
        scores.append(Score("midpoint", MEAN, method, found, len(values)))
    for what, values in drifts.items():
        known = np.isfinite(values)
        if not known.any():
            continue
        what, _, method = what.partition("|")
        found = probes.mean_estimate(np.array(values)[known], every[known])
        scores.append(Score("drift", what, method or "model", found, int(known.sum())))
    return scores


def _one_way(
    data: _Data, effects: Sequence[Effect], index: int, row: int, rng: np.random.Generator
) -> tuple[dict[str, float], dict[str, float]]:
    """Errors half way between two settings of one effect on one segment, and three drifts."""
    run, config = data.run, data.run.configuration.segments
    effect = effects[index].at(config.sample_rate)
    dry = data.reader.rows(np.array([row]))[0, 0]
    fixed = data.reader.configuration.get("fixed", [{}] * len(effects))
    a, b = (draw_setting(effect, rng, fixed[index]) for _ in range(2))
    # Between two names there is no middle: both ends have the same.
    b |= {p.name: a[p.name] for p in effect.parameters if p.choices}
    settings = [a, b, midway(effect, a, b)]
    after = (index + 1) % len(effects)
    try:
        other = effects[after].at(config.sample_rate)
        with_other = make_pair(dry, other, draw_setting(other, rng, fixed[after]), config)[0]
    except DafxError:  # a plugin that is not here: this effect's own figures do without it
        with_other = None
    others = data.rows.test[data.test_track != data.track[row]]
    elsewhere = others[rng.integers(len(others))] if len(others) else row
    pairs = [
        *(make_pair(dry, effect, setting, config)[0] for setting in settings),
        data.reader.rows(np.array([elsewhere]))[0],
        *([] if with_other is None else [with_other]),
    ]
    spectrogram, _ = run.analyse(np.stack(pairs))
    latent = run.embed(spectrogram)
    way = np.linspace(0, 1, DRIFT_STEPS, dtype=np.float32)[:, None]
    ends = [1, *range(3, len(pairs))]
    ways = [run.decode((1 - way) * latent[0] + way * latent[end]) for end in ends]
    drifts = [float(_squared(each[1:, :1], each[:1, :1]).mean()) for each in ways]
    true_a, true_b, truth = spectrogram[:3, 1]
    decoded_a, decoded, decoded_b = ways[0][[0, DRIFT_STEPS // 2, -1], 1]
    faded, own_faded = (true_a + true_b) / 2, (decoded_a + decoded_b) / 2
    told_a, told, told_b = run.foretell(
        np.stack([latent[0], (latent[0] + latent[1]) / 2, latent[1]])
    )
    guesses = {
        "model": decoded,
        "detailed": faded + told[1] - (told_a[1] + told_b[1]) / 2,
        "cross-fade": faded,
        "cross-fade of decoded": own_faded,
        "nearer end": min(true_a, true_b, key=lambda end: float(_squared(end, truth))),
    }
    errors = {name: float(_squared(guess, truth)) for name, guess in guesses.items()}
    same = int(row) == int(elsewhere)
    alone = with_other is None or after == index
    return errors, {
        "two settings|model": drifts[0],
        "two effects|model": float("nan") if alone else drifts[2],
        "two settings|other recording": float("nan") if same else drifts[1],
    }


def midway(effect: Effect, a: dict[str, float], b: dict[str, float]) -> dict[str, float]:
    """The setting in the middle, along each parameter's own scale."""
    return {
        parameter.name: parameter.value_at(
            (parameter.position_of(a[parameter.name]) + parameter.position_of(b[parameter.name]))
            / 2
        )
        for parameter in effect.parameters
    }


# Showing ------------------------------------------------------------------------------------------

DRAWN = {  # section: title of its panel
    "linear": "effect recognised, linear probe (share)",
    "neighbours": "effect recognised, 5 nearest neighbours (share)",
    "settings": "settings recovered (R²)",
    "reconstruction": "reconstruction (squared error)",
    "midpoint": "half way between two settings (squared error)",
    "leakage": "what else the latent tells",
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
