"""Reconstruction, recognition, settings, leakage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.effects.effect import Effect
from dafxtool.evaluation import probes
from dafxtool.evaluation.features import CLOSED_FORM, EvaluationData
from dafxtool.evaluation.probes import Estimate
from dafxtool.evaluation.results import MEAN, Score
from dafxtool.spectrogram.metrics import log_spectral_distance_db, multi_resolution_distance
from dafxtool.spectrogram.phase_retrieval import invert
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils.progress import Progress


def _each_effect(data: EvaluationData) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """(name, positions among the test rows) of each effect, then of all."""
    for index, name in enumerate(data.labels.effect_names):
        members = np.flatnonzero(data.test_effect == index)
        if len(members):
            yield name, members
    yield MEAN, np.arange(len(data.rows.test))


def _reconstruction(data: EvaluationData) -> list[Score]:
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


def _sound(data: EvaluationData, n_sounds: int, progress: Progress) -> list[Score]:
    """Distances of sound: decoded, of the true magnitudes, and the dry recording."""
    if n_sounds < 1:
        return []
    config, run = data.run.spectrogram_config, data.run
    positions = storage.some_positions(len(data.rows.test), n_sounds)
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


def _recognition(data: EvaluationData) -> tuple[list[Score], NDArray[np.int64]]:
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


def _settings(data: EvaluationData) -> list[Score]:
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
            values[members] = [parameter.to_normalised(float(value)) for value in raw[members]]
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
    data: EvaluationData,
    parts: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]],
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


def _leakage(data: EvaluationData) -> list[Score]:
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


def _folders(labels: storage.Labels) -> NDArray[np.int64]:
    names = [str(recording["folder"]) for recording in labels.recordings]
    return np.unique(names, return_inverse=True)[1][labels.recording].astype(np.int64)
