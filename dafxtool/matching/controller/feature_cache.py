"""Compute the features of the pairs of a file once, and keep them beside the file.

Features depend on the audio alone, not on a run. They take longer than a training, and are used
again by the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.errors import DafxError
from dafxtool.matching.pair_features.features import VERSION, compute_features
from dafxtool.utils import signals
from dafxtool.utils.files import atomic_write
from dafxtool.utils.progress import Progress
from dafxtool.utils.threads import threads_for

Features = NDArray[np.float32]

ROWS_A_BATCH = 32


def cache_file(pairs: Path) -> Path:
    """Return the file that keeps the features of a pairs file."""
    return pairs.with_name(f"{pairs.stem}-features.npz")


def features_of(
    reader: storage.Hdf5Reader, rows: NDArray[np.int64], sample_rate: int, progress: Progress
) -> Features:
    """Return the features (n, n_features) of rows; compute those that are not kept yet.

    What an interrupted computation has finished is kept, too. Where the file cannot be written,
    nothing is kept.
    """
    path, key = cache_file(reader.path), f"{VERSION} {reader.fingerprint()}"
    kept = _read(path, key)
    missing = np.array([row for row in rows.tolist() if row not in kept], dtype=np.int64)
    if len(missing):
        progress.start("describing pairs", len(missing), "pair")
        try:
            for row, features in _compute(reader, missing, sample_rate):
                kept[row] = features
                progress.advance()
        finally:
            _write(path, key, kept, progress)
        progress.finish()
    return np.stack([kept[row] for row in rows.tolist()])


def _compute(
    reader: storage.Hdf5Reader, rows: NDArray[np.int64], sample_rate: int
) -> Iterator[tuple[int, Features]]:
    with threads_for("cpu") as threads:
        for start in range(0, len(rows), ROWS_A_BATCH):
            signals.check()
            part = rows[start : start + ROWS_A_BATCH]
            results = threads.map(
                lambda audio: compute_features(audio, sample_rate), reader.rows(part)
            )
            yield from zip(part.tolist(), results, strict=True)


def _read(path: Path, key: str) -> dict[int, Features]:
    """Read kept features; none where the file is missing, damaged, or of other pairs."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) != key:
                return {}
            return dict(zip(file["row"].tolist(), file["features"], strict=True))
    except (OSError, ValueError, KeyError, BadZipFile):
        return {}


def _write(path: Path, key: str, kept: dict[int, Features], progress: Progress) -> None:
    if not kept:
        return
    if path.exists() and not _is_of_features(path):
        progress.message(f"features are not kept: {path} exists and holds something else")
        return
    rows = np.array(sorted(kept), dtype=np.int64)
    try:
        with atomic_write(path, overwrite=True) as temporary:
            np.savez(temporary, key=key, row=rows, features=np.stack([kept[row] for row in rows]))
    except DafxError as error:
        progress.message(f"features are not kept: {error}")


def _is_of_features(path: Path) -> bool:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {"key", "row", "features"} <= set(file)
    except (OSError, ValueError, TypeError, BadZipFile):
        return False
