"""Spectrograms of one split as batches for training: on the device, in memory, or from the file.

What the rows are labelled with, their effect and setting, goes beside them as numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dafxtool import storage
from dafxtool.effects.effect import Effect
from dafxtool.utils.device import free_memory

MEMORY_SHARE = 0.6  # of what is free may hold the dataset


@dataclass(frozen=True)
class Targets:
    """What rows are labelled with.

    effect   (n,) index of the effect
    setting  (n, n_parameters) of all effects' parameters side by side: the place in the range, from
             -sqrt(3) to sqrt(3), so that an even draw has variance 1; NaN for other effects'
    """

    effect: Tensor
    setting: Tensor

    def __getitem__(self, positions: Tensor) -> Targets:
        return Targets(self.effect[positions], self.setting[positions])


def targets_of(labels: storage.Labels) -> Targets:
    """The targets of all rows of a file."""
    effects = [Effect.from_dict(effect) for effect in labels.effects]
    columns = []
    for index, effect in enumerate(effects):
        for number, parameter in enumerate(effect.parameters):
            column = np.full(len(labels), np.nan, dtype=np.float32)
            for row in np.flatnonzero(labels.effect == index):
                position = parameter.to_normalised(float(labels.setting[row, number]))
                column[row] = (position - 0.5) * 12**0.5
            columns.append(column)
    setting = np.stack(columns, axis=1) if columns else np.zeros((len(labels), 0), np.float32)
    return Targets(torch.from_numpy(labels.effect.astype(np.int64)), torch.from_numpy(setting))


class SplitLoader:
    """Spectrograms of one split, as batches of float32 on the device.

    They are held on the device where they fit, else in memory, else read ahead from the file. On
    the way to a GPU a batch is gathered and pinned by a thread and copied on a stream of its own,
    while the one before is worked on; nothing in here waits for the GPU.

    n_neighbours  processes on this machine that hold the same, this one among them
    """

    def __init__(
        self,
        reader: storage.Hdf5Reader,
        rows: NDArray[np.int64],
        device: str,
        n_neighbours: int = 1,
    ) -> None:
        self.rows, self.device, self._reader = rows, device, reader
        self._copying = None if device == "cpu" else torch.cuda.Stream(device)
        n_bytes = len(rows) * reader.bytes_per_row
        self.place = "file"
        self._held: Tensor | None = None
        if device != "cpu" and n_bytes < MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]:
            self.place = "device"
        elif n_neighbours * n_bytes < MEMORY_SHARE * free_memory():
            self.place = "memory"
        targets = targets_of(reader.labels.take(rows))
        self._targets = Targets(targets.effect.to(device), targets.setting.to(device))
        if self.place != "file":
            self._held = self._load(reader, "cpu" if self.place == "memory" else device)

    def constants(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, 2): the mean and deviation that take each of these rows back."""
        rows = self.rows[positions]
        return np.stack([self._reader.column(name)[rows] for name in ("mean", "std")], axis=1)

    @property
    def n_parameters(self) -> int:
        """Of all effects together."""
        return self._targets.setting.shape[1]

    def targets(self, positions: NDArray[np.int64]) -> Targets:
        """The labels of these rows, on the device."""
        return self._targets[_sent(torch.from_numpy(positions), self._targets.effect.device)]

    def _load(self, reader: storage.Hdf5Reader, device: str) -> Tensor:
        held: Tensor | None = None
        for start in range(0, len(self.rows), 64):
            part = torch.from_numpy(reader.rows(self.rows[start : start + 64])).to(device)
            if held is None:
                held = torch.empty(
                    (len(self.rows), *part.shape[1:]), dtype=part.dtype, device=device
                )
            held[start : start + len(part)] = part
        assert held is not None
        return held

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, chosen: Iterator[NDArray[np.int64]]) -> Iterator[Tensor]:
        """Batches (n, 2, n_bins, n_frames) for positions in this split, one read ahead."""
        if self.place == "device" or (self.place == "memory" and self.device == "cpu"):
            # Nothing to wait for; a thread beside the arithmetic would only take a core from it.
            for positions in chosen:
                yield self._gather(positions)[0].float()
            return
        with ThreadPoolExecutor(1, initializer=_choose, initargs=(self.device,)) as pool:
            waiting = None
            for positions in chosen:
                upcoming = pool.submit(self._gather, positions)
                if waiting is not None:
                    yield self._arrived(*waiting.result())
                waiting = upcoming
            if waiting is not None:
                yield self._arrived(*waiting.result())

    def _gather(self, positions: NDArray[np.int64]) -> tuple[Tensor, Any]:
        """One batch as it is stored, and, where it is on its way to a GPU, when it arrives."""
        if self._held is None:
            batch = torch.from_numpy(self._reader.rows(self.rows[positions]))
        else:
            batch = self._held[_sent(torch.from_numpy(positions), self._held.device)]
        if self._copying is None or batch.is_cuda:
            return batch, None
        with torch.cuda.stream(self._copying):
            return _sent(batch, self.device), self._copying.record_event()

    def _arrived(self, batch: Tensor, arrival: Any) -> Tensor:
        """The batch, for work that comes after its copy; this thread does not wait for it."""
        if arrival is not None:
            working = torch.cuda.current_stream(self.device)
            working.wait_event(arrival)
            batch.record_stream(working)
        return batch.float()


def _choose(device: str) -> None:
    """Which GPU a thread uses, which each thread has to say for itself."""
    if device != "cpu":
        torch.cuda.set_device(device)


def _sent(values: Tensor, device: str | torch.device) -> Tensor:
    """The values on a device; from pinned memory, since a copy from other memory is waited for."""
    if torch.device(device).type == "cpu":
        return values
    return values.pin_memory().to(device, non_blocking=True)
