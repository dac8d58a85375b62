"""Probes: known predictions, chance on noise, and intervals of the right width."""

import numpy as np
import pytest

from dafxtool.evaluation.probes import (
    ProbeSplits,
    classes_with_groups,
    classify_by_neighbours,
    classify_linearly,
    confusion,
    cross_validated_classes,
    estimate,
    mean_estimate,
    mean_recall,
    principal_features,
    r_squared,
    r_squared_estimate,
    regress,
)

N = 400


def rows_of(n: int = N) -> ProbeSplits:
    index = np.arange(n)
    parts = np.split(index, [n // 2, n // 2 + n // 8])
    return ProbeSplits(*parts, recording=index // 4)


def clusters(spread: float, seed: int = 0):
    """Three classes as clouds of points in 10 dimensions."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, N)
    features = 3 * np.eye(3, 10)[classes] + spread * rng.standard_normal((N, 10))
    return features.astype(np.float32), classes


@pytest.mark.parametrize("probe", [classify_linearly, classify_by_neighbours])
def test_separate_classes_are_predicted_and_noise_is_not(probe):
    rows = rows_of()
    features, classes = clusters(0.3)
    assert (probe(features, classes, rows) == classes[rows.test]).all()
    noise = np.random.default_rng(1).standard_normal((N, 10)).astype(np.float32)
    result = mean_recall(probe(noise, classes, rows), classes[rows.test], rows.test // 4)
    assert result.low < 1 / 3 < result.high


def test_shuffled_labels_score_at_chance():
    """Features that encode the true classes do not predict shuffled ones."""
    features, _ = clusters(0.3)
    shuffled = np.random.default_rng(2).integers(0, 3, N)
    rows = rows_of()
    predicted = classify_linearly(features, shuffled, rows)
    result = mean_recall(predicted, shuffled[rows.test], rows.test // 4)
    assert result.low < 1 / 3 < result.high


def test_a_linear_setting_is_predicted_and_noise_is_not():
    rng = np.random.default_rng(0)
    rows = rows_of()
    features = rng.standard_normal((N, 30)).astype(np.float32)
    values = features[:, 3] - 2 * features[:, 7] + 0.5 * rng.standard_normal(N)
    predicted = regress(features, values, rows)
    # No probe predicts the added noise: 1 - 0.25 / 5.25.
    assert r_squared(predicted, values[rows.test]) == pytest.approx(1 - 0.25 / 5.25, abs=0.03)
    shuffled = rng.permutation(values)
    result = r_squared(regress(features, shuffled, rows), shuffled[rows.test])
    assert -0.1 < result < 0.1


def test_memorised_features_do_not_help():
    """Features that hold the value for training rows and noise for others give no score."""
    rng = np.random.default_rng(0)
    rows = rows_of()
    values = rng.standard_normal(N)
    features = rng.standard_normal((N, 20)).astype(np.float32)
    features[rows.train, 0] = values[rows.train]
    result = r_squared(regress(features, values, rows), values[rows.test])
    assert -0.15 < result < 0.1


def test_r_squared_of_exact_mean_and_wrong_predictions():
    values = np.array([1.0, 2.0, 3.0, 6.0])
    assert r_squared(values, values) == 1.0
    assert r_squared(np.full(4, 3.0), values) == 0.0
    assert r_squared(values[::-1], values) < 0
    assert np.isnan(r_squared(values, np.ones(4)))


def test_recordings_of_almost_constant_values_give_a_narrow_interval():
    """A resample of one of two nearly constant recordings has hardly any variance of its own."""
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 20)
    values = groups + 1e-3 * rng.standard_normal(40)
    predicted = values + 0.1 * rng.standard_normal(40)
    result = r_squared_estimate(predicted, values, groups)
    assert result.value == r_squared(predicted, values)
    # The error is 0.01 of a variance of 0.25.
    assert 0.9 < result.low <= result.value <= result.high < 1


def test_a_resample_of_every_group_once_gives_the_value():
    """Rows in another order would change the last bit, and put the value outside its interval."""
    resamples = []

    def statistic(rows):
        resamples.append(rows)
        return 0.0

    estimate(statistic, np.array([1, 0, 1, 0, 0]))
    each_once = [rows for rows in resamples if sorted(rows) == [0, 1, 2, 3, 4]]
    assert len(each_once) > len(resamples) / 4
    assert all((rows == resamples[0]).all() for rows in each_once)


def test_the_interval_is_that_of_the_mean_over_recordings():
    """Four equal rows of a recording count as one: 1.96 std over the root of 100."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(100)
    result = mean_estimate(np.repeat(values, 4), np.repeat(np.arange(100), 4))
    assert result.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 10
    assert result.high - result.low == pytest.approx(2 * half, rel=0.15)
    assert result.low < result.value < result.high


def test_confusion_counts_every_row():
    predicted, classes = np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2])
    assert confusion(predicted, classes, 3).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_cross_validation_never_fits_to_the_tested_group():
    """Features that identify a recording, but not its class, give no score."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    classes = groups % 2
    own = rng.standard_normal((40, 8))  # identifies the recording, not the class
    features = np.repeat(own, 5, axis=0).astype(np.float32)
    predicted = cross_validated_classes(features, classes, groups)
    result = mean_recall(predicted, classes, groups)
    assert result.low < 0.5 < result.high
    features[:, 0] = 10 * classes
    assert np.mean(cross_validated_classes(features, classes, groups) == classes) > 0.9
    with_rare_class = np.concatenate([classes, [2]])
    selected = classes_with_groups(with_rare_class, np.concatenate([groups, [99]]))
    assert selected.tolist() == list(range(200))


def test_principal_features_keep_the_largest_variance():
    rng = np.random.default_rng(0)
    scale = np.array([9.0, 5.0, 0.1, 0.1])
    spectrograms = (rng.standard_normal((200, 4)) * scale).astype(np.float32)
    batches = [spectrograms[:50].copy(), spectrograms[50:].copy()]
    result = principal_features(spectrograms.copy(), lambda: iter(batches), 2)
    assert result.shape == (200, 2)
    for column, true in enumerate((0, 1)):
        correlation = np.corrcoef(result[:, column], spectrograms[:, true])[0, 1]
        assert abs(correlation) > 0.99
