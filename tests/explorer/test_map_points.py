"""The map of a run without its pairs file, and places on it."""

from dataclasses import replace

import numpy as np
import pytest
from audio_files import noise, write_file
from datasets import RATE, SEGMENTS

from dafxtool.audio.reader import read_info
from dafxtool.dataset.segments import cut_recording
from dafxtool.errors import InputError
from dafxtool.explorer import map_points
from dafxtool.explorer.recordings import Source, built_in_sources, read_segment
from dafxtool.models.run import Run
from dafxtool.utils.progress import SILENT


@pytest.fixture(scope="module")
def latent_map(run, tmp_path_factory):
    """Build a map of built-in recordings, with few points."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_points, "N_RENDERED", 20)
        sources = built_in_sources(tmp_path_factory.mktemp("built-in"))
        return map_points.build_map(run, None, sources, SILENT)


def test_without_pairs_the_run_s_effects_are_rendered_at_random_settings(latent_map):
    effects = latent_map.latents.effects()
    assert effects.count("overdrive") == effects.count("delay") == 10
    assert len({path["path"] for path in latent_map.latents.labels.recordings}) == 22
    assert len(set(latent_map.latents.labels.setting_text)) == 20
    assert np.isfinite(latent_map.projection.points).all()


def test_the_audio_of_a_point_is_the_embedded_audio(latent_map, run):
    for row in (0, 7):
        latent = run.embed_audio(latent_map.audio(row)[None])[0]
        np.testing.assert_allclose(latent, latent_map.latents.latent[row], atol=1e-4)
        location = latent_map.locate(latent)
        assert location.neighbours[0] == row
        point = latent_map.projection.points[row]
        np.testing.assert_allclose([location.x, location.y], point, atol=1e-2)


def test_the_latent_at_a_point_is_its_own_and_between_points_a_mean(latent_map):
    points, latents = latent_map.projection.points, latent_map.latents.latent
    np.testing.assert_allclose(latent_map.latent_at(*points[3]), latents[3], atol=1e-3)
    between = latent_map.latent_at(*points[[3, 4]].mean(axis=0))
    assert (between >= latents.min(axis=0) - 1e-4).all()
    assert (between <= latents.max(axis=0) + 1e-4).all()
    with pytest.raises(InputError, match="map"):
        latent_map.audio(20)


def test_the_points_of_a_model_are_embedded_once(run, tmp_path, monkeypatch):
    """The user's cache holds them for the next start; another model has other points."""
    monkeypatch.setenv("DAFXTOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(map_points, "N_RENDERED", 4)
    embedded = []
    embed_audio = Run.embed_audio
    monkeypatch.setattr(
        Run, "embed_audio", lambda self, pairs: embedded.append(1) or embed_audio(self, pairs)
    )
    sources = built_in_sources(tmp_path / "built-in")
    first, second = (map_points.build_map(run, None, sources, SILENT) for _ in range(2))
    assert len(embedded) == 2
    np.testing.assert_array_equal(first.latents.latent, second.latents.latent)
    np.testing.assert_array_equal(first.projection.points, second.projection.points)
    assert first.latents.labels.setting_text == second.latents.labels.setting_text
    map_points.build_map(replace(run, mean=run.mean + 1), None, sources, SILENT)
    assert len(embedded) == 4


def test_weights_fall_with_distance_and_sum_to_1():
    weights = map_points._weights(np.array([1, 2, 2, 4], np.float32))
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights[0] / weights[1:], [16, 16, 256], rtol=1e-4)
    assert map_points._weights(np.array([0, 1, 2], np.float32))[0] > 0.999


def source_of(path):
    return Source("x", path.name, "file", path, read_info(path))


def test_a_segment_has_the_bits_that_rendering_cuts(tmp_path):
    path = write_file(tmp_path / "long.wav", noise(3 * 44_100), 44_100, "PCM_16")
    for start in (0, 5000, 23_000):
        segment = read_segment(source_of(path), start, SEGMENTS)
        np.testing.assert_array_equal(segment, cut_recording(path, start, SEGMENTS))


def test_the_loudest_channel_is_read(tmp_path):
    samples = np.concatenate([np.zeros((1, RATE), np.float32), noise(RATE)])
    path = write_file(tmp_path / "second.wav", samples, RATE, "FLOAT")
    segment = read_segment(source_of(path), 0, SEGMENTS)
    np.testing.assert_array_equal(segment, samples[1, : SEGMENTS.n_samples])
