import numpy as np
import pytest

from dafxtool.evaluation.probes import (
    Rows,
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


def rows_of(n: int = N) -> Rows:
    index = np.arange(n)
    parts = np.split(index, [n // 2, n // 2 + n // 8])
    return Rows(*parts, recording=index // 4)


def clusters(spread: float, seed: int = 0):
    """Three classes as clouds of points in 10 dimensions."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, N)
    features = 3 * np.eye(3, 10)[classes] + spread * rng.standard_normal((N, 10))
    return features.astype(np.float32), classes


@pytest.mark.parametrize("probe", [classify_linearly, classify_by_neighbours])
def test_clear_classes_are_told_and_noise_is_not(probe):
    rows = rows_of()
    features, classes = clusters(0.3)
    assert (probe(features, classes, rows) == classes[rows.test]).all()
    noise = np.random.default_rng(1).standard_normal((N, 10)).astype(np.float32)
    found = mean_recall(probe(noise, classes, rows), classes[rows.test], rows.test // 4)
    assert found.low < 1 / 3 < found.high


def test_shuffled_labels_score_at_chance():
    """Features that carry the true classes cannot tell classes that were dealt out at random."""
    features, _ = clusters(0.3)
    dealt = np.random.default_rng(2).integers(0, 3, N)
    rows = rows_of()
    told = classify_linearly(features, dealt, rows)
    found = mean_recall(told, dealt[rows.test], rows.test // 4)
    assert found.low < 1 / 3 < found.high


def test_a_linear_setting_is_recovered_and_noise_is_not():
    rng = np.random.default_rng(0)
    rows = rows_of()
    features = rng.standard_normal((N, 30)).astype(np.float32)
    values = features[:, 3] - 2 * features[:, 7] + 0.5 * rng.standard_normal(N)
    told = regress(features, values, rows)
    # What no linear probe can tell is the added noise: 1 - 0.25 / 5.25.
    assert r_squared(told, values[rows.test]) == pytest.approx(1 - 0.25 / 5.25, abs=0.03)
    dealt = rng.permutation(values)
    found = r_squared(regress(features, dealt, rows), dealt[rows.test])
    assert -0.1 < found < 0.1


def test_features_learnt_by_heart_do_not_help():
    """Of rows that were trained on they hold the answer, of others noise."""
    rng = np.random.default_rng(0)
    rows = rows_of()
    values = rng.standard_normal(N)
    features = rng.standard_normal((N, 20)).astype(np.float32)
    features[rows.train, 0] = values[rows.train]
    found = r_squared(regress(features, values, rows), values[rows.test])
    assert -0.15 < found < 0.1


def test_r_squared_is_one_zero_and_below():
    values = np.array([1.0, 2.0, 3.0, 6.0])
    assert r_squared(values, values) == 1.0
    assert r_squared(np.full(4, 3.0), values) == 0.0
    assert r_squared(values[::-1], values) < 0
    assert np.isnan(r_squared(values, np.ones(4)))


def test_few_recordings_without_a_spread_of_their_own_do_not_ruin_the_interval():
    """Two recordings, each almost constant: a draw of one of them twice has hardly any variance."""
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 20)
    values = groups + 1e-3 * rng.standard_normal(40)
    told = values + 0.1 * rng.standard_normal(40)
    found = r_squared_estimate(told, values, groups)
    assert found.value == r_squared(told, values)
    # The error is 0.01 of a variance of 0.25.
    assert 0.9 < found.low <= found.value <= found.high < 1


def test_a_draw_of_every_group_once_is_the_value_itself():
    """In another order sums differ in the last bit, and the value lies outside its interval."""
    asked = []

    def statistic(rows):
        asked.append(rows)
        return 0.0

    estimate(statistic, np.array([1, 0, 1, 0, 0]))
    each_once = [rows for rows in asked if sorted(rows) == [0, 1, 2, 3, 4]]
    assert len(each_once) > len(asked) / 4
    assert all((rows == asked[0]).all() for rows in each_once)


def test_the_interval_is_that_of_the_mean_over_recordings():
    """Four equal rows of a recording are worth one: 1.96 deviations over the root of 100."""
    rng = np.random.default_rng(0)
    of_each = rng.standard_normal(100)
    found = mean_estimate(np.repeat(of_each, 4), np.repeat(np.arange(100), 4))
    assert found.value == pytest.approx(of_each.mean())
    half = 1.96 * of_each.std() / 10
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)
    assert found.low < found.value < found.high


def test_confusion_counts_every_row():
    told, classes = np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2])
    assert confusion(told, classes, 3).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_recordings_are_told_from_others_of_their_class_only():
    """A probe that met a recording would know it: groups of one class apart must not help."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    classes = groups % 2
    own = rng.standard_normal((40, 8))  # tells the recording, nothing of the class
    features = np.repeat(own, 5, axis=0).astype(np.float32)
    told = cross_validated_classes(features, classes, groups)
    found = mean_recall(told, classes, groups)
    assert found.low < 0.5 < found.high
    features[:, 0] = 10 * classes
    assert np.mean(cross_validated_classes(features, classes, groups) == classes) > 0.9
    few = np.concatenate([classes, [2]])
    kept = classes_with_groups(few, np.concatenate([groups, [99]]))
    assert kept.tolist() == list(range(200))


def test_principal_features_keep_the_largest_variance():
    rng = np.random.default_rng(0)
    scale = np.array([9.0, 5.0, 0.1, 0.1])
    pictures = (rng.standard_normal((200, 4)) * scale).astype(np.float32)
    found = principal_features(pictures, lambda: iter([pictures[:50], pictures[50:]]), 2)
    assert found.shape == (200, 2)
    for column, true in enumerate((0, 1)):
        correlation = np.corrcoef(found[:, column], pictures[:, true])[0, 1]
        assert abs(correlation) > 0.99
