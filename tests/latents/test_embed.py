import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import N_SAMPLES, chosen, write_recordings

from dafxtool import storage
from dafxtool.config import SPLITS
from dafxtool.errors import InputError
from dafxtool.latents.embed import embed
from dafxtool.latents.table import read_latents, seen_in_training, write_latents
from dafxtool.utils.progress import Progress


def test_an_embedding_does_not_depend_on_batches_or_order(pairs_file, run):
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        sound = reader.rows(slice(None))
    together = run.embed(run.analyse(sound)[0])
    order = np.random.default_rng(0).permutation(len(sound))
    shuffled = run.embed(run.analyse(sound[order])[0])
    alone = np.concatenate([run.embed(run.analyse(pair[None])[0]) for pair in sound])
    np.testing.assert_allclose(shuffled, together[order], atol=1e-5)
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_an_embedding_does_not_depend_on_the_number_of_threads(pairs_file, run, tmp_path):
    folder = write_recordings(tmp_path / "recordings")
    n_threads = torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append([embed([source], run) for source in (pairs_file, folder)])
    torch.set_num_threads(n_threads)
    for one, three in zip(*found, strict=True):
        np.testing.assert_array_equal(one.latent, three.latent)
        assert one.labels.recordings == three.labels.recordings
        np.testing.assert_array_equal(one.labels.offset, three.labels.offset)


def test_an_embedding_is_the_mean_not_a_sample(pairs_file, run):
    first, second = (embed([pairs_file], run).latent for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_pairs_and_their_spectrograms_have_the_same_latents(pairs_file, spectrograms_file, run):
    of_pairs, of_spectrograms = embed([pairs_file], run), embed([spectrograms_file], run)
    # The file keeps float16, so the latents agree to that.
    scale = np.abs(of_pairs.latent).max()
    np.testing.assert_allclose(of_spectrograms.latent, of_pairs.latent, atol=1e-2 * scale)
    assert of_pairs.effects() == of_spectrograms.effects()


def test_only_the_splits_that_are_asked_for(pairs_file, run):
    latents = embed([pairs_file], run, splits=("test",))
    assert {latents.labels.split_of(row) for row in range(len(latents))} == {"test"}


def test_what_the_run_has_learnt_is_known_behind_links_and_told(pairs_file, run, tmp_path):
    """As from a corpus that is mounted elsewhere, through a link."""

    class Told(Progress):
        def __init__(self):
            self.lines = []

        def message(self, text):
            self.lines.append(text)

    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        labels = reader.labels
    rows = {split: labels.rows_of([split]) for split in SPLITS}
    for split in SPLITS:  # validation chose the best checkpoint
        assert seen_in_training(labels, rows[split], run).all() == (split != "test")
        assert seen_in_training(labels, rows[split], run).any() == (split != "test")
    real = Path(labels.path_of(0)).parents[1]
    (tmp_path / "moved").symlink_to(real)
    moved = [
        {**each, "path": str(tmp_path / "moved" / Path(each["path"]).relative_to(real))}
        for each in labels.recordings
    ]
    assert seen_in_training(replace(labels, recordings=moved), rows["train"], run).all()
    for split in ("test", "train"):
        told = Told()
        embed([pairs_file], run, splits=(split,), progress=told)
        assert any("flatters it" in line for line in told.lines) == (split == "train")


def test_recordings_are_cut_and_meet_every_effect(run, tmp_path):
    folder = write_recordings(tmp_path / "recordings")
    effects = chosen("clean", "overdrive")
    latents = embed([folder / "plucks"], run, effects)
    n_segments = round(1.5 * 8000 / N_SAMPLES)
    assert len(latents) == 4 * n_segments * 2
    assert latents.effects()[:2] == ["clean", "overdrive"]
    assert latents.labels.offset[:4].tolist() == [0, 0, N_SAMPLES, N_SAMPLES]
    only_clean = embed([folder / "plucks"], run)
    np.testing.assert_allclose(only_clean.latent, latents.latent[::2], atol=1e-5)


@pytest.mark.parametrize("suffix", [".h5", ".csv", ".npz"])
def test_each_format_holds_the_same_rows(pairs_file, run, tmp_path, suffix):
    latents = embed([pairs_file], run)
    path = tmp_path / f"latents{suffix}"
    write_latents(latents, path)
    if suffix == ".h5":
        again = read_latents(path)
        found, effects = again.latent, again.effects()
        assert again.labels.setting_text == latents.labels.setting_text
    elif suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            found, effects = arrays["latent"], arrays["effect"].tolist()
    else:
        with path.open() as file:
            rows = list(csv.DictReader(file))
        effects = [row["effect"] for row in rows]
        names = [name for name in rows[0] if name.startswith("latent_")]
        found = np.array([[float(row[name]) for name in names] for row in rows])
    np.testing.assert_array_equal(found, latents.latent)
    assert effects == latents.effects()


def test_mistakes_are_sentences(pairs_file, run, tmp_path):
    latents = embed([pairs_file], run)
    with pytest.raises(InputError, match=r"ends in '\.xls'"):
        write_latents(latents, tmp_path / "latents.xls")
    with pytest.raises(InputError, match="nothing to embed"):
        embed([], run)
    with pytest.raises(InputError, match="one HDF5 file at a time"):
        embed([pairs_file, tmp_path], run)
    assert list(tmp_path.iterdir()) == []
