"""Define latents, their audio and two map pages for the browser tests."""

from __future__ import annotations

import numpy as np
import pytest
from map_pages import REPEATED, write_page
from test_latent_map_page import N_WITH_AUDIO, SPLITS

from dafxtool.latents.embed import embed
from dafxtool.web.map_audio import audio_reader, collect_audio


@pytest.fixture(scope="module")
def latents(pairs_file, run):
    return embed([pairs_file], run)


@pytest.fixture(scope="module")
def map_audio(latents, run, pairs_file):
    read_audio = audio_reader(pairs_file, latents, run, SPLITS)
    map_audio = collect_audio(latents, run, read_audio, N_WITH_AUDIO)
    audio = np.tile(map_audio.audio, (1, 1, REPEATED))
    return type(map_audio)(**{**vars(map_audio), "audio": audio})


@pytest.fixture(scope="module")
def spaced(latents, map_audio, tmp_path_factory):
    """Write a page whose points lie on a circle, far apart."""
    angle = np.linspace(0, 2 * np.pi, len(latents), endpoint=False)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return write_page(tmp_path_factory.mktemp("spaced") / "map.html", latents, points, map_audio)


@pytest.fixture(scope="module")
def crowded(latents, map_audio, tmp_path_factory):
    """Write a page whose points without audio lie a few pixels from those with audio."""
    rng = np.random.default_rng(1)
    points = rng.uniform(-1, 1, (len(latents), 2))
    faint = np.setdiff1d(np.arange(len(latents)), map_audio.rows)
    beside = map_audio.rows[np.arange(len(faint)) % len(map_audio.rows)]
    angle = 2.4 * np.arange(len(faint))
    points[faint] = points[beside] + 0.02 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return write_page(tmp_path_factory.mktemp("crowded") / "map.html", latents, points, map_audio)
