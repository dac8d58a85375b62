"""Count pairs whose wet segment is the dry one."""

from __future__ import annotations

import csv
import json

import h5py
import numpy as np
import pytest
from datasets import N_SAMPLES, chosen
from small_renders import render_small

from dafxtool.dataset.pair import is_unchanged
from dafxtool.effects.effect import Effect, PluginFile

EFFECTS = ("overdrive", "gain", "clean")
COUNTS = {"overdrive": 0, "gain": 4, "clean": 4}


@pytest.mark.parametrize("name", ["pairs.h5", "folder"])
def test_pairs_without_an_effect_are_counted_and_stored(recordings, tmp_path, name):
    output = tmp_path / name
    for options in ({}, {"resume": True}):  # the second call counts what the first one wrote
        result = render_small(recordings, output, EFFECTS, pairs_per_effect=4, **options)
        assert result.unchanged_per_effect == COUNTS
        assert [line for line in result.warnings if line.startswith("gain: in 4 of 4 pairs")]
        assert not [line for line in result.warnings if line.startswith(("clean", "overdrive"))]
        assert json.loads(json.dumps(result.unchanged_per_effect)) == COUNTS
    if name == "folder":
        with (output / "pairs.csv").open(newline="") as file:
            stored = [(row["effect"], int(row["unchanged"])) for row in csv.DictReader(file)]
    else:
        with h5py.File(output) as file:
            names = file["effects"]["name"].astype(str)[file["effect"][:]]
            stored = list(zip(names.tolist(), file["unchanged"][:].tolist(), strict=True))
    assert sorted(stored) == sorted([("overdrive", 0)] * 4 + [("gain", 1)] * 4 + [("clean", 1)] * 4)


def test_the_latency_that_a_plugin_reports_is_no_effect():
    dry = np.random.default_rng(0).normal(0, 0.1, N_SAMPLES).astype(np.float32)
    audio = np.stack([dry, np.pad(dry, (100, 0))[:N_SAMPLES]])
    plugin = PluginFile("x.vst3", None, "1", "", 1, 24_000, latency_samples=100)
    assert is_unchanged(audio, Effect("late", plugin=plugin))
    assert not is_unchanged(audio, chosen("delay")[0][0])


def test_a_change_of_the_level_only_is_no_effect_but_a_filter_is():
    dry = np.random.default_rng(0).normal(0, 0.1, N_SAMPLES).astype(np.float32)
    effect = chosen("delay")[0][0]
    assert is_unchanged(np.stack([dry, dry * np.float32(-0.3)]), effect)
    assert not is_unchanged(np.stack([dry, np.convolve(dry, [1, 0.001], "same")]), effect)
