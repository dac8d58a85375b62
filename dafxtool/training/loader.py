"""Load the spectrograms of one split as batches, with the labels of their rows.

The spectrograms are on the device, in memory, or in the file. Labels are effects and settings.
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

MEMORY_SHARE = 0.6  # of free memory, used for the dataset


@dataclass(frozen=True)
class Targets:
    """Labels of rows.

    effect   (n,) index of the effect
    setting  (n, n_parameters), one column for each parameter of each effect: the normalised value,
             scaled to -sqrt(3) to sqrt(3), so that a uniform draw has variance 1; NaN in rows of
             other effects
    """

    effect: Tensor
    setting: Tensor

    def __getitem__(self, positions: Tensor) -> Targets:
        return Targets(self.effect[positions], self.setting[positions])


def targets_of(labels: storage.Labels) -> Targets:
    """Convert the labels of a file to targets."""
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

    They are stored on the device if they fit, else in memory, else read ahead from the file. For a
    GPU, a thread gathers and pins the next batch and copies it on a stream of its own during the
    present step. Nothing here waits for the GPU.

    n_neighbours  number of processes on this machine that store the same, including this one
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
        """Return mean and standard deviation of the standardisation of rows, (n, 2)."""
        rows = self.rows[positions]
        return np.stack([self._reader.column(name)[rows] for name in ("mean", "std")], axis=1)

    @property
    def n_parameters(self) -> int:
        """Number of parameters of all effects."""
        return self._targets.setting.shape[1]

    def targets(self, positions: NDArray[np.int64]) -> Targets:
        """Return the labels of rows, on the device."""
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
        """Yield batches (n, 2, n_bins, n_frames) for positions in this split, reading one ahead."""
        if self.place == "device" or (self.place == "memory" and self.device == "cpu"):
            # No reading or copying: a thread would only take a core from the computation.
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
        """Gather a batch as stored, and the event of its copy to a GPU."""
        if self._held is None:
            batch = torch.from_numpy(self._reader.rows(self.rows[positions]))
        else:
            batch = self._held[_sent(torch.from_numpy(positions), self._held.device)]
        if self._copying is None or batch.is_cuda:
            return batch, None
        with torch.cuda.stream(self._copying):
            return _sent(batch, self.device), self._copying.record_event()

    def _arrived(self, batch: Tensor, arrival: Any) -> Tensor:
        """Order later GPU work after the copy, without waiting here; convert to float32."""
        if arrival is not None:
            working = torch.cuda.current_stream(self.device)
            working.wait_event(arrival)
            batch.record_stream(working)
        return batch.float()


def _choose(device: str) -> None:
    """Set the GPU of this thread; CUDA stores it for each thread."""
    if device != "cpu":
        torch.cuda.set_device(device)


def _sent(values: Tensor, device: str | torch.device) -> Tensor:
    """Copy values to a device from pinned memory, since copies from other memory block."""
    if torch.device(device).type == "cpu":
        return values
    return values.pin_memory().to(device, non_blocking=True)
