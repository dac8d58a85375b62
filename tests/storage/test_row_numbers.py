"""Rows have one number in every file and command, also once pairs have failed."""

from __future__ import annotations

import csv

import h5py
import numpy as np
import pytest
from datasets import RATE, SPECTROGRAM, write_recordings
from small_renders import render_small

import dafxtool
from dafxtool import storage
from dafxtool.audio.reader import load_audio
from dafxtool.dataset.failures import FailedPair
from dafxtool.dataset.pair import PairRenderer, render_row
from dafxtool.dataset.render import rerender_row
from dafxtool.dataset.workers import Batch
from dafxtool.errors import ArgumentError, FormatError, InputError
from dafxtool.latents.embed import embed
from dafxtool.latents.table import read_latents, write_latents
from dafxtool.spectrogram.compute import compute_spectrograms, read_magnitudes

FAILED = (0, 5, 6, 11)
ROWS = [row for row in range(24) if row not in FAILED]


def render_some(plan, missing, *_):
    """Render rows one by one, those of FAILED without success."""
    renderer = PairRenderer(plan)
    for row in missing.tolist():
        if row in FAILED:
            failed = FailedPair(row, renderer.failed_pair(row), "the stub fails here")
            yield Batch(np.array([], int), [], [failed])
        else:
            yield Batch(np.array([row]), [render_row(plan, row)[0]])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """pairs.h5, a folder of the same pairs, and spectrograms.h5."""
    folder = tmp_path_factory.mktemp("rows")
    recordings = write_recordings(folder / "recordings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dafxtool.dataset.render.render_batches", render_some)
        result = render_small(recordings, folder / "pairs.h5")
        render_small(recordings, folder / "folder")
    assert [row for row, _, _ in result.failed] == list(FAILED)
    compute_spectrograms(folder / "pairs.h5", folder / "spectrograms.h5", SPECTROGRAM)
    return folder


@pytest.fixture(scope="module")
def audio(files):
    with h5py.File(files / "pairs.h5") as file:
        return file["audio"][:]


def test_a_row_that_is_rendered_again_is_the_stored_one(files, audio):
    for row in ROWS:
        np.testing.assert_array_equal(rerender_row(files / "pairs.h5", row), audio[row])


@pytest.mark.parametrize("row", [*FAILED, 24])
def test_a_failed_row_is_refused_everywhere(files, run, row):
    with pytest.raises(InputError, match=rf"row {row} .*(stub fails|0 to 23|1 to 23)"):
        rerender_row(files / "pairs.h5", row)
    with pytest.raises(InputError, match=f"row {row} "):
        read_magnitudes(files / "spectrograms.h5", [row])
    with pytest.raises(InputError, match=f"row {row} "):
        dafxtool.reconstruct(files / "pairs.h5", run=run, rows=[row], device="cpu")


def test_readers_number_rows_as_the_pairs_file(files, run, audio):
    with storage.Hdf5Reader(files / "pairs.h5", storage.PAIRS) as pairs:
        labels = pairs.labels
        assert labels.row.tolist() == ROWS
        np.testing.assert_array_equal(pairs.rows(pairs.indices_of([7, 1])), audio[[7, 1]])
    with storage.Hdf5Reader(files / "spectrograms.h5", storage.SPECTROGRAMS) as spectrograms:
        assert spectrograms.labels.row.tolist() == ROWS
        np.testing.assert_array_equal(spectrograms.labels.setting, labels.setting)
        for row in (1, 7, 23):
            np.testing.assert_allclose(
                spectrograms.rows(spectrograms.indices_of([row])),
                run_less_analysis(audio[row], spectrograms),
                atol=2e-3,  # stored in float16
            )


def run_less_analysis(pair, reader):
    from dafxtool.spectrogram.transform import analyse

    mean, std = reader.configuration["mean"], reader.configuration["std"]
    return analyse(pair[None], SPECTROGRAM, mean, std)[0]


def test_settings_refer_to_the_row_of_the_pairs_file(files):
    for name in ("pairs.h5", "spectrograms.h5"):
        with h5py.File(files / name) as file:
            effect = file["effect"][:]
            row = file["row"][:] if "row" in file else np.arange(len(effect))
            for index, table in enumerate(("overdrive", "delay")):
                expected = row[effect == index].tolist()
                assert file[f"settings/{table}"]["row"].tolist() == expected


def test_latents_keep_the_row(files, run, audio, tmp_path):
    latents = embed([files / "pairs.h5"], run, splits=["validation", "test"])
    row = latents.labels.row
    assert 0 < len(row) < len(ROWS) and set(row.tolist()) <= set(ROWS)
    np.testing.assert_allclose(latents.latent, run.embed_audio(audio[row]), atol=1e-5)
    write_latents(latents, tmp_path / "latents.h5")
    repeated = read_latents(tmp_path / "latents.h5")
    assert repeated.labels.row.tolist() == row.tolist()
    np.testing.assert_array_equal(repeated.labels.setting, latents.labels.setting)
    write_latents(latents, tmp_path / "latents.csv")
    with (tmp_path / "latents.csv").open() as file:
        assert [int(line["row"]) for line in csv.DictReader(file)] == row.tolist()
    write_latents(latents, tmp_path / "latents.npz")
    assert np.load(tmp_path / "latents.npz")["row"].tolist() == row.tolist()
    (inverted,) = dafxtool.invert(
        tmp_path / "latents.h5", run=run.path, rows=[int(row[-1])], output=tmp_path / "x.wav"
    )
    assert inverted.seconds == pytest.approx(4096 / RATE)
    with pytest.raises(InputError, match="row 1 "):  # in the pairs file, but of another split
        dafxtool.invert(tmp_path / "latents.h5", run=run.path, rows=[1], output=tmp_path / "y.wav")


def test_reconstruct_shows_the_rows_named_and_prints_their_errors(
    files, run, run_folder, audio, invoke, tmp_path
):
    result = dafxtool.reconstruct(files / "pairs.h5", run=run, rows=[7, 1, 7], device="cpu")
    assert [each.example.row for each in result.examples] == [7, 1]
    for each in result.examples:
        np.testing.assert_array_equal(each.example.audio, audio[each.example.row])
    assert result.errors.row == [7, 1] and result.errors.effect == ["delay", "delay"]
    expected = [each.errors.tolist() for each in result.examples]
    errors = zip(result.errors.dry_error, result.errors.wet_error, strict=True)
    assert [list(each) for each in errors] == expected
    arguments = ["reconstruct", files / "pairs.h5", "--run", run_folder, "--row", 7, "--row", 2]
    arguments += ["--csv", tmp_path / "e.csv", "-o", tmp_path / "r.png"]
    shown = invoke(*arguments)
    assert shown.exit_code == 0, shown.output
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:3]] == ["7", "2"]
    with (tmp_path / "e.csv").open() as file:
        assert [line["row"] for line in csv.DictReader(file)] == ["7", "2"]


def test_rows_and_a_split_exclude_each_other(files, run, invoke):
    with pytest.raises(ArgumentError):
        dafxtool.reconstruct(files / "pairs.h5", run=run, rows=[7], split="test")


def test_invert_takes_the_first_row_that_did_not_fail(files, audio, tmp_path):
    (inverted,) = dafxtool.invert(files / "spectrograms.h5", output=tmp_path / "x.wav")
    values = read_magnitudes(files / "spectrograms.h5", [1])[0][0, 1]
    assert inverted.convergence_db < -15
    results = load_audio(tmp_path / "x.wav")[0]
    level, expected = np.sqrt(np.mean(results**2)), np.sqrt(np.mean(audio[1, 1] ** 2))
    assert level == pytest.approx(expected, rel=0.2) and values.max() > 0


def test_audio_files_and_tables_of_a_folder_are_numbered_as_the_pairs_file(files, audio):
    with (files / "folder" / "pairs.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [int(line["row"]) for line in lines] == ROWS
    with (files / "folder" / "lost.csv").open() as file:
        assert [int(line["row"]) for line in csv.DictReader(file)] == list(FAILED)
    for line in lines:
        row = int(line["row"])
        for channel, name in enumerate(("dry", "wet")):
            assert line[name] == f"{row:06d}_{name}.wav"
            stored = load_audio(files / "folder" / line[name])[0]
            np.testing.assert_array_equal(stored, audio[row, channel])


@pytest.mark.parametrize("rows", [np.arange(20)[::-1], np.zeros(20), np.arange(20) - 1])
def test_row_numbers_that_do_not_increase_are_refused(files, tmp_path, rows):
    copy = tmp_path / "spectrograms.h5"
    copy.write_bytes((files / "spectrograms.h5").read_bytes())
    with h5py.File(copy, "r+") as file:
        file["row"][:] = rows
    with pytest.raises(FormatError, match="row"):
        storage.Hdf5Reader(copy, storage.SPECTROGRAMS)
