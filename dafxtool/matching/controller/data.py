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


def read_data(
    reader: storage.Hdf5Reader, extractor: FeatureExtractor, split: str, progress: Progress
) -> Data:
    """Compute the features of a split; InputError if it has no rows."""
    rows = reader.labels.rows_of((split,))
    if not len(rows):
        raise InputError(f"{reader.path}: no rows of the split {split!r}. Render more recordings.")
    of_audio = features_of(reader, rows, extractor.sample_rate, progress)
    progress.start(f"encoding {split}", len(rows), "segment")
    parts = []
    for start in range(0, len(rows), ROWS_A_BATCH):
        signals.check()
        part = rows[start : start + ROWS_A_BATCH]
        parts.append(extractor(reader.rows(part), of_audio[start : start + ROWS_A_BATCH]))
        progress.advance(len(part))
    progress.finish()
    return Data(rows, torch.cat(parts), targets_of(reader.labels.take(rows)))
