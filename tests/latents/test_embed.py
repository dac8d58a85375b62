"""Check embeddings of recordings, pairs and spectrograms, and the files of latents."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from datasets import N_SAMPLES, RATE, chosen, write_recordings

from dafxtool import storage
from dafxtool.config import SPLITS
from dafxtool.effects.effect import Effect
from dafxtool.effects.parameter import Parameter
from dafxtool.errors import InputError
from dafxtool.latents.columns import setting_columns
from dafxtool.latents.embed import embed
from dafxtool.latents.table import read_latents, seen_in_training, write_latents
from dafxtool.utils.progress import Progress


def test_an_embedding_does_not_depend_on_batches_or_order(pairs_file, run):
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        audio = reader.rows(slice(None))
    together = run.embed(run.analyse(audio)[0])
    order = np.random.default_rng(0).permutation(len(audio))
    shuffled = run.embed(run.analyse(audio[order])[0])
    alone = np.concatenate([run.embed(run.analyse(pair[None])[0]) for pair in audio])
    np.testing.assert_allclose(shuffled, together[order], atol=1e-5)
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_an_embedding_does_not_depend_on_the_number_of_threads(pairs_file, run, tmp_path):
    folder = write_recordings(tmp_path / "recordings")
    n_threads = torch.get_num_threads()
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        results.append([embed([source], run) for source in (pairs_file, folder)])
    torch.set_num_threads(n_threads)
    for one, three in zip(*results, strict=True):
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


def test_only_the_chosen_splits_are_embedded(pairs_file, run):
    latents = embed([pairs_file], run, splits=("test",))
    assert {latents.labels.split_of(row) for row in range(len(latents))} == {"test"}


def test_recordings_of_the_training_are_recognised_through_links(pairs_file, run, tmp_path):
    """A corpus that is mounted elsewhere has other paths, with the same real path."""

    class Messages(Progress):
        def __init__(self):
            self.lines = []

        def message(self, text):
            self.lines.append(text)

    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        labels = reader.labels
    rows = {split: labels.rows_of([split]) for split in SPLITS}
    for split in SPLITS:  # the best checkpoint was selected on the validation split
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
        messages = Messages()
        embed([pairs_file], run, splits=(split,), progress=messages)
        assert any("trained on" in line for line in messages.lines) == (split == "train")


def test_every_effect_is_applied_to_every_segment(run, tmp_path):
    folder = write_recordings(tmp_path / "recordings")
    effects = chosen("clean", "overdrive")
    latents = embed([folder / "plucks"], run, effects)
    n_segments = round(1.5 * 8000 / N_SAMPLES)
    assert len(latents) == 4 * n_segments * 2
    assert latents.effects()[:2] == ["clean", "overdrive"]
    assert latents.labels.offset[:4].tolist() == [0, 0, N_SAMPLES, N_SAMPLES]
    only_clean = embed([folder / "plucks"], run)
    np.testing.assert_allclose(only_clean.latent, latents.latent[::2], atol=1e-5)


def test_hdf5_stores_latents_and_labels(pairs_file, run, tmp_path):
    latents = embed([pairs_file], run)
    write_latents(latents, tmp_path / "latents.h5")
    stored = read_latents(tmp_path / "latents.h5")
    np.testing.assert_array_equal(stored.latent, latents.latent)
    assert stored.effects() == latents.effects()
    assert stored.labels.setting_text == latents.labels.setting_text


def part_names(latents):
    """Return the names of the latents by part, from the numbers of the model."""
    n_change = latents.latent.shape[1] - latents.n_content - latents.n_style
    assert min(latents.n_content, n_change, latents.n_style) > 0
    return {
        "content": [f"content_{i:04d}" for i in range(latents.n_content)],
        "change": [f"change_{i:04d}" for i in range(n_change)],
        "style": [f"style_{i:02d}" for i in range(latents.n_style)],
    }


def test_csv_names_the_parts_and_has_a_column_for_each_setting(pairs_file, run, tmp_path):
    latents = embed([pairs_file], run)
    write_latents(latents, tmp_path / "latents.csv")
    frame = pd.read_csv(tmp_path / "latents.csv", float_precision="round_trip")
    names = [name for part in part_names(latents).values() for name in part]
    assert list(frame.columns[-len(names) :]) == names
    np.testing.assert_array_equal(frame[names].to_numpy(np.float32), latents.latent)
    assert frame["effect"].tolist() == latents.effects()
    settings = [name for name in frame if name.startswith("setting_")]
    assert settings == [
        "setting_overdrive_drive_db",
        "setting_overdrive_tone_hz",
        "setting_overdrive_output_db",
        "setting_delay_time_ms",
        "setting_delay_feedback_percent",
        "setting_delay_mix_percent",
    ]
    for row, effect in enumerate(latents.effects()):
        own = [name for name in settings if name.startswith(f"setting_{effect}_")]
        values = frame.loc[row, own].tolist()
        assert values == list(latents.labels.setting_of(row).values())
        assert frame.loc[row, settings].drop(own).isna().all()


def test_npz_has_an_array_for_each_part_and_setting(pairs_file, run, tmp_path):
    latents = embed([pairs_file], run)
    write_latents(latents, tmp_path / "latents.npz")
    with np.load(tmp_path / "latents.npz", allow_pickle=False) as arrays:
        parts = [arrays[part] for part in ("content", "change", "style")]
        assert [part.shape[1] for part in parts] == [len(v) for v in part_names(latents).values()]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), latents.latent)
        np.testing.assert_array_equal(arrays["style"] * arrays["style_scale"], latents.effect_part)
        assert arrays["effect"].tolist() == latents.effects()
        time_ms = arrays["setting_delay_time_ms"]
        assert (np.isfinite(time_ms) == (arrays["effect"] == "delay")).all()


def test_a_choice_is_text_and_equal_names_get_a_number(pairs_file):
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as reader:
        labels = reader.labels.take(np.arange(3))
    mode = Parameter("mode", "", 0, 1, 0, choices=("soft", "hard"))
    effects = [
        Effect("Amp 1", (mode, Parameter("level", "dB", -60, 0, -6))).to_dict(),
        Effect("amp-1", (Parameter("level", "dB", -60, 0, -6),)).to_dict(),
    ]
    setting = np.array([[1, -3.0], [0, -9.0], [-12.0, np.nan]])
    columns = setting_columns(
        replace(labels, effects=effects, effect=np.array([0, 0, 1]), setting=setting)
    )
    assert columns["setting_amp_1_mode"].tolist() == ["hard", "soft", ""]
    np.testing.assert_array_equal(columns["setting_amp_1_level_db"], [-3, -9, np.nan])
    np.testing.assert_array_equal(columns["setting_amp_1_level_db_2"], [np.nan, np.nan, -12])


def test_wrong_arguments_are_refused_without_a_file(pairs_file, run, tmp_path):
    latents = embed([pairs_file], run)
    with pytest.raises(InputError, match=r"found '\.xls'"):
        write_latents(latents, tmp_path / "latents.xls")
    with pytest.raises(InputError, match="no inputs"):
        embed([], run)
    with pytest.raises(InputError, match="the only input"):
        embed([pairs_file, tmp_path], run)
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_is_mostly_padding_is_named(run, tmp_path):
    """Silence is easily decoded: a low error of a short recording is no merit."""
    noise = np.random.default_rng(0).standard_normal(N_SAMPLES) * 0.1
    for name, n_samples in (("short", N_SAMPLES // 4), ("long", N_SAMPLES)):
        soundfile.write(tmp_path / f"{name}.wav", noise[:n_samples], RATE)
    warnings = embed([tmp_path], run).warnings
    assert len(warnings) == 1 and "short.wav" in warnings[0] and "long.wav" not in warnings[0]
