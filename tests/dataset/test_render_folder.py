"""Render into a folder of audio files: export, resume and overwrite."""

from __future__ import annotations

import csv
import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import N_SAMPLES, RATE
from small_renders import Stop, contents, render_small, stop_after

from dafxtool import storage
from dafxtool.audio import writer
from dafxtool.audio.reader import load_audio
from dafxtool.dataset import writers
from dafxtool.errors import DiskError, OutputExistsError


def test_a_folder_of_audio_files_holds_the_same_audio(recordings, rendered, tmp_path):
    folder = tmp_path / "folder"
    render_small(recordings, folder)
    with (folder / "pairs.csv").open() as file:
        table = list(csv.DictReader(file))
    with storage.Hdf5Reader(rendered, storage.PAIRS) as reader:
        for row in (0, 11, 23):
            for channel, kind in enumerate(("dry", "wet")):
                audio, rate = load_audio(folder / table[row][kind])
                assert rate == RATE
                np.testing.assert_array_equal(audio, reader.rows(np.array([row]))[0, channel])
            assert table[row]["setting"] == reader.labels.setting_text[row]
    with pytest.raises(OutputExistsError, match="holds pairs already"):
        render_small(recordings, folder)
    render_small(recordings, folder, resume=True)  # complete: nothing to do
    with pytest.raises(OutputExistsError, match="other recordings or options"):
        render_small(recordings, folder, resume=True, pairs_per_effect=20)


def test_overwriting_with_fewer_pairs_removes_the_older_ones(recordings, tmp_path):
    folder = tmp_path / "folder"
    render_small(recordings, folder, pairs_per_effect=6)
    (folder / "mine.wav").write_bytes(b"a file of the user")
    render_small(recordings, folder, pairs_per_effect=4, overwrite=True)
    with (folder / "pairs.csv").open() as file:
        names = {row[kind] for row in csv.DictReader(file) for kind in ("dry", "wet")}
    assert {path.name for path in folder.glob("*.wav")} == names | {"mine.wav"}
    assert len(names) == 2 * 2 * 4


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("n_written", [0, 1, 17])
def test_a_folder_keeps_its_older_pairs_until_all_new_ones_are_written(
    recordings, tmp_path, monkeypatch, n_written
):
    folder, fresh, other = tmp_path / "folder", tmp_path / "fresh", {"seed": 4}
    render_small(recordings, folder, pairs_per_effect=3)
    before, written = contents(folder), []
    stop_after(monkeypatch, 5, recordings, folder, overwrite=True, **other)
    assert before.items() <= contents(folder).items()

    def fill_up(path, *rest, **options):
        if len(written) == n_written:
            full()
        written.append(path)
        writer.save_audio(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(writers, "save_audio", fill_up)
        with pytest.raises(DiskError, match="full"):
            render_small(recordings, folder, resume=True, **other)
    after = contents(folder)
    assert before.items() <= after.items()
    assert set(after) - set(before) == {".pairs.h5"}
    with pytest.raises(OutputExistsError, match="use --resume to continue"):
        render_small(recordings, folder, **other)
    render_small(recordings, folder, resume=True, **other)
    render_small(recordings, fresh, **other)
    assert contents(folder) == contents(fresh)


@pytest.mark.parametrize("n_renamed", [0, 1, 20, 49])
def test_an_export_that_is_killed_is_resumed_to_the_same_bytes(
    recordings, tmp_path, monkeypatch, n_renamed
):
    """Even between the last steps, when older audio files are already removed."""
    folder, fresh = tmp_path / "folder", tmp_path / "fresh"
    render_small(recordings, fresh)
    render_small(recordings, folder, seed=4, pairs_per_effect=20)
    replace, renamed = Path.replace, []

    def killed(path, target):
        if len(renamed) == n_renamed and target.parent == folder:
            raise Stop
        renamed.append(target)
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(Stop):
            render_small(recordings, folder, overwrite=True)
    assert not (folder / "pairs.csv").exists()
    render_small(recordings, folder, resume=True)
    assert contents(folder) == contents(fresh)


def test_audio_that_dafxtool_did_not_write_is_not_replaced(recordings, tmp_path):
    """A folder may hold files that are named like pairs but are in no table."""
    folder = tmp_path / "folder"
    writer.save_audio(folder / "000007_wet.wav", np.full(9, 0.5), RATE)
    before = contents(folder)
    for resume in (False, True):
        with pytest.raises(OutputExistsError, match="holds pairs already"):
            render_small(recordings, folder, resume=resume)
    assert contents(folder) == before


def test_a_pairs_file_in_the_folder_is_not_changed(recordings, rendered, tmp_path):
    """As with `render -o .` beside a pairs.h5."""
    shutil.copy(rendered, tmp_path / "pairs.h5")
    render_small(recordings, tmp_path, seed=4)
    assert (tmp_path / "pairs.h5").read_bytes() == rendered.read_bytes()


def test_a_folder_that_does_not_fit_on_the_disk_is_refused_before_the_work(
    recordings, tmp_path, monkeypatch
):
    n_bytes = 2 * 24 * 2 * N_SAMPLES * 4  # the pairs file and the audio files

    def usage(path):
        return shutil._ntuple_diskusage(n_bytes, 1, n_bytes - 1)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(DiskError, match=r"needs 1.6 MB while it is rendered, the disk has"):
        render_small(recordings, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_resumed_overwriting_render_removes_the_older_pairs(recordings, tmp_path, monkeypatch):
    """Also those of an unfinished render in another format."""
    folder, fresh = tmp_path / "folder", tmp_path / "fresh"
    render_small(recordings, folder)
    stop_after(monkeypatch, 20, recordings, folder, seed=4, audio_format="flac", overwrite=True)
    stop_after(monkeypatch, 2, recordings, folder, pairs_per_effect=2, overwrite=True)
    render_small(recordings, folder, pairs_per_effect=2, resume=True)
    render_small(recordings, fresh, pairs_per_effect=2)
    assert contents(folder) == contents(fresh)


def test_an_output_folder_among_the_recordings_is_not_an_input(recordings, tmp_path, monkeypatch):
    """As with `render . -o wet`."""
    inside = Path(shutil.copytree(recordings, tmp_path / "recordings")) / "wet"
    stop_after(monkeypatch, 5, inside.parent, inside)
    render_small(inside.parent, inside, resume=True)
    with (inside / "pairs.csv").open() as file:
        paths = {row["recording"] for row in csv.DictReader(file)}
    assert len(paths) > 3 and not any("wet" in Path(path).parts for path in paths)
    render_small(inside.parent, inside, overwrite=True)
