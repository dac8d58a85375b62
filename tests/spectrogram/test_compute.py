"""Spectrograms files: standardisation, resuming, equal bytes, and the inverse."""

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from datasets import RATE, SPECTROGRAM

from dafxtool import storage
from dafxtool.config import SpectrogramConfig
from dafxtool.errors import ConfigError, FormatError, OutputExistsError
from dafxtool.spectrogram.compute import compute_spectrograms, read_magnitudes
from dafxtool.spectrogram.stft import magnitude
from dafxtool.spectrogram.transform import analyse, linear_magnitude
from dafxtool.utils.progress import Progress


def config(**values):
    return replace(SPECTROGRAM, **values)


def test_spectrograms_are_standardised_on_the_training_split(pairs_file, tmp_path):
    result = compute_spectrograms(pairs_file, tmp_path / "s.h5", SPECTROGRAM)
    with storage.Hdf5Reader(tmp_path / "s.h5", storage.SPECTROGRAMS) as reader:
        rows = reader.labels.rows_of(("train",))
        values = reader.rows(rows).astype(np.float64)
        with storage.Hdf5Reader(pairs_file, storage.PAIRS) as pairs:
            assert reader.labels.setting_text == pairs.labels.setting_text
            np.testing.assert_array_equal(reader.labels.split, pairs.labels.split)
    assert values.shape[1:] == result.shape == (2, 129, 65)
    assert values.mean() == pytest.approx(0, abs=2e-4)
    assert values.std() == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("standardisation", ["dataset", "segment"])
@pytest.mark.parametrize(("dtype", "decibels"), [("float32", -100), ("float16", -60)])
def test_a_stored_spectrogram_is_converted_to_linear_magnitude(
    pairs_file, tmp_path, standardisation, dtype, decibels
):
    """The error is the rounding of the storage type, multiplied by 1 / exponent."""
    compute_spectrograms(
        pairs_file, tmp_path / "s.h5", config(standardisation=standardisation), dtype
    )
    rows = np.array([0, 5, 7])
    found, saved = read_magnitudes(tmp_path / "s.h5", rows)
    assert saved.standardisation == standardisation
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as pairs:
        target = np.asarray(magnitude(pairs.rows(rows), SPECTROGRAM))
    error = np.linalg.norm(found - target) / np.linalg.norm(target)
    assert 20 * np.log10(error) < decibels


def test_segment_standardisation_removes_loudness_and_keeps_the_difference(pairs_file):
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as pairs:
        audio = pairs.rows(np.array([0, 1]))
    loud, _ = analyse(audio, config(standardisation="segment"), 0, 1)
    quiet, stats = analyse(0.25 * audio, config(standardisation="segment"), 0, 1)
    np.testing.assert_allclose(quiet, loud, atol=1e-4)
    np.testing.assert_allclose(loud.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    # Dry and wet are standardised together.
    assert np.abs(loud.mean(axis=(2, 3))).max() > 1e-3
    assert stats.shape == (2, 2)


def test_negative_values_become_silence():
    values = np.full((1, 2, 129, 65), -100.0, np.float32)
    found = linear_magnitude(values, np.array([[1.0, 0.5]], np.float32), SPECTROGRAM)
    assert not found.any()


def test_an_interrupted_analysis_resumes_to_the_same_bytes(pairs_file, tmp_path, monkeypatch):
    monkeypatch.setattr("dafxtool.spectrogram.compute.BATCH_BYTES", 3 * 2 * 129 * 65 * 8)
    compute_spectrograms(pairs_file, tmp_path / "whole.h5", SPECTROGRAM)
    put = storage.Hdf5Writer.put

    def put_then_interrupt(self, start, **columns):
        put(self, start, **columns)
        if start >= 9:
            raise KeyboardInterrupt

    monkeypatch.setattr(storage.Hdf5Writer, "put", put_then_interrupt)
    with pytest.raises(KeyboardInterrupt):
        compute_spectrograms(pairs_file, tmp_path / "s.h5", SPECTROGRAM)
    monkeypatch.setattr(storage.Hdf5Writer, "put", put)
    with pytest.raises(OutputExistsError, match="is not finished"):
        compute_spectrograms(pairs_file, tmp_path / "s.h5", SPECTROGRAM)
    compute_spectrograms(pairs_file, tmp_path / "s.h5", SPECTROGRAM, resume=True)
    assert (tmp_path / "s.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_resuming_never_mixes_pairs_of_two_renders(pairs_file, tmp_path, monkeypatch):
    """With the same options other pairs may fail, and row i is then another pair."""
    pairs, target = tmp_path / "pairs.h5", config(standardisation="segment")
    shutil.copyfile(pairs_file, pairs)
    monkeypatch.setattr("dafxtool.spectrogram.compute.BATCH_BYTES", 3 * 2 * 129 * 65 * 8)
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            compute_spectrograms(pairs, tmp_path / "s.h5", target)
    with h5py.File(pairs, "r+") as file:
        file["lost"][1] = b"took more than 60 s"
    with pytest.raises(ConfigError, match="started with another labels"):
        compute_spectrograms(pairs, tmp_path / "s.h5", target, resume=True)


def _interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("standardisation", ["dataset", "segment"])
def test_the_bytes_do_not_depend_on_threads_batches_or_the_cache(
    pairs_file, tmp_path, monkeypatch, standardisation
):
    target = config(standardisation=standardisation)
    n_threads = torch.get_num_threads()
    found = []
    for threads, batch_size, cache in ((1, 100, 1e9), (3, 1, 0), (2, 5, 5 * 8 * 129 * 65)):
        monkeypatch.setattr(
            "dafxtool.spectrogram.compute.BATCH_BYTES", batch_size * 2 * 129 * 65 * 8
        )
        monkeypatch.setattr("dafxtool.spectrogram.compute.CACHE_BYTES", cache)
        torch.set_num_threads(threads)
        path = tmp_path / f"{threads}.h5"
        compute_spectrograms(pairs_file, path, target)
        found.append(path.read_bytes())
    torch.set_num_threads(n_threads)
    assert found[0] == found[1] == found[2]
    with (
        storage.Hdf5Reader(path, storage.SPECTROGRAMS) as reader,
        storage.Hdf5Reader(pairs_file, "pairs") as pairs,
    ):
        expected, stats = analyse(
            pairs.rows(slice(None)),
            target,
            reader.configuration["mean"],
            reader.configuration["std"],
            dtype="float16",
        )
        np.testing.assert_array_equal(reader.rows(slice(None)), expected)
        np.testing.assert_array_equal(reader.column("std"), stats[:, 1])


def test_unusable_arguments_are_refused(pairs_file, tmp_path):
    with pytest.raises(FormatError, match="found 4096 samples at 8000 Hz, expected 131072"):
        compute_spectrograms(pairs_file, tmp_path / "s.h5", SpectrogramConfig())
    with pytest.raises(ConfigError, match="auto, cpu, cuda or cuda:N"):
        compute_spectrograms(pairs_file, tmp_path / "s.h5", SPECTROGRAM, device="gpu")
    with pytest.raises(FormatError, match=r"pairs.*spectrograms"):
        read_magnitudes(pairs_file, np.array([0]))
    assert SPECTROGRAM.sample_rate == RATE
