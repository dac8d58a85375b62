"""Probes: how well simple methods tell effects and settings from features, with intervals.

A probe is fitted on the rows of the training split, its strength is chosen on the validation
split (without one, by cross-validation over recordings), and it is judged on the test split, whose
recordings neither the model nor the probe has met. Intervals come from the bootstrap over
recordings: rows of one recording are not independent, so recordings are drawn, not rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
N_NEIGHBOURS = 5
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse regularisation of the logistic regression
RIDGES = tuple(float(10.0**power) for power in range(-1, 7))  # on standardised features
N_DRAWS = 1000
N_FOLDS = 5


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95% interval, by the bootstrap over recordings."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Rows:
    """Which rows a probe is fitted on, its strength is chosen on, and it is judged on."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    recording: NDArray[np.int64]  # (n,) of every row


def estimate(
    statistic: Callable[[NDArray[np.int64]], float], groups: NDArray[np.int64], seed: int = 0
) -> Estimate:
    """A statistic of rows and its 95% percentile interval over draws of groups.

    statistic  a function of row indices; rows of a group that is drawn twice come twice
    groups     (n,) the recording of each row

    Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    names, members = _members(groups)
    value = float(statistic(np.concatenate(members)))
    if len(names) < 2:  # of one recording nothing is known about others
        return Estimate(value, float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(N_DRAWS):
        # In one order, so that a draw of every group once is the value itself, to the last bit.
        drawn = np.sort(rng.integers(0, len(names), len(names)))
        draws.append(statistic(np.concatenate([members[i] for i in drawn])))
    kept = np.array(draws)[np.isfinite(draws)]
    if not len(kept):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.percentile(kept, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def mean_estimate(
    values: NDArray[np.float64], groups: NDArray[np.int64], seed: int = 0
) -> Estimate:
    """The mean of values (n,) and its interval."""
    return estimate(lambda rows: float(np.mean(values[rows])), groups, seed)


def _members(groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    names, inverse = np.unique(groups, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    edges = np.searchsorted(inverse[order], np.arange(1, len(names)))
    return names, np.split(order, edges)


# Telling classes ----------------------------------------------------------------------------------


def classify_linearly(
    features: Features, classes: NDArray[np.int64], rows: Rows
) -> NDArray[np.int64]:
    """Classes of the test rows, by logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression

    scaled = _standardised(features, rows.train)

    def fitted(strength: float, chosen: NDArray[np.int64]) -> LogisticRegression:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # a fit that has not quite converged is told by its score
            return LogisticRegression(C=strength, max_iter=500).fit(scaled[chosen], classes[chosen])

    def score(strength: float) -> float:
        found = [
            fitted(strength, fit).score(scaled[judge], classes[judge])
            for fit, judge in _choices(rows, classes)
        ]
        return float(np.mean(found))

    best = max(STRENGTHS, key=score)
    told: NDArray[np.int64] = fitted(best, rows.train).predict(scaled[rows.test])
    return told


def classify_by_neighbours(
    features: Features, classes: NDArray[np.int64], rows: Rows
) -> NDArray[np.int64]:
    """Classes of the test rows, by the vote of the 5 nearest rows of the training split.

    Distances are between features divided by their deviations.
    """
    from sklearn.neighbors import KNeighborsClassifier

    scaled = _standardised(features, rows.train)
    n_neighbours = min(N_NEIGHBOURS, len(rows.train))
    voter = KNeighborsClassifier(n_neighbours).fit(scaled[rows.train], classes[rows.train])
    told: NDArray[np.int64] = voter.predict(scaled[rows.test])
    return told


def recall(
    told: NDArray[np.int64], classes: NDArray[np.int64], groups: NDArray[np.int64], of: int
) -> Estimate:
    """The share of one class's rows that were told as it."""
    rows = np.flatnonzero(classes == of)
    return mean_estimate((told[rows] == of).astype(np.float64), groups[rows])


def mean_recall(
    told: NDArray[np.int64], classes: NDArray[np.int64], groups: NDArray[np.int64]
) -> Estimate:
    """The mean of every class's share: chance is one over the number of classes."""
    right = told == classes
    names = np.unique(classes)

    def balanced(rows: NDArray[np.int64]) -> float:
        of_each = [right[rows][classes[rows] == name] for name in names]
        return float(np.mean([each.mean() for each in of_each if len(each)]))

    return estimate(balanced, groups)


def confusion(
    told: NDArray[np.int64], classes: NDArray[np.int64], n_classes: int
) -> NDArray[np.int64]:
    """(n_classes, n_classes): how many rows of class i were told as class j."""
    table = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(table, (classes, told), 1)
    return table


def cross_validated_classes(
    features: Features, classes: NDArray[np.int64], groups: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Classes of all rows, each told by a linear probe that has not met its group."""
    from sklearn.model_selection import StratifiedGroupKFold

    n_folds = min(N_FOLDS, _fewest_groups(classes, groups))
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
    told = np.empty(len(classes), dtype=np.int64)
    for fit, judge in folds.split(features, classes, groups):
        told[judge] = classify_linearly(features, classes, Rows(fit, fit[:0], judge, groups))
    return told


def _fewest_groups(classes: NDArray[np.int64], groups: NDArray[np.int64]) -> int:
    """How many groups the class with the fewest has."""
    return min(len(np.unique(groups[classes == name])) for name in np.unique(classes))


def classes_with_groups(
    classes: NDArray[np.int64], groups: NDArray[np.int64], fewest: int = 2
) -> NDArray[np.int64]:
    """Rows whose class has at least this many groups: those that can be cross-validated."""
    counts = {name: len(np.unique(groups[classes == name])) for name in np.unique(classes)}
    return np.flatnonzero([counts[name] >= fewest for name in classes])


# Telling numbers ----------------------------------------------------------------------------------


def regress(features: Features, values: NDArray[np.float64], rows: Rows) -> NDArray[np.float64]:
    """Values of the test rows, by ridge regression on standardised features."""
    from sklearn.linear_model import Ridge

    scaled = _standardised(features, rows.train).astype(np.float64)

    def fitted(strength: float, chosen: NDArray[np.int64]) -> Ridge:
        return Ridge(alpha=strength).fit(scaled[chosen], values[chosen])

    def error(strength: float) -> float:
        found = [
            np.mean(np.square(fitted(strength, fit).predict(scaled[judge]) - values[judge]))
            for fit, judge in _choices(rows, None)
        ]
        return float(np.mean(found))

    best = min(RIDGES, key=error)
    told: NDArray[np.float64] = fitted(best, rows.train).predict(scaled[rows.test])
    return told


def r_squared(told: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The share of the variance that is told: 1 all of it, 0 no better than the mean, or worse."""
    return float(np.mean(told_shares(told, values)))


def told_shares(told: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) 1 - squared error / variance of the values: their mean is R². NaN of equal values."""
    spread = float(np.var(values))
    if spread == 0:
        return np.full(len(values), np.nan)
    shares: NDArray[np.float64] = 1.0 - np.square(told - values) / spread
    return shares


def r_squared_estimate(
    told: NDArray[np.float64], values: NDArray[np.float64], groups: NDArray[np.int64]
) -> Estimate:
    """R² and its interval.

    The variance is that of all rows in every draw of groups: a draw of few recordings, or of one
    several times, may have next to none of its own, and R² by it would be minus hundreds.
    """
    return mean_estimate(told_shares(told, values), groups)


def _choices(
    rows: Rows, classes: NDArray[np.int64] | None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(fit, judge) to choose a strength by: the validation split, or folds over recordings."""
    from sklearn.model_selection import GroupKFold

    train, recording = rows.train, rows.recording
    seen = classes is None or set(classes[rows.validation]) <= set(classes[train])
    if len(rows.validation) > 1 and seen:
        yield train, rows.validation
        return
    n_groups = len(np.unique(recording[train]))
    if n_groups < 2:
        yield train, train
        return
    for fit, judge in GroupKFold(min(N_FOLDS, n_groups)).split(train, groups=recording[train]):
        if classes is None or len(np.unique(classes[train[fit]])) > 1:
            yield train[fit], train[judge]


def _standardised(features: Features, train: NDArray[np.int64]) -> Features:
    """Mean 0 and deviation 1 on the training rows; a feature that never changes is 0."""
    values = np.asarray(features, dtype=np.float32)
    mean, deviation = values[train].mean(axis=0), values[train].std(axis=0)
    still = deviation < 1e-6 * max(float(deviation.max(initial=0.0)), 1e-12)
    return ((values - mean) / np.where(still, 1.0, deviation) * ~still).astype(np.float32)


def principal_features(
    pictures: Features, rest: Callable[[], Iterator[Features]], n_features: int
) -> Features:
    """Principal components of pictures, measured on `pictures` (n, size) and applied to `rest`.

    pictures  gigabytes, perhaps: they are worked on where they are, and of no use afterwards
    rest      batches (m, size) of all rows, in order
    """
    from sklearn.decomposition import PCA

    n = max(1, min(n_features, len(pictures) - 1))
    pca = PCA(n, svd_solver="randomized", random_state=0, copy=False).fit(pictures)
    return np.concatenate([pca.transform(batch.copy()) for batch in rest()]).astype(np.float32)
