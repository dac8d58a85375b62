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
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import probes, store
from dafxtool.distances import (
    log_spectral_distance_db,
    multi_resolution_distance,
)
from dafxtool.evaluation_figures import Confusion, Intervals, draw_evaluation
from dafxtool.inversion import invert
from dafxtool.judged import CLOSED_FORM, Judged, Score
from dafxtool.latents import check_segments
from dafxtool.outputs import write_table
from dafxtool.parameters import Effect
from dafxtool.probes import Estimate
from dafxtool.progress import SILENT, Progress
from dafxtool.runs import Run
from dafxtool.spectrograms import linear_magnitude
from dafxtool.ways import ways

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
        data = Judged(reader, run, progress)
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


def _each_effect(data: Judged) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """(name, positions among the test rows) of each effect, then of all."""
    for index, name in enumerate(data.labels.effect_names):
        members = np.flatnonzero(data.test_effect == index)
        if len(members):
            yield name, members
    yield MEAN, np.arange(len(data.rows.test))


def _reconstruction(data: Judged) -> list[Score]:
    scores = []
    for name, rows in _each_effect(data):
        groups = data.test_track[rows]
        for channel, kind in enumerate(("dry", "wet")):
            columns = {"model": data.errors[rows, channel], "mean": data.trivial[rows, channel]}
            if kind == "wet":
                columns["dry"] = data.trivial[rows, 2]
            columns |= {
                method: values[rows, channel]
                for method, values in data.variants.items()
                if kind == "wet" or method == CLOSED_FORM
            }
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


def _sound(data: Judged, n_sounds: int, progress: Progress) -> list[Score]:
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
        decoded = run.decode(run.embed(spectrogram), spectrogram[:, 0])
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


def _recognition(data: Judged) -> tuple[list[Score], NDArray[np.int64]]:
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


def _settings(data: Judged) -> list[Score]:
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
    data: Judged, parts: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]
) -> Estimate:
    """The mean of R² over parameters; all parameters see the same draw of recordings."""
    tables = np.full((len(parts), len(data.rows.test)), np.nan)
    for table, (rows, found, true) in zip(tables, parts, strict=True):
        table[np.searchsorted(data.rows.test, rows)] = probes.told_shares(found, true)

    def mean(rows: NDArray[np.int64]) -> float:
        drawn = tables[:, rows]
        drawn = drawn[np.isfinite(drawn).any(axis=1)]
        return float(np.mean(np.nanmean(drawn, axis=1))) if len(drawn) else float("nan")

    return probes.estimate(mean, data.test_track)


def _leakage(data: Judged) -> list[Score]:
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
        # Several pairs may be of one segment, which is not to be met on both sides.
        places = np.stack([labels.recording, labels.offset], axis=1)
        segments = np.unique(places, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
        kind, classes, groups = "recording", data.track, segments
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
