"""Find recordings in files, folders and links."""

from __future__ import annotations

import os

import pytest

from dafxtool.audio.find_recordings import _walk, find_recordings
from dafxtool.errors import InputError


def test_recordings_are_listed_once_and_in_order(tmp_path):
    names = ["b.wav", "a.FLAC", "deep/er/c.mp3", "deep/d.ogg", "e.aif", "f.WMA", "deep/g.Opus"]
    hidden = [".hidden.wav", ".folder/x.wav", "notes.txt"]
    for name in names + hidden:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = ["a.FLAC", "b.wav", "e.aif", "f.WMA", "deep/d.ogg", "deep/g.Opus", "deep/er/c.mp3"]
    paths = [tmp_path, tmp_path / "deep", tmp_path / "b.wav"]
    assert find_recordings(paths) == [tmp_path / name for name in expected]


def test_links_are_followed_and_loops_end(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.wav").touch()
    os.symlink(tmp_path / "out", tmp_path / "in" / "linked")
    os.symlink(tmp_path / "in", tmp_path / "out" / "back")
    os.symlink(tmp_path / "in" / "a.wav", tmp_path / "in" / "again.wav")
    recordings = find_recordings([tmp_path / "in"])
    assert recordings == [tmp_path / "in" / "a.wav", tmp_path / "in" / "linked" / "b.wav"]
    assert len(_walk(tmp_path / "in")) == 3  # each folder was visited once


def test_a_file_may_have_any_suffix(tmp_path):
    path = tmp_path / "take1.w"
    path.touch()
    assert find_recordings([path]) == [path]


def test_missing_paths_and_folders_without_recordings_are_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere: does not exist"):
        find_recordings([tmp_path / "nowhere"])
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no recordings"):
        find_recordings([tmp_path])
