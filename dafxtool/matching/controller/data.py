"""Compute the features and targets of a split, the data of a controller."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dafxtool import storage
from dafxtool.errors import InputError
from dafxtool.matching.controller.feature_cache import features_of
from dafxtool.matching.controller.network import FeatureExtractor
from dafxtool.training.loader import Targets, targets_of
from dafxtool.utils import signals
from dafxtool.utils.progress import Progress

ROWS_A_BATCH = 32  # of features
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Data:
    """Rows of one split.

    features  (n, n_features)
    """

    rows: NDArray[np.int64]
    features: Tensor
    targets: Targets

    def take(self, positions: NDArray[np.int64]) -> tuple[Tensor, Targets]:
        """Return features and targets of some rows."""
        index = torch.from_numpy(positions)
        return self.features[index], self.targets[index]


def read_splits(
    reader: storage.Hdf5Reader,
    extractor: FeatureExtractor,
    progress: Progress,
    n_rows: int | None = None,
) -> dict[str, Data]:
    """Compute the features of all splits; InputError if one has no rows.

    n_rows  number of the first rows of the file to use; None uses all
    """
    of_split = {name: reader.labels.rows_of((name,)) for name in SPLITS}
    if n_rows is not None:
        of_split = {name: rows[rows < n_rows] for name, rows in of_split.items()}
    for name, rows in of_split.items():
        if not len(rows):
            raise InputError(
                f"{reader.path}: no rows of the split {name!r}. Render more recordings."
            )
    everything = np.sort(np.concatenate(list(of_split.values())))
    of_audio = features_of(reader, everything, extractor.sample_rate, progress)
    return {
        name: _encode(
            reader, extractor, name, rows, of_audio[np.searchsorted(everything, rows)], progress
        )
        for name, rows in of_split.items()
    }


def _encode(
    reader: storage.Hdf5Reader,
    extractor: FeatureExtractor,
    split: str,
    rows: NDArray[np.int64],
    of_audio: NDArray[np.float32],
    progress: Progress,
) -> Data:
    """Add descriptors and style latents to the features of the audio."""
    progress.start(f"encoding {split}", len(rows), "segment")
    parts = []
    for start in range(0, len(rows), ROWS_A_BATCH):
        signals.check()
        part = rows[start : start + ROWS_A_BATCH]
        parts.append(extractor(reader.rows(part), of_audio[start : start + ROWS_A_BATCH]))
        progress.advance(len(part))
    progress.finish()
    return Data(rows, torch.cat(parts), targets_of(reader.labels.take(rows)))
