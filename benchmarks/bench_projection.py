"""Compare projections to two dimensions: time, trustworthiness and effect accuracy.

    python benchmarks/bench_projection.py LATENTS [--points 120 600 2000 8000] [--rounds 3]

LATENTS is a file of 'dafxtool embed'. Every fit is a fresh process with one thread. `cold` includes
the imports; `warm` is a second fit in the same process. Both are processor seconds beside wall
seconds, which shows other load on the machine. Trustworthiness (Venna & Kaski 2001) is over 10
neighbours, accuracy is that of the 5 nearest neighbours in the plane, both of at most 2,000 points.
`same` states whether both fits, and one with two threads, gave the same bits.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import check, print_header, print_table
from numpy.typing import NDArray

METHODS = ("tsne", "opentsne", "umap", "pca")
MOST_COMPARED = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("latents", type=Path)
    parser.add_argument("--points", type=int, nargs="+", default=[120, 600, 2000, 8000])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fit", choices=METHODS, help=argparse.SUPPRESS)  # in a child
    chosen = parser.parse_args()
    if chosen.fit:
        print(json.dumps(fit(chosen.latents, chosen.fit)))
        return
    print_header("projection", "scikit-learn")
    rows = []
    with TemporaryDirectory() as scratch:
        for n_points in chosen.points:
            sample = Path(scratch) / f"{n_points}.npz"
            write_sample(sample, chosen.latents, n_points)
            rows += measured(sample, chosen.methods, n_points, chosen.rounds)
    columns = ("method", "points", "cold CPU s (wall)", "warm CPU s (wall)")
    print_table((*columns, "trustworthiness", "effect, 5-NN", "same"), rows)


def write_sample(path: Path, latents: Path, n_points: int) -> None:
    """Write the effect part of n_points random rows, and the effect of each.

    A file with fewer rows is filled up with mixtures of two rows of one effect, with noise.
    """
    from dafxtool.latents.table import read_latents

    result = read_latents(latents)
    styles, effects = result.effect_part, result.labels.effect
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(styles))[:n_points]
    extra = rng.integers(len(styles), size=n_points - len(rows))
    others = [rng.choice(np.flatnonzero(effects == effects[row])) for row in extra]
    share = rng.random((len(extra), 1), dtype=np.float32)
    mixed = share * styles[extra] + (1 - share) * styles[np.array(others, int)]
    mixed += 0.15 * styles.std(axis=0) * rng.standard_normal(mixed.shape, dtype=np.float32)
    points = np.concatenate([styles[rows], mixed]).astype(np.float32)
    np.savez(path, latents=points, effects=np.concatenate([effects[rows], effects[extra]]))


def measured(
    sample: Path, methods: Sequence[str], n_points: int, rounds: int
) -> list[tuple[str, ...]]:
    """Return a row of the table for each method; the methods alternate."""
    result: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}
    for _ in range(rounds):
        for method in methods:
            result[method].append(child(sample, method, "1"))
    rows = []
    for method, fits in result.items():
        digests = {each["digest"] for each in (*fits, child(sample, method, "2"))}
        median = {
            key: statistics.median(each[key] for each in fits)
            for key in ("cold_cpu", "cold", "warm_cpu", "warm", "trust", "accuracy")
        }
        rows.append(
            (
                method,
                f"{n_points:,}",
                f"{median['cold_cpu']:.1f} ({median['cold']:.1f})",
                f"{median['warm_cpu']:.1f} ({median['warm']:.1f})",
                f"{median['trust']:.4f}",
                f"{median['accuracy']:.1%}",
                "yes" if len(digests) == 1 and all(each["same"] for each in fits) else "no",
            )
        )
    return rows


def child(sample: Path, method: str, n_threads: str) -> dict[str, Any]:
    words = [sys.executable, __file__, str(sample), "--fit", method]
    threads = {name: n_threads for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run(words, env={**os.environ, **threads}, capture_output=True, text=True)
    check(done.returncode == 0, done.stderr[-500:])
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def fit(sample: Path, method: str) -> dict[str, Any]:
    """Project twice in this process, and evaluate the first projection."""
    with np.load(sample) as arrays:
        latents, effects = arrays["latents"], arrays["effects"]
    answer: dict[str, Any] = {}
    both = []
    for which in ("cold", "warm"):
        wall, cpu = time.perf_counter(), time.process_time()
        both.append(projected(latents, method))
        answer[which] = time.perf_counter() - wall
        answer[f"{which}_cpu"] = time.process_time() - cpu
    answer["same"] = bool(np.array_equal(*both))
    answer["digest"] = hashlib.sha256(both[0].tobytes()).hexdigest()
    return answer | evaluated(latents, both[0], effects)


def projected(latents: NDArray[np.float32], method: str) -> NDArray[np.float32]:
    from dafxtool.latents.projection import perplexity, project

    if method != "opentsne":
        return project(latents, method).points
    from openTSNE import TSNE

    reducer = TSNE(perplexity=perplexity(len(latents)), random_state=0, n_jobs=1)
    return np.asarray(reducer.fit(latents), dtype=np.float32)


def evaluated(
    latents: NDArray[np.float32], points: NDArray[np.float32], effects: NDArray[np.int64]
) -> dict[str, Any]:
    from sklearn.manifold import trustworthiness
    from sklearn.neighbors import KNeighborsClassifier

    rows = np.random.default_rng(1).permutation(len(points))[:MOST_COMPARED]
    latents, points, effects = latents[rows], points[rows], effects[rows]
    # The nearest neighbour of a point is itself: take one more and leave the first out.
    near = KNeighborsClassifier(5).fit(points, effects).kneighbors(points, 6, False)[:, 1:]
    predicted = np.array([np.bincount(effects[each]).argmax() for each in near])
    return {
        "trust": float(trustworthiness(latents, points, n_neighbors=10)),
        "accuracy": float(np.mean(predicted == effects)),
    }


if __name__ == "__main__":
    main()
