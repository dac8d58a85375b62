"""Check projections: neighbours, identical latents, and equal results on every run."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

from dafxtool.errors import ConfigError, InputError, MissingDependencyError
from dafxtool.latents import projection
from dafxtool.latents.projection import find_distinct, perplexity, project


def clusters(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = np.eye(3, 10) * 8
    return (np.repeat(centres, n, axis=0) + rng.standard_normal((3 * n, 10))).astype(np.float32)


@pytest.mark.parametrize("method", ["tsne", "umap", "pca"])
def test_projections_keep_clusters_apart_and_repeat(method):
    if method == "umap":
        pytest.importorskip("umap")
    result = project(clusters(40), method, seed=1)
    points = result.points.reshape(3, 40, 2)
    centres = points.mean(axis=1)
    radius = np.linalg.norm(points - centres[:, None], axis=2).mean()
    gaps = [np.linalg.norm(centres[i] - centres[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert min(gaps) > 2 * radius
    np.testing.assert_array_equal(project(clusters(40), method, seed=1).points, result.points)


@pytest.mark.parametrize("n", [3, 4, 5, 10, 30, 61, 62])
def test_perplexity_is_one_to_thirty_and_below_the_number_of_points(n):
    assert 1 <= perplexity(n) <= min(30, n - 1)
    assert np.isfinite(project(clusters(21)[:n]).points).all()


def test_few_points_keep_their_nearest_neighbour():
    """The nearest neighbour in five tight pairs is known; a wrong perplexity separates them."""
    rng = np.random.default_rng(3)
    centres = np.repeat(10 * np.eye(5), 2, axis=0)
    latents = (centres + 0.5 * rng.standard_normal((10, 5))).astype(np.float32)
    points = project(latents).points
    distances = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(10)
    np.testing.assert_array_equal(distances.argmin(axis=1), np.arange(10) ^ 1)


def test_the_number_of_threads_does_not_change_a_bit():
    program = (
        "import sys, hashlib, numpy as np\n"
        "from dafxtool.latents.projection import project\n"
        "latents = np.random.default_rng(0).standard_normal((500, 20)).astype(np.float32)\n"
        "print(hashlib.sha256(project(latents).points.tobytes()).hexdigest())\n"
    )
    digests = set()
    for threads in ("1", "3"):
        limits = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        environment = {**os.environ, **limits}
        result = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True
        )
        digests.add(result.stdout)
    assert len(digests) == 1 and b"" not in digests


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_identical_latents_share_a_point_and_are_counted(method):
    latents = clusters(10)
    latents[25] = latents[3]
    latents[7] = latents[3] * (1 + 1e-7)  # like the same segment in another batch
    result = project(latents, method)
    np.testing.assert_array_equal(result.points[[7, 25]], result.points[[3, 3]])
    assert result.n_identical == 3
    assert len(np.unique(result.points, axis=0)) == 28
    assert project(clusters(10), method).n_identical == 0


def test_copies_do_not_move_the_others():
    latents = clusters(10)
    copied = np.concatenate([latents, latents[:5]])
    np.testing.assert_array_equal(project(copied).points[:30], project(latents).points)


@pytest.mark.parametrize("n_different", [1, 2])
def test_one_or_two_different_latents_are_projected_by_pca(n_different):
    latents = np.tile(clusters(1)[:n_different], (4, 1))
    result = project(latents)
    assert result.axis_names[0].startswith("PC 1")
    assert result.n_identical == len(latents)
    assert len(np.unique(result.points, axis=0)) == n_different


def test_groups_are_numbered_in_the_order_of_their_first_rows():
    latents = np.array([[3, 0], [1, 0], [3, 0], [2, 0], [1, 0]], dtype=np.float32)
    rows, group = find_distinct(latents)
    np.testing.assert_array_equal(rows, [0, 1, 3])
    np.testing.assert_array_equal(group, [0, 1, 0, 2, 1])


def test_pca_is_that_of_the_covariance():
    latents = clusters(30)
    result = project(latents, "pca")
    values, vectors = np.linalg.eigh(np.cov(latents.T))
    expected = (latents - latents.mean(0)) @ vectors[:, ::-1][:, :2]
    np.testing.assert_allclose(np.abs(result.points), np.abs(expected), atol=1e-3)
    share = values[-1] / values.sum()
    assert f"{share:.0%}" in result.axis_names[0]


def test_too_few_points_are_no_map():
    with pytest.raises(InputError, match=r"at least 3 segments \(found 2"):
        project(clusters(1)[:2])


def test_an_unknown_method_and_a_missing_package_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match="Use tsne or umap or pca"):
        project(clusters(5), "mds")

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(projection, "version", missing)
    with pytest.raises(MissingDependencyError, match=r"pip install dafxtool\[umap\]"):
        project(clusters(5), "umap")
