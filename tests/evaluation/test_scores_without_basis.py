"""Scores of nothing: silence, constant values and equal predictions have no score."""

import numpy as np
import pytest

from dafxtool.evaluation import probes
from dafxtool.evaluation.probes import Estimate, ProbeSplits
from dafxtool.evaluation.results import Evaluation, Score, remarks_on
from dafxtool.spectrogram.metrics import log_spectral_distance_db, multi_resolution_distance
from dafxtool.spectrogram.phase_retrieval import invert, spectral_convergence_db
from dafxtool.spectrogram.stft import magnitude

SILENCE = np.zeros(8192, np.float32)
NOISE = (0.1 * np.random.default_rng(0).standard_normal(8192)).astype(np.float32)


def test_distances_to_silence_are_nan():
    for audio in (SILENCE, NOISE):
        assert np.isnan(multi_resolution_distance(audio, SILENCE))
        assert np.isnan(multi_resolution_distance(audio, 1e-9 * NOISE))
    assert multi_resolution_distance(NOISE, NOISE) == 0
    assert multi_resolution_distance(SILENCE, NOISE) > 1
    shown = np.stack([np.abs(np.random.default_rng(1).standard_normal((5, 7))), np.zeros((5, 7))])
    distance = log_spectral_distance_db(shown, shown)
    assert distance[0] == 0
    assert np.isnan(distance[1])
    assert np.isnan(log_spectral_distance_db(shown[0], shown[1]))


def test_silence_has_no_spectral_convergence():
    from datasets import SPECTROGRAM

    empty = np.zeros((SPECTROGRAM.n_bins, SPECTROGRAM.n_frames), np.float32)
    assert np.isnan(invert(empty, SPECTROGRAM).convergence_db)
    audio = NOISE[: SPECTROGRAM.n_samples]
    assert np.isnan(spectral_convergence_db(audio, empty, SPECTROGRAM))
    target = magnitude(audio, SPECTROGRAM).numpy()
    assert spectral_convergence_db(audio, target, SPECTROGRAM) < -100
    assert spectral_convergence_db(0 * audio, target, SPECTROGRAM) == pytest.approx(0)


@pytest.mark.parametrize("offset", [0.0, 1.0, -60.0])
def test_equal_values_have_no_r_squared(offset):
    rng = np.random.default_rng(0)
    equal = offset + 1e-9 * abs(offset) * rng.standard_normal(40)
    assert np.isnan(probes.r_squared_terms(equal, equal)).all()
    different = offset + rng.standard_normal(40)
    assert probes.r_squared_terms(different, different).mean() == 1


def test_equal_predictions_have_no_recall():
    classes, groups = np.repeat([0, 1], 10), np.arange(20)
    constant = np.zeros(20, np.int64)
    for label in (0, 1):
        assert np.isnan(probes.recall(constant, classes, groups, label).value)
    assert probes.mean_recall(constant, classes, groups).value == 0.5
    assert probes.recall(classes, classes, groups, 1).value == 1


def test_constant_features_recognise_nothing():
    classes = np.tile([0, 1], 20)
    rows = ProbeSplits(np.arange(20), np.arange(0), np.arange(20, 40), np.arange(40) // 2)
    features = np.full((40, 3), 7, np.float32)
    for probe in (probes.classify_linearly, probes.classify_by_neighbours):
        predicted = probe(features, classes, rows)
        recall = probes.recall(predicted, classes[rows.test], rows.recording[rows.test], 0)
        assert np.isnan(recall.value)


def test_a_mean_leaves_out_segments_without_a_value():
    values = np.array([1.0, np.nan, 3.0])
    assert probes.mean_estimate(values, np.arange(3)).value == 2
    assert np.isnan(probes.mean_estimate(values[1:2], np.arange(1)).value)


def test_a_score_without_a_basis_is_a_dash_with_a_reason():
    nan = float("nan")
    score = Score("linear", "delay", "latent", Estimate(nan, nan, nan), 3)
    fine = Score("linear", "mean", "latent", Estimate(0.5, nan, nan), 3)
    result = Evaluation("run", "small", "p.h5", {}, [], [score, fine], np.zeros((0, 0)), [])
    assert [row[2] for row in result.tables()[0].rows] == ["-", "0.500"]
    (remark,) = remarks_on([score, fine])
    assert "delay" in remark
    assert "prediction" in remark
