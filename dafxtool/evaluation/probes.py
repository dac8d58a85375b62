"""Predict effects and settings from features with simple probes, and estimate intervals.

A probe is fitted to the training split. Its regularisation is selected on the validation split, or
by cross-validation over recordings if there is none. It is evaluated on the test split, whose
recordings neither the model nor the probe has seen. Intervals come from the bootstrap over
recordings: rows of one recording are not independent, so recordings are resampled, not rows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
N_NEIGHBOURS = 5
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse regularisation of the logistic regression
RIDGES = tuple(float(10.0**power) for power in range(-1, 7))  # on standardised features
N_RESAMPLES = 1000
EQUAL = 1e-6  # standard deviation relative to the largest value, of values that are equal
N_FOLDS = 5


@dataclass(frozen=True)
class Estimate:
    """A score and its 95% interval by the bootstrap over recordings."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class ProbeSplits:
    """Rows to fit a probe to, to select its regularisation on, and to evaluate it on."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    recording: NDArray[np.int64]  # (n,) recording of every row of the file


def estimate(
    statistic: Callable[[NDArray[np.int64]], float], groups: NDArray[np.int64], seed: int = 0
) -> Estimate:
    """Estimate a statistic of rows and its 95% percentile interval over resampled groups.

    statistic  function of row indices; rows of a group that is drawn twice come twice
    groups     (n,) recording of each row

    Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    names, members = _members(groups)
    value = float(statistic(np.concatenate(members)))
    if len(names) < 2:  # one recording gives no variance between recordings
        return Estimate(value, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    resampled = []
    for _ in range(N_RESAMPLES):
        # Sorted, so that a draw of every group once equals the value to the last bit.
        sampled = np.sort(rng.integers(0, len(names), len(names)))
        resampled.append(statistic(np.concatenate([members[i] for i in sampled])))
    finite = np.array(resampled)[np.isfinite(resampled)]
    if not len(finite):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(finite, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def mean_estimate(
    values: NDArray[np.float64], groups: NDArray[np.int64], seed: int = 0
) -> Estimate:
    """Estimate the mean of values (n,) and its interval; NaN values have no weight."""
    finite = np.isfinite(values)
    if not finite.any():
        return Estimate(float("nan"), float("nan"), float("nan"))
    values, groups = values[finite], groups[finite]
    return estimate(lambda rows: float(np.mean(values[rows])), groups, seed)


def _members(groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return the different groups and the rows of each."""
    names, inverse = np.unique(groups, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    edges = np.searchsorted(inverse[order], np.arange(1, len(names)))
    return names, np.split(order, edges)


# --- classification -------------------------------------------------------------------------------


def classify_linearly(
    features: Features, classes: NDArray[np.int64], rows: ProbeSplits
) -> NDArray[np.int64]:
    """Predict the classes of the test rows by logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression

    scaled = _standardised(features, rows.train)

    def fitted(strength: float, chosen: NDArray[np.int64]) -> LogisticRegression:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the score shows whether a fit has converged
            return LogisticRegression(C=strength, max_iter=500).fit(scaled[chosen], classes[chosen])

    def score(strength: float) -> float:
        accuracies = [
            fitted(strength, train).score(scaled[held_out], classes[held_out])
            for train, held_out in _selection_splits(rows, classes)
        ]
        return float(np.mean(accuracies))

    best = max(STRENGTHS, key=score)
    predicted: NDArray[np.int64] = fitted(best, rows.train).predict(scaled[rows.test])
    return predicted


def classify_by_neighbours(
    features: Features, classes: NDArray[np.int64], rows: ProbeSplits
) -> NDArray[np.int64]:
    """Predict the classes of the test rows by the vote of the 5 nearest training rows.

    Distances are between standardised features.
    """
    from sklearn.neighbors import KNeighborsClassifier

    scaled = _standardised(features, rows.train)
    n_neighbours = min(N_NEIGHBOURS, len(rows.train))
    classifier = KNeighborsClassifier(n_neighbours).fit(scaled[rows.train], classes[rows.train])
    predicted: NDArray[np.int64] = classifier.predict(scaled[rows.test])
    return predicted


def recall(
    predicted: NDArray[np.int64], classes: NDArray[np.int64], groups: NDArray[np.int64], label: int
) -> Estimate:
    """Estimate the recall of one class: the share of its rows that were predicted as it.

    NaN if every row has the same prediction but not the same class: the recall of that class would
    be 1 without any recognition.
    """
    if len(np.unique(predicted)) == 1 < len(np.unique(classes)):
        return Estimate(float("nan"), float("nan"), float("nan"))
    rows = np.flatnonzero(classes == label)
    return mean_estimate((predicted[rows] == label).astype(np.float64), groups[rows])


def mean_recall(
    predicted: NDArray[np.int64], classes: NDArray[np.int64], groups: NDArray[np.int64]
) -> Estimate:
    """Estimate the mean recall over classes; chance is one over the number of classes."""
    is_correct = predicted == classes
    names = np.unique(classes)

    def balanced(rows: NDArray[np.int64]) -> float:
        by_class = [is_correct[rows][classes[rows] == name] for name in names]
        return float(np.mean([each.mean() for each in by_class if len(each)]))

    return estimate(balanced, groups)


def confusion(
    predicted: NDArray[np.int64], classes: NDArray[np.int64], n_classes: int
) -> NDArray[np.int64]:
    """Count rows of class i that were predicted as class j: (n_classes, n_classes)."""
    table = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(table, (classes, predicted), 1)
    return table


def cross_validated_classes(
    features: Features, classes: NDArray[np.int64], groups: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Predict the class of every row by a linear probe that was not fitted to its group."""
    from sklearn.model_selection import StratifiedGroupKFold

    n_folds = min(N_FOLDS, _fewest_groups(classes, groups))
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
    predicted = np.empty(len(classes), dtype=np.int64)
    for train, test in folds.split(features, classes, groups):
        rows = ProbeSplits(train, train[:0], test, groups)
        predicted[test] = classify_linearly(features, classes, rows)
    return predicted


def _fewest_groups(classes: NDArray[np.int64], groups: NDArray[np.int64]) -> int:
    """Return the number of groups of the class with the fewest."""
    return min(len(np.unique(groups[classes == name])) for name in np.unique(classes))


def classes_with_groups(
    classes: NDArray[np.int64], groups: NDArray[np.int64], fewest: int = 2
) -> NDArray[np.int64]:
    """Return the rows that can be cross-validated: their class has at least `fewest` groups."""
    counts = {name: len(np.unique(groups[classes == name])) for name in np.unique(classes)}
    return np.flatnonzero([counts[name] >= fewest for name in classes])


# --- regression -----------------------------------------------------------------------------------


def regress(
    features: Features, values: NDArray[np.float64], rows: ProbeSplits
) -> NDArray[np.float64]:
    """Predict the values of the test rows by ridge regression on standardised features."""
    from sklearn.linear_model import Ridge

    scaled = _standardised(features, rows.train).astype(np.float64)

    def fitted(strength: float, chosen: NDArray[np.int64]) -> Ridge:
        return Ridge(alpha=strength).fit(scaled[chosen], values[chosen])

    def error(strength: float) -> float:
        errors = [
            np.mean(np.square(fitted(strength, train).predict(scaled[held_out]) - values[held_out]))
            for train, held_out in _selection_splits(rows, None)
        ]
        return float(np.mean(errors))

    best = min(RIDGES, key=error)
    predicted: NDArray[np.float64] = fitted(best, rows.train).predict(scaled[rows.test])
    return predicted


def r_squared(predicted: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Compute R², the explained share of the variance: 1 is all of it, 0 is the mean's."""
    return float(np.mean(r_squared_terms(predicted, values)))


def r_squared_terms(
    predicted: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return 1 - squared error / variance (n,), with mean R²; NaN for values equal to rounding."""
    variance = float(np.var(values))
    if math.sqrt(variance) <= EQUAL * float(np.abs(values).max(initial=0.0)):
        return np.full(len(values), np.nan)
    terms: NDArray[np.float64] = 1.0 - np.square(predicted - values) / variance
    return terms


def r_squared_estimate(
    predicted: NDArray[np.float64], values: NDArray[np.float64], groups: NDArray[np.int64]
) -> Estimate:
    """Estimate R² and its interval.

    Every resample uses the variance of all rows. A resample of few recordings may have almost no
    variance of its own, and its R² would be far below zero.
    """
    return mean_estimate(r_squared_terms(predicted, values), groups)


def _selection_splits(
    rows: ProbeSplits, classes: NDArray[np.int64] | None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (fit, held-out) rows to select a regularisation: the validation split, or folds.

    classes  of every row; a split whose held-out rows have a class of their own is not used
    """
    from sklearn.model_selection import GroupKFold

    train, recording = rows.train, rows.recording
    has_classes = classes is None or set(classes[rows.validation]) <= set(classes[train])
    if len(rows.validation) > 1 and has_classes:
        yield train, rows.validation
        return
    n_groups = len(np.unique(recording[train]))
    if n_groups < 2:
        yield train, train
        return
    folds = GroupKFold(min(N_FOLDS, n_groups))
    for fit, held_out in folds.split(train, groups=recording[train]):
        if classes is None or len(np.unique(classes[train[fit]])) > 1:
            yield train[fit], train[held_out]


def _standardised(features: Features, train: NDArray[np.int64]) -> Features:
    """Scale features to mean 0 and standard deviation 1 on the training rows; constants to 0."""
    values = np.asarray(features, dtype=np.float32)
    mean, std = values[train].mean(axis=0), values[train].std(axis=0)
    is_constant = std < 1e-6 * max(float(std.max(initial=0.0)), 1e-12)
    return ((values - mean) / np.where(is_constant, 1.0, std) * ~is_constant).astype(np.float32)


def principal_features(
    spectrograms: Features, batches: Callable[[], Iterator[Features]], n_features: int
) -> Features:
    """Fit principal components to some spectrograms and apply them to all rows.

    spectrograms  (n, size); changed in place, as they may be gigabytes
    batches       returns batches (m, size) of all rows, in order
    """
    from sklearn.decomposition import PCA

    n = max(1, min(n_features, len(spectrograms) - 1))
    pca = PCA(n, svd_solver="randomized", random_state=0, copy=False).fit(spectrograms)
    return np.concatenate([pca.transform(batch.copy()) for batch in batches()]).astype(np.float32)
