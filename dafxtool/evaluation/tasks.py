"""Compute the scores of reconstruction, recognition, regression of settings, and leakage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.effects.effect import Effect
from dafxtool.evaluation import probes
from dafxtool.evaluation.audibility import AUDIBLE_DB, N_SETTINGS, parameter_changes_db
from dafxtool.evaluation.features import CLOSED_FORM, EvaluationData
from dafxtool.evaluation.probes import Estimate
from dafxtool.evaluation.results import AUDIBLE_MEAN, MEAN, Score
from dafxtool.spectrogram.metrics import log_spectral_distance_db, multi_resolution_distance
from dafxtool.spectrogram.phase_retrieval import invert
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils.progress import Progress

# Test rows, predicted values and true values of one parameter.
Prediction = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def _each_effect(data: EvaluationData) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield the name and the indices among the test rows of each effect, then of all effects."""
    for index, name in enumerate(data.labels.effect_names):
        members = np.flatnonzero(data.test_effect == index)
        if len(members):
            yield name, members
    yield MEAN, np.arange(len(data.rows.test))


def reconstruction_scores(data: EvaluationData) -> list[Score]:
    """Score decoded spectrograms: squared errors, and log-spectral distances of magnitudes."""
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
                error = probes.mean_estimate(values, groups)
                scores.append(Score("reconstruction", f"{name}, {kind}", method, error, len(rows)))
    for name, rows in _each_effect(data):
        groups = data.test_track[rows]
        for channel, kind in enumerate(("dry", "wet")):
            for number, method in enumerate(("model", "dry")[: channel + 1]):
                distance = probes.mean_estimate(data.spectral[rows, channel, number], groups)
                scores.append(Score("spectral", f"{name}, {kind}", method, distance, len(rows)))
    return scores


def audio_scores(data: EvaluationData, n_sounds: int, progress: Progress) -> list[Score]:
    """Score the wet audio of some test rows.

    Methods: inverted from the decoded magnitudes, inverted from the true ones, and the dry channel.
    """
    if n_sounds < 1:
        return []
    config, run = data.run.spectrogram_config, data.run
    positions = storage.some_positions(len(data.rows.test), n_sounds)
    rows = data.rows.test[positions]
    distances: dict[tuple[str, str], list[float]] = {}
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
        inverted = {
            method: invert(
                magnitude,
                config,
                config.n_samples,
                phase_from=dry,
                consistent=method == "inverted",
            ).audio
            for method, magnitude in magnitudes.items()
        }
        true = _wet_magnitude(data, dry, wet)
        for method, estimate in {**inverted, "dry": dry}.items():
            by_measure = {
                "log-spectral (dB)": float(
                    log_spectral_distance_db(_wet_magnitude(data, dry, estimate), true)
                ),
                "multi-resolution": multi_resolution_distance(estimate, wet),
            }
            for measure, distance in by_measure.items():
                distances.setdefault((measure, method), []).append(distance)
        progress.advance()
    progress.finish()
    return [
        Score("sound", measure, method, probes.mean_estimate(np.array(v), data.track[rows]), len(v))
        for (measure, method), v in distances.items()
    ]


def _wet_magnitude(
    data: EvaluationData, dry: NDArray[np.float32], wet: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Analyse a pair of (n_samples,) and return the linear magnitudes of its wet channel."""
    analysed = data.run.analyse(np.stack([dry, wet])[None])
    magnitude: NDArray[np.float32] = linear_magnitude(*analysed, data.run.spectrogram_config)[0, 1]
    return magnitude


def recognition_scores(data: EvaluationData) -> tuple[list[Score], NDArray[np.int64]]:
    """Score recognition of the effect from each kind of features.

    Returns the scores, and the confusion matrix (n_effects, n_effects) of the linear probe on the
    latent.
    """
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
            predicted = probe(features, classes, data.rows)
            if section == "linear" and method == "latent":
                confusion = probes.confusion(predicted, data.test_effect, n)
            for index in present:
                recall = probes.recall(predicted, data.test_effect, groups, int(index))
                count = int(np.sum(data.test_effect == index))
                scores.append(Score(section, labels.effect_names[index], method, recall, count))
            mean = probes.mean_recall(predicted, data.test_effect, groups)
            scores.append(Score(section, MEAN, method, mean, len(predicted)))
        chance = 1 / len(np.unique(classes[data.rows.train]))
        names = [labels.effect_names[index] for index in present]
        for name in [*names, MEAN]:
            scores.append(Score(section, name, "chance", Estimate(chance, chance, chance), 0))
    return _with_counts(scores), confusion


def _with_counts(scores: list[Score]) -> list[Score]:
    """Give baselines without rows the count of the scores that they are compared with."""
    counts = {(s.section, s.what): s.n for s in scores if s.n}
    return [s if s.n else replace(s, n=counts.get((s.section, s.what), 0)) for s in scores]


def setting_scores(data: EvaluationData) -> list[Score]:
    """Score regression: R² of every parameter that was varied, and means over parameters.

    One mean is over all parameters, one over those that are audible by `parameter_changes_db`.
    """
    labels, rows = data.labels, data.rows
    scores: list[Score] = []
    changes: list[Score] = []
    predictions: dict[str, dict[str, Prediction]] = {}
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
        splits = probes.ProbeSplits(own["train"], own["validation"], own["test"], rows.recording)
        changes_db = parameter_changes_db(data, index)
        for number, parameter in enumerate(effect.parameters):
            raw = labels.setting[:, number]
            values = np.full(len(labels), np.nan)
            members = np.concatenate(list(own.values()))
            values[members] = [parameter.to_normalised(float(value)) for value in raw[members]]
            if np.ptp(values[own["train"]]) == 0 or np.ptp(values[own["test"]]) == 0:
                continue
            what = f"{effect.name} {parameter.name}"
            for method, features in _setting_features(data).items():
                predicted = probes.regress(features, values, splits)
                true, groups = values[own["test"]], data.track[own["test"]]
                score = probes.r_squared_estimate(predicted, true, groups)
                scores.append(Score("settings", what, method, score, len(true)))
                predictions.setdefault(method, {})[what] = (own["test"], predicted, true)
            if parameter.name in changes_db:
                change = Estimate(*[changes_db[parameter.name]] * 3)
                changes.append(Score("audibility", what, "change", change, N_SETTINGS))
    audible = {change.what for change in changes if change.estimate.value > AUDIBLE_DB}
    for method, parts in predictions.items():
        for mean, selected in (
            (MEAN, list(parts.values())),
            (AUDIBLE_MEAN, [parts[what] for what in parts if what in audible]),
        ):
            if selected:
                r_squared = _mean_r_squared(data, selected)
                scores.append(Score("settings", mean, method, r_squared, len(rows.test)))
    return [*scores, *changes]


def _setting_features(data: EvaluationData) -> dict[str, NDArray[np.float32]]:
    """Return the features that settings are predicted from: the effect's own level, too."""
    features = data.features()
    if np.isfinite(data.own_level).all():
        features["level"] = data.own_level[:, None].astype(np.float32)
    return features


def _mean_r_squared(data: EvaluationData, predictions: list[Prediction]) -> Estimate:
    """Estimate the mean of R² over parameters, with the same resample for all parameters."""
    tables = np.full((len(predictions), len(data.rows.test)), np.nan)
    for table, (rows, predicted, true) in zip(tables, predictions, strict=True):
        table[np.searchsorted(data.rows.test, rows)] = probes.r_squared_terms(predicted, true)

    def mean(rows: NDArray[np.int64]) -> float:
        resampled = tables[:, rows]
        resampled = resampled[np.isfinite(resampled).any(axis=1)]
        return float(np.mean(np.nanmean(resampled, axis=1))) if len(resampled) else float("nan")

    return probes.estimate(mean, data.test_track)


def leakage_scores(data: EvaluationData) -> list[Score]:
    """Score leakage: level and speaker predicted from the effect part of the latent.

    The content part, principal components and mel features are there for comparison.
    """
    parts = {"effect part": data.effect_part, "PCA": data.principal, "mel": data.mel}
    if data.content_part is not None:
        parts = {"effect part": data.effect_part, "content part": data.content_part, **parts}
    rows, labels = data.rows, data.labels
    scores = []
    level = data.level[:, 0]
    for method, features in parts.items():
        predicted = probes.regress(features, level, rows)
        score = probes.r_squared_estimate(predicted, level[rows.test], data.test_track)
        scores.append(
            Score("leakage", "level of the dry segment (R²)", method, score, len(rows.test))
        )
    kind, classes, groups = "speaker (folder)", _folders(labels), data.track
    selected = rows.test[probes.classes_with_groups(classes[rows.test], groups[rows.test])]
    if len(np.unique(classes[selected])) < 2:  # too few folders: recognise the recording instead
        # Pairs of one segment stay on one side of the cross-validation.
        offsets = np.stack([labels.recording, labels.offset], axis=1)
        segments = np.unique(offsets, axis=0, return_inverse=True)[1].ravel().astype(np.int64)
        kind, classes, groups = "recording", data.track, segments
        selected = rows.test[probes.classes_with_groups(classes[rows.test], groups[rows.test])]
    n_classes = len(np.unique(classes[selected]))
    if n_classes < 2:
        data.remarks.append("fewer than two recordings: recognition of recordings is not evaluated")
        return scores
    for method, features in parts.items():
        identified = probes.cross_validated_classes(
            features[selected], classes[selected], groups[selected]
        )
        recall = probes.mean_recall(identified, classes[selected], data.track[selected])
        scores.append(Score("leakage", f"{kind} recognised", method, recall, len(selected)))
    chance = Estimate(1 / n_classes, 1 / n_classes, 1 / n_classes)
    scores.append(Score("leakage", f"{kind} recognised", "chance", chance, len(selected)))
    return scores


def _folders(labels: storage.Labels) -> NDArray[np.int64]:
    """Return an index of the folder of each row's recording."""
    names = [str(recording["folder"]) for recording in labels.recordings]
    return np.unique(names, return_inverse=True)[1][labels.recording].astype(np.int64)
