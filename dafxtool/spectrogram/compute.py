"""Compute the standardised spectrograms of a pairs file.

A spectrogram is (2, n_bins, n_frames), dry first. It is the magnitude of a centred Hann STFT,
raised to a power, minus the mean, divided by the standard deviation.

Dataset standardisation estimates the mean and standard deviation once, on the training split.
Segment standardisation estimates them on each segment, over dry and wet together, which keeps
their difference. The file stores both numbers for every row, so that linear magnitudes can be
recovered.
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
from dafxtool.spectrogram.transform import (
    MIN_STD,
    analyse,
    compressed_channels,
    compressed_pairs,
    linear_magnitude,
    standardise_channels,
)
from dafxtool.utils.dask_cluster import DaskCluster
from dafxtool.utils.device import pick_device
from dafxtool.utils.notebook import Displayed
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.threads import Threads, threads_for

if TYPE_CHECKING:
    from torch import Tensor

    Channels = Sequence[Tensor]  # dry and wet, each (n_bins, n_frames)

Batch = tuple[NDArray[np.int64], NDArray[Any], NDArray[np.float32]]  # rows, spectrograms, stats

STATS_ROWS = 256  # training pairs that determine the mean and std to about a percent
BATCH_BYTES = 64e6  # complex spectra of a batch; the stored spectrograms take a quarter at most
CACHE_BYTES = 256e6  # compressed magnitudes of the rows of the stats, kept until they are written


@dataclass(frozen=True, repr=False)
class SpectrogramResult(Displayed):
    """Summary of a spectrograms file.

    shape      (2, n_bins, n_frames) of one spectrogram
    mean, std  of dataset standardisation, else 0 and 1
    hint       warning that the magnitudes cannot be inverted well
    """

    path: Path
    n_pairs: int
    shape: tuple[int, int, int]
    mean: float
    std: float
    n_bytes: int
    hint: str | None

    def __repr__(self) -> str:
        shape = " x ".join(map(str, (self.n_pairs, *self.shape)))
        return f"SpectrogramResult({str(self.path)!r}, {shape})"


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
    """Compute the spectrograms of every pair and write them to `output`.

    config   has the sample rate and segment length of the pairs
    dtype    of the stored spectrograms
    resume   continue an interrupted file
    cluster  Dask cluster whose CPUs compute; its workers read pairs_file under the same path

    FormatError        the sample rate or segment length differs from the pairs file
    OutputExistsError  output exists and overwrite is not set, or output is the pairs file
    """
    if output.exists() and pairs_file.exists() and output.samefile(pairs_file):
        raise OutputExistsError(f"{output}: is the pairs file. Choose another --output.")
    storage.check_output(output, resume, overwrite)
    with storage.Hdf5Reader(pairs_file, storage.PAIRS) as pairs:
        labels, fingerprint = pairs.labels, pairs.fingerprint()
        _check_sizes(pairs, config)
        device = pick_device(device if cluster is None else "cpu")
        progress.detail(f"computing spectrograms on {device}")
        batch_size = max(1, int(BATCH_BYTES // (2 * config.n_bins * config.n_frames * 8)))
        with threads_for(device) as threads:
            analysis = _Analysis(pairs, config, device, threads, batch_size, cluster)
            mean, std = 0.0, 1.0
            if config.standardisation == "dataset":
                mean, std = analysis.estimate_stats(progress)
            configuration = {
                "spectrogram": asdict(config),
                "mean": mean,
                "std": std,
                "dtype": dtype,
                "pairs": pairs.configuration,
                "labels": fingerprint,  # other pairs may have failed with the same configuration
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
                configuration,
                labels.effects,
                labels.recordings,
                resume,
                overwrite,
                attributes=asdict(config),
            ) as writer:
                analysis.write_missing(writer, mean, std, progress)
    return SpectrogramResult(
        output,
        len(labels),
        (2, config.n_bins, config.n_frames),
        mean,
        std,
        output.stat().st_size,
        config.invertible_hint(),
    )


def _check_sizes(pairs: storage.Hdf5Reader, config: SpectrogramConfig) -> None:
    rate, n_samples = segment_size(pairs)
    if (rate, n_samples) != (config.sample_rate, config.n_samples):
        raise FormatError(
            f"{pairs.path}: wrong segment size (found {n_samples} samples at {rate} Hz, expected "
            f"{config.n_samples} at {config.sample_rate} Hz). Leave the sample rate and the "
            "segment length out of the configuration."
        )


def segment_size(pairs: storage.Hdf5Reader) -> tuple[int, int]:
    """Return the sample rate in Hz and the segment length in samples of a pairs file."""
    segments = pairs.configuration["segments"]
    return int(segments["sample_rate"]), int(segments["n_samples"])


class _Analysis:
    """Compute the spectrograms of a pairs file on one device or a cluster.

    On a CPU each thread computes one pair at a time; a CUDA device computes a batch.
    """

    def __init__(
        self,
        pairs: storage.Hdf5Reader,
        config: SpectrogramConfig,
        device: str,
        threads: Threads,
        batch_size: int,
        cluster: DaskCluster | None = None,
    ) -> None:
        self.pairs, self.config, self.device, self.cluster = pairs, config, device, cluster
        self.threads, self.batch_size = threads, batch_size
        self._cache: dict[int, Channels] = {}  # by row

    def estimate_stats(self, progress: Progress) -> tuple[float, float]:
        """Estimate mean and standard deviation of the training split's compressed spectrograms.

        At most STATS_ROWS pairs of the split are used; all pairs if the split is empty.
        """
        rows = self.pairs.labels.rows_of(("train",))
        if not len(rows):
            rows = np.arange(len(self.pairs))
        rows = rows[storage.some_positions(len(rows), STATS_ROWS)]
        size = 1 if self.device == "cpu" else self.batch_size
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        total, squares = 0.0, 0.0
        progress.start("estimating mean and std", len(rows), "pair")
        for part, sums in zip(parts, self.threads.map(self._sums, parts), strict=True):
            total, squares = total + sums[0], squares + sums[1]
            progress.advance(len(part))
        progress.finish()
        count = len(rows) * 2 * self.config.n_bins * self.config.n_frames
        mean = total / count
        return mean, max(MIN_STD, max(0.0, squares / count - mean**2) ** 0.5)

    def _sums(self, rows: NDArray[np.int64]) -> tuple[float, float]:
        """Return the sum and the sum of squares of the compressed spectrograms of some rows.

        float32 is precise enough within a batch, because torch sums pairwise.
        """
        audio = self.pairs.rows(rows)
        if self.device != "cpu":
            values = compressed_pairs(audio, self.config, self.device)
            return float(values.sum()), float(values.square_().sum())
        channels = compressed_channels(audio[0], self.config)
        n_bytes = (len(self._cache) + 1) * 8 * self.config.n_bins * self.config.n_frames
        if self.cluster is None and n_bytes <= CACHE_BYTES:
            self._cache[int(rows[0])] = channels
        sums = [(float(each.sum()), float(each.square().sum())) for each in channels]
        return sums[0][0] + sums[1][0], sums[0][1] + sums[1][1]

    def write_missing(
        self, writer: storage.Hdf5Writer, mean: float, std: float, progress: Progress
    ) -> None:
        """Compute the rows that the file lacks, and write them."""
        missing = np.flatnonzero(~writer.done())
        progress.start("analysing", len(self.pairs), "pair", done=len(self.pairs) - len(missing))
        dtype = writer.dtype("spectrogram").name
        analyse_batches = self._on_cpu if self.device == "cpu" else self._on_device
        if self.cluster is not None:
            analyse_batches = self._on_cluster
        batches = _batches(missing, self.batch_size)
        for rows, spectrograms, stats in analyse_batches(batches, mean, std, dtype):
            span = slice(int(rows[0]), int(rows[-1]) + 1)
            writer.put(
                int(rows[0]),
                spectrogram=spectrograms,
                mean=stats[:, 0],
                std=stats[:, 1],
                **storage.label_rows(self.pairs.labels, span),
            )
            progress.advance(len(rows))
        progress.finish()

    def _on_cpu(
        self, batches: Iterator[NDArray[np.int64]], mean: float, std: float, dtype: str
    ) -> Iterator[Batch]:
        """Yield each batch once its last pair is done; `Threads.map` keeps the order."""
        import torch

        def tasks() -> Iterator[tuple[NDArray[np.int64], Tensor, NDArray[np.float32], int]]:
            for rows in batches:
                values = torch.empty(
                    (len(rows), 2, *self.config.shape), dtype=getattr(torch, dtype)
                )
                stats = np.empty((len(rows), 2), np.float32)
                for index in range(len(rows)):
                    yield rows, values, stats, index

        def analyse_pair(
            task: tuple[NDArray[np.int64], Tensor, NDArray[np.float32], int],
        ) -> tuple[NDArray[np.int64], Tensor, NDArray[np.float32], int]:
            rows, values, stats, index = task
            row = int(rows[index])
            channels = self._cache.pop(row, None)
            if channels is None:
                audio = self.pairs.rows(slice(row, row + 1))
                channels = compressed_channels(audio[0], self.config)
            stats[index] = standardise_channels(channels, self.config, mean, std, values[index])
            return task

        for rows, values, stats, index in self.threads.map(analyse_pair, tasks()):
            if index == len(rows) - 1:
                yield rows, values.numpy(), stats

    def _on_device(
        self, batches: Iterator[NDArray[np.int64]], mean: float, std: float, dtype: str
    ) -> Iterator[Batch]:
        def analyse_batch(rows: NDArray[np.int64]) -> Batch:
            audio = self.pairs.rows(slice(int(rows[0]), int(rows[-1]) + 1))
            return rows, *analyse(audio, self.config, mean, std, self.device, dtype)

        yield from self.threads.map(analyse_batch, batches, ahead=1)

    def _on_cluster(
        self, batches: Iterator[NDArray[np.int64]], mean: float, std: float, dtype: str
    ) -> Iterator[Batch]:
        assert self.cluster is not None
        requests = list(batches)
        path, fingerprint = self.pairs.path.absolute(), self.pairs.fingerprint()
        arguments = (path, fingerprint, self.config, mean, std, dtype)
        for index, answer in self.cluster.answers(start_on_cluster, arguments, requests):
            yield requests[index], *answer


def start_on_cluster(
    path: Path,
    fingerprint: str,
    config: SpectrogramConfig,
    mean: float,
    std: float,
    dtype: str,
) -> Callable[[NDArray[np.int64]], tuple[NDArray[Any], NDArray[np.float32]]]:
    """Return the function that analyses rows of a pairs file on a cluster's worker.

    fingerprint  of the pairs file; an argument because a worker reuses a function with the same
                 arguments, and the file may be rendered again

    FormatError  the worker finds another file under the path
    """
    pairs = storage.Hdf5Reader(path, storage.PAIRS)
    if pairs.fingerprint() != fingerprint:
        pairs.close()
        raise FormatError(
            f"{path}: a cluster worker finds other pairs there than this machine. Use a path that "
            "is the same file on all machines."
        )
    return lambda rows: analyse(pairs.rows(rows), config, mean, std, "cpu", dtype)


def _batches(missing: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Yield runs of consecutive rows, at most `size` long."""
    if not len(missing):
        return
    for run in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1):
        for start in range(0, len(run), size):
            yield run[start : start + size]


def read_magnitudes(
    path: Path, rows: Sequence[int]
) -> tuple[NDArray[np.float32], SpectrogramConfig]:
    """Read rows of a spectrograms file as linear magnitudes (n, 2, n_bins, n_frames).

    rows  row numbers of the pairs file; InputError for one that is not there
    """
    with storage.Hdf5Reader(path, storage.SPECTROGRAMS) as reader:
        config = SpectrogramConfig(**reader.configuration["spectrogram"])
        indices = reader.indices_of(rows)
        spectrograms = reader.rows(indices)
        stats = np.stack([reader.column("mean"), reader.column("std")], axis=1)[indices]
    return linear_magnitude(spectrograms, stats, config), config
