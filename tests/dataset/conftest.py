"""Recordings and a pairs file that the tests of this folder share."""

from __future__ import annotations

import pytest
from datasets import write_recordings
from small_renders import render_small


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="session")
def rendered(recordings, tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.h5"
    render_small(recordings, path)
    return path
