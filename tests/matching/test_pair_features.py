"""Check features of pairs against known settings, the linear estimates, and the kept features."""

import numpy as np
import pytest
import torch
from datasets import RATE

from dafxtool import storage
from dafxtool.effects.apply import apply
from dafxtool.effects.builtin import builtin_effects
from dafxtool.errors import FormatError
from dafxtool.matching.controller import feature_cache
from dafxtool.matching.controller.feature_cache import cache_file, features_of
from dafxtool.matching.controller.linear_estimates import LinearEstimates, fit_ridge
from dafxtool.matching.controller.network import FeatureExtractor, load_matcher
from dafxtool.matching.controller.train import ControllerOptions, train_controller
from dafxtool.matching.hints.dynamics import fit_knee
from dafxtool.matching.pair import Pair
from dafxtool.matching.pair_features.arrays import band_edges, band_sums
from dafxtool.matching.pair_features.features import VERSION, compute_features
from dafxtool.matching.pair_features.filter_shapes import filter_features
from dafxtool.matching.pair_features.gain import ring_features
from dafxtool.matching.pair_features.held_samples import held_features
from dafxtool.matching.pair_features.level_follower import follower_features
from dafxtool.matching.pair_features.response import impulse_features
from dafxtool.models.checkpoint import read_checkpoint, save_checkpoint
from dafxtool.utils.progress import SILENT

FULL_RATE = 24_000


def pair_of(name, **setting):
    """Return noise of changing level, and the same noise with an effect."""
    rng = np.random.default_rng(0)
    n = 2 * FULL_RATE
    level = 0.02 + 0.1 * np.square(np.sin(np.pi * 1.3 * np.arange(n) / FULL_RATE))
    dry = (level * rng.standard_normal(n)).astype(np.float32)
    effect = builtin_effects()[name].at(FULL_RATE)
    return Pair(dry, apply(effect, dry, FULL_RATE, effect.complete(setting))[0], FULL_RATE)


def test_the_best_shape_of_a_filter_has_its_cutoff_and_gain():
    low_pass = filter_features(pair_of("low-pass", cutoff=800.0))
    assert 2 ** low_pass[0] == pytest.approx(800, rel=0.1)
    assert low_pass[2] < low_pass[6]  # the error of a low-pass is smaller than of a high-pass
    shelf = filter_features(pair_of("high-shelf", cutoff=2500.0, gain=-12.0))
    first = 3 * 2 + 2 + 6  # behind low-pass, high-pass and low-shelf
    assert 2 ** shelf[first] == pytest.approx(2500, rel=0.15)
    assert 10 * shelf[first + 1] == pytest.approx(-12, abs=1.6)


def test_the_follower_of_a_compressor_has_its_times_threshold_and_ratio():
    setting = {"threshold": -30.0, "ratio": 4.0, "attack": 2.5, "release": 75.0, "makeup": 0.0}
    attack, release, threshold, slope = follower_features(pair_of("compressor", **setting))[:4]
    assert np.exp(attack) == pytest.approx(2.5, rel=0.01)
    assert np.exp(release) == pytest.approx(75, rel=0.01)
    assert 10 * threshold == pytest.approx(-30, abs=1)
    assert slope == pytest.approx(1 / 4 - 1, abs=0.05)


def test_a_ring_modulator_a_delay_and_a_bit_crusher_show_their_settings():
    ring = ring_features(pair_of("ring-modulator", frequency=440.0, mix=80.0))
    assert 2 ** ring[-3] == pytest.approx(440, abs=0.5)
    assert ring[-1] == pytest.approx(0.8, abs=0.03)
    echo = impulse_features(pair_of("delay", time=200.0, feedback=40.0, mix=50.0))[83:]
    assert 10 ** echo[0] == pytest.approx(0.2, abs=1e-3)
    assert echo[1] == pytest.approx(0.4, abs=0.05)
    held = held_features(pair_of("bit-crusher", bits=10.0, rate=4000.0))
    assert 2 ** held[0] == pytest.approx(4000, rel=0.1)


@pytest.mark.parametrize("rate", [8000, 24_000])
def test_all_pairs_have_as_many_finite_features(rate):
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal(4096).astype(np.float32)
    silent = np.zeros(4096, np.float32)
    pairs = [(noise, noise), (noise, silent), (silent, noise), (silent, silent)]
    features = np.stack([compute_features(np.stack(each), rate) for each in pairs])
    assert np.isfinite(features).all()
    longer = np.tile(noise, 9)
    assert compute_features(np.stack([longer, longer]), rate).shape == features[0].shape


def test_bands_are_at_least_one_step_wide_and_sum_to_all_between_their_ends():
    edges = band_edges(1.0, 100.0, 30, 1.0)
    assert len(edges) == 31 and np.diff(edges).min() == 1
    values = np.arange(200.0)
    assert band_sums(values, edges).sum() == values[edges[0] : edges[-1]].sum()
    assert band_sums(values[:50], edges).shape == (30,)


def test_a_knee_is_found_where_it_is():
    level = np.linspace(-60, 0, 241)
    threshold, slope, offset, error = fit_knee(level, 3 - 0.5 * np.maximum(0, level + 30), True)
    assert (threshold, slope, offset) == pytest.approx((-30, -0.5, 3))
    assert error < 1e-9
    assert fit_knee(0 * level, level, True)[1] == 0  # one level only


def test_estimates_select_the_features_that_show_a_setting():
    torch.manual_seed(0)
    features = torch.randn(200, 50)
    setting = torch.full((200, 2), torch.nan)
    setting[:100, 0] = 0.5 * features[:100, 7] - 0.2
    setting[100:, 1] = 0.7  # static
    estimates = LinearEstimates(2)
    assert not estimates(features).any()
    estimates.fit(features, setting)
    assert int(estimates.selected[0, 0]) == 7
    fresh = torch.randn(50, 50).clamp(-2, 2)
    estimated = estimates(fresh)
    torch.testing.assert_close(estimated[:, 0], 0.5 * fresh[:, 7] - 0.2, atol=0.02, rtol=0)
    torch.testing.assert_close(estimated[:, 1], torch.full((50,), 0.7))


def test_ridge_regression_shrinks_noise_and_keeps_a_line():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((80, 5))
    weight, offset = fit_ridge(features, 2 * features[:, [1]] + 1)
    assert weight[:, 0] == pytest.approx([0, 2, 0, 0, 0], abs=0.01)
    assert offset == pytest.approx([1], abs=0.01)
    weight, _ = fit_ridge(features, rng.standard_normal((80, 1)))
    assert np.abs(weight).max() < 0.1


def test_features_are_computed_once_and_of_other_pairs_again(pairs_file, tmp_path, monkeypatch):
    own = tmp_path / "pairs.h5"
    own.write_bytes(pairs_file.read_bytes())
    calls = []

    def count(audio, sample_rate):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return audio[:, :5].mean(axis=0)

    monkeypatch.setattr(feature_cache, "compute_features", count)
    monkeypatch.setattr(feature_cache, "ROWS_A_BATCH", 1)
    rows = np.arange(6)
    with storage.Hdf5Reader(own, storage.PAIRS) as reader:
        with pytest.raises(KeyboardInterrupt):
            features_of(reader, rows, RATE, SILENT)
        features_of(reader, rows, RATE, SILENT)
        assert len(calls) == 3 + 4  # two were kept
        features = features_of(reader, rows[::-1], RATE, SILENT)
        assert len(calls) == 7
        np.testing.assert_array_equal(features[0], reader.rows(rows)[5][:, :5].mean(axis=0))
    np.savez(cache_file(own), key="other", row=rows, features=features)
    with storage.Hdf5Reader(own, storage.PAIRS) as reader:
        features_of(reader, rows, RATE, SILENT)
    assert len(calls) == 13
    cache_file(own).write_text("damaged")
    with storage.Hdf5Reader(own, storage.PAIRS) as reader:
        features_of(reader, rows, RATE, SILENT)
    assert len(calls) == 19
    assert cache_file(own).read_text() == "damaged"  # it may be a file of the user
    np.savez(cache_file(own), other=rows)
    with storage.Hdf5Reader(own, storage.PAIRS) as reader:
        features_of(reader, rows, RATE, SILENT)
    with np.load(cache_file(own)) as file:
        assert list(file) == ["other"]


def test_the_extractor_takes_known_features(run, pairs_file):
    extractor = FeatureExtractor(run)
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        audio = reader.rows(np.arange(2))
    known = np.stack([compute_features(each, RATE) for each in audio])
    torch.testing.assert_close(extractor(audio), extractor(audio, known))


def test_a_matcher_of_other_features_is_refused_with_a_remedy(run, pairs_file, tmp_path):
    file = tmp_path / "matcher.pt"
    train_controller(run, pairs_file, file, ControllerOptions(steps=1))
    contents = dict(read_checkpoint(file))
    assert contents["features"] == VERSION
    del contents["features"]
    save_checkpoint(file, contents)
    with pytest.raises(FormatError, match="Train it again"):
        load_matcher(file)
