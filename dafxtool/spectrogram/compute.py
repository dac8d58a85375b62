"""Compute the standardised spectrograms of a pairs file.

A spectrogram is (2, n_bins, n_frames), dry first: the magnitude of a centred Hann STFT, raised to
a power, less the mean, over the standard deviation. With dataset standardisation these are two
constants, measured on the training split and stored with the file; with segment standardisation
they are measured on each segment (over dry and wet together, which keeps their difference) and
stored beside it. Either way the file says how to go back to linear magnitude.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.config import SpectrogramConfig
from dafxtool.errors import FormatError, OutputExistsError
from dafxtool.utils.dask_cluster import DaskCluster
from dafxtool.utils.device import pick_device
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.threads import Threads, threads_for

if TYPE_CHECKING:
    from torch import Tensor

    Channels = Sequence[Tensor]  # dry and wet, each (n_bins, n_frames)
from dafxtool.spectrogram.transform import (
    MIN_DEVIATION,
    analyse,
    compressed_channels,
    compressed_pairs,
    linear_magnitude,
    standardise_channels,
)

MEASURED_ROWS = 256  # of the training split: the constants are then known to a percent
BATCH_BYTES = 64e6  # of spectra; of what is written, a quarter at most
KEPT_BYTES = 256e6  # of what was analysed for the constants, until it is written


@dataclass(frozen=True)
class SpectrogramResult:
    path: Path
    n_pairs: int
    shape: tuple[int, int, int]
    mean: float
    deviation: float
    n_bytes: int
    hint: str | None


def compute_spectrograms(
    pairs_file: Path,
    output: Path,
    config: SpectrogramConfig,
    dtype: str = "float16",
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
    cluster: DaskCluster | None = None,
) -> SpectrogramResult:
    """Compute the spectrograms of every pair into `output`.

    config   its sample rate and segment length have to be those of the pairs
    cluster  whose workers analyse, on their CPUs; they find pairs_file under the same path
    """
    if output.exists() and pairs_file.exists() and output.samefile(pairs_file):
        raise OutputExistsError(f"{output} holds the pairs themselves: choose another --output.")
    storage.check_output(output, resume, overwrite)
    with storage.Reader(pairs_file, storage.PAIRS) as pairs:
        labels, fingerprint = pairs.labels, pairs.fingerprint()
        _check_sizes(pairs, config)
        chosen = pick_device(device if cluster is None else "cpu")
        batch = max(1, int(BATCH_BYTES // (2 * config.n_bins * config.n_frames * 8)))
        with threads_for(chosen) as threads:
            analysis = _Analysis(pairs, config, chosen, threads, batch, cluster)
            mean, deviation = 0.0, 1.0
            if config.standardisation == "dataset":
                mean, deviation = analysis.measure(progress)
            described = {
                "spectrogram": asdict(config),
                "mean": mean,
                "std": deviation,
                "dtype": dtype,
                "pairs": pairs.configuration,
                "labels": fingerprint,  # the same configuration may have lost other pairs
            }
            columns = {
                "spectrogram": ((2, config.n_bins, config.n_frames), np.dtype(dtype)),
                "mean": ((), np.float32),
                "std": ((), np.float32),
            }
            with storage.open_writer(
                output,
                storage.SPECTROGRAMS,
                columns,
                labels.effect,
                described,
                labels.effects,
                labels.recordings,
                resume,
                overwrite,
                attributes=asdict(config),
            ) as writer:
                analysis.fill(writer, mean, deviation, progress)
    return SpectrogramResult(
        output,
        len(labels),
        (2, config.n_bins, config.n_frames),
        mean,
        deviation,
        output.stat().st_size,
        config.invertible_hint(),
    )


def _check_sizes(pairs: storage.Reader, config: SpectrogramConfig) -> None:
    rate, n_samples = segment_size(pairs)
    if (rate, n_samples) != (config.sample_rate, config.n_samples):
        raise FormatError(
            f"{pairs.path} has segments of {n_samples} samples at {rate} Hz, the analysis is for "
            f"{config.n_samples} at {config.sample_rate} Hz: leave these out, the file tells them."
        )


def segment_size(pairs: storage.Reader) -> tuple[int, int]:
    """Sample rate and n_samples of a pairs file."""
    segments = pairs.configuration["segments"]
    return int(segments["sample_rate"]), int(segments["n_samples"])


class _Analysis:
    """The spectrograms of a pairs file, on one device.

    On a CPU each thread takes a pair at a time; a CUDA device takes a batch.
    """

    def __init__(
        self,
        pairs: storage.Reader,
        config: SpectrogramConfig,
        device: str,
        threads: Threads,
        batch: int,
        cluster: DaskCluster | None = None,
    ) -> None:
        self.pairs, self.config, self.device, self.cluster = pairs, config, device, cluster
        self.threads, self.batch = threads, batch
        self._kept: dict[int, Channels] = {}  # by row

    def measure(self, progress: Progress) -> tuple[float, float]:
        """Mean and standard deviation of the training split's compressed spectrograms.

        Measured on at most MEASURED_ROWS pairs, drawn from the split.
        """
        rows = self.pairs.labels.rows_of(("train",))
        if not len(rows):
            rows = np.arange(len(self.pairs))
        rows = rows[storage.some_positions(len(rows), MEASURED_ROWS)]
        size = 1 if self.device == "cpu" else self.batch
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        total, squares = 0.0, 0.0
        progress.start("measuring", len(rows), "pair")
        for part, sums in zip(parts, self.threads.map(self._sums, parts), strict=True):
            total, squares = total + sums[0], squares + sums[1]
            progress.advance(len(part))
        progress.finish()
        count = len(rows) * 2 * self.config.n_bins * self.config.n_frames
        mean = total / count
        return mean, max(MIN_DEVIATION, max(0.0, squares / count - mean**2) ** 0.5)

    def _sums(self, rows: NDArray[np.int64]) -> tuple[float, float]:
        """Sum and sum of squares: in float32 within a batch, whose sums are pairwise."""
        sound = self.pairs.rows(rows)
        if self.device != "cpu":
            values = compressed_pairs(sound, self.config, self.device)
            return float(values.sum()), float(values.square_().sum())
        channels = compressed_channels(sound[0], self.config)
        if (
            self.cluster is None
            and (len(self._kept) + 1) * 8 * self.config.n_bins * self.config.n_frames <= KEPT_BYTES
        ):
            self._kept[int(rows[0])] = channels
        sums = [(float(each.sum()), float(each.square().sum())) for each in channels]
        return sums[0][0] + sums[1][0], sums[0][1] + sums[1][1]

    def fill(
        self, writer: storage.Writer, mean: float, deviation: float, progress: Progress
    ) -> None:
        """Write the rows that are missing."""
        missing = np.flatnonzero(~writer.done())
        progress.start("analysing", len(self.pairs), "pair", done=len(self.pairs) - len(missing))
        dtype = writer.dtype("spectrogram").name
        analysed = self._on_cpu if self.device == "cpu" else self._on_device
        if self.cluster is not None:
            analysed = self._on_cluster
        for rows, values, constants in analysed(
            _batches(missing, self.batch), mean, deviation, dtype
        ):
            chosen = slice(int(rows[0]), int(rows[-1]) + 1)
            writer.put(
                int(rows[0]),
                spectrogram=values,
                mean=constants[:, 0],
                std=constants[:, 1],
                **storage.label_rows(self.pairs.labels, chosen),
            )
            progress.advance(len(rows))
        progress.finish()

    def _on_cpu(
        self, batches: Iterator[NDArray[np.int64]], mean: float, deviation: float, dtype: str
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any], NDArray[np.float32]]]:
        import torch

        def places() -> Iterator[tuple[NDArray[np.int64], Tensor, NDArray[np.float32], int]]:
            for rows in batches:
                values = torch.empty(
                    (len(rows), 2, *self.config.shape), dtype=getattr(torch, dtype)
                )
                constants = np.empty((len(rows), 2), np.float32)
                for position in range(len(rows)):
                    yield rows, values, constants, position

        def work(
            place: tuple[NDArray[np.int64], Tensor, NDArray[np.float32], int],
        ) -> tuple[NDArray[np.int64], Tensor, NDArray[np.float32], int]:
            rows, values, constants, position = place
            row = int(rows[position])
            channels = self._kept.pop(row, None)
            if channels is None:
                sound = self.pairs.rows(slice(row, row + 1))
                channels = compressed_channels(sound[0], self.config)
            constants[position] = standardise_channels(
                channels, self.config, mean, deviation, values[position]
            )
            return place

        for rows, values, constants, position in self.threads.map(work, places()):
            if position == len(rows) - 1:
                yield rows, values.numpy(), constants

    def _on_device(
        self, batches: Iterator[NDArray[np.int64]], mean: float, deviation: float, dtype: str
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any], NDArray[np.float32]]]:
        def work(
            rows: NDArray[np.int64],
        ) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.float32]]:
            sound = self.pairs.rows(slice(int(rows[0]), int(rows[-1]) + 1))
            return rows, *analyse(sound, self.config, mean, deviation, self.device, dtype)

        yield from self.threads.map(work, batches, ahead=1)

    def _on_cluster(
        self, batches: Iterator[NDArray[np.int64]], mean: float, deviation: float, dtype: str
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any], NDArray[np.float32]]]:
        assert self.cluster is not None
        requests = list(batches)
        path, fingerprint = self.pairs.path.absolute(), self.pairs.fingerprint()
        arguments = (path, fingerprint, self.config, mean, deviation, dtype)
        for position, made in self.cluster.answers(begin_on_cluster, arguments, requests):
            yield requests[position], *made


def begin_on_cluster(
    path: Path,
    fingerprint: str,
    config: SpectrogramConfig,
    mean: float,
    deviation: float,
    dtype: str,
) -> Callable[[NDArray[np.int64]], tuple[NDArray[Any], NDArray[np.float32]]]:
    """Answers rows of a pairs file with their spectrograms and constants, as `analyse` does.

    The fingerprint is part of what a worker keeps its answers by: the file may be rendered anew.
    """
    pairs = storage.Reader(path, storage.PAIRS)
    if pairs.fingerprint() != fingerprint:
        pairs.close()
        raise FormatError(
            f"{path} holds other pairs on a worker of the cluster than here: give a path that "
            "leads all of them to the same file."
        )
    return lambda rows: analyse(pairs.rows(rows), config, mean, deviation, "cpu", dtype)


def _batches(missing: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Runs of neighbouring rows, at most `size` long."""
    if not len(missing):
        return
    for run in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1):
        for start in range(0, len(run), size):
            yield run[start : start + size]


def read_magnitudes(
    path: Path, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], SpectrogramConfig]:
    """Linear magnitudes (n, 2, n_bins, n_frames) of rows of a spectrograms file."""
    with storage.Reader(path, storage.SPECTROGRAMS) as reader:
        config = SpectrogramConfig(**reader.configuration["spectrogram"])
        stored = reader.rows(rows)
        constants = np.stack([reader.column("mean"), reader.column("std")], axis=1)[rows]
    return linear_magnitude(stored, constants, config), config
