"""Render real recordings, and with a real plugin."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import RATE

from dafxtool import storage
from dafxtool.dataset.render import rerender_row


@pytest.mark.corpus
def test_real_recordings_become_pairs(succeed, corpus, tmp_path):
    output = tmp_path / "pairs.h5"
    effects = ("overdrive", "delay", "reverb")
    answer = succeed(
        *("render", corpus / "speech", corpus / "music", "-o", output, "--preset", "small"),
        *(word for name in effects for word in ("--effect", name)),
        *("--pairs-per-effect", 40, "--workers", 2, "-q", "--json"),
    )
    assert answer["skipped"] == []
    with storage.Hdf5Reader(output, storage.PAIRS) as reader:
        audio, labels = reader.rows(slice(None)), reader.labels
    assert len(audio) == 120
    assert np.isfinite(audio).all()
    np.testing.assert_allclose(np.abs(audio).max(axis=2), 10 ** (-12 / 20), rtol=1e-5)
    assert set(labels.effect_names) == set(effects)
    for row in range(0, 120, 17):
        np.testing.assert_array_equal(rerender_row(output, row), audio[row])


@pytest.mark.plugin
def test_a_plugin_renders_the_same_with_any_number_of_workers(
    succeed, plugin, recordings, tmp_path
):
    for workers in (1, 2):
        answer = succeed(
            *("render", recordings, "--plugin", plugin, "-o", tmp_path / f"{workers}.h5"),
            *("--pairs-per-effect", 20, "--sample-rate", RATE, "--segment-seconds", 0.5),
            *("--workers", workers, "-q", "--json"),
        )
        assert answer["pairs_per_effect"] == {"zamtube": 20}
    readers = [storage.Hdf5Reader(tmp_path / f"{workers}.h5", storage.PAIRS) for workers in (1, 2)]
    one, two = (reader.rows(slice(None)) for reader in readers)
    np.testing.assert_array_equal(one, two)
    assert np.abs(one[:, 0] - one[:, 1]).max() > 1e-3
    np.testing.assert_array_equal(rerender_row(tmp_path / "1.h5", 7), one[7])
    for reader in readers:
        reader.close()
