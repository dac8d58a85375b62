"""Compute the standardised spectrograms of a pairs file.

A spectrogram is (2, n_bins, n_frames), dry first: the magnitude of a centred Hann STFT, raised to
a power, less the mean, over the standard deviation. With dataset standardisation these are two
constants, measured on the training split and stored with the file; with segment standardisation
they are measured on each segment (over dry and wet together, which keeps their difference) and
stored beside it. Either way the file says how to go back to linear magnitude.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import store
from dafxtool.devices import pick_device
from dafxtool.errors import FormatError, OutputExistsError
from dafxtool.progress import SILENT, Progress
from dafxtool.stft import (
    SpectrogramConfig,
    compress,
    expand,
    magnitude,
    standardise,
    unstandardise,
)

if TYPE_CHECKING:
    import torch

MEASURED_ROWS = 256  # of the training split: the constants are then known to a percent
MIN_DEVIATION = 1e-6
BATCH_BYTES = 16e6


@dataclass(frozen=True)
class SpectrogramResult:
    path: Path
    n_pairs: int
    shape: tuple[int, int, int]
    mean: float
    deviation: float
    n_bytes: int
    hint: str | None


def write_spectrograms(
    pairs_file: Path,
    output: Path,
    config: SpectrogramConfig,
    dtype: str = "float16",
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> SpectrogramResult:
    """Compute the spectrograms of every pair into `output`.

    config  its sample rate and segment length have to be those of the pairs
    """
    if output.exists() and pairs_file.exists() and output.samefile(pairs_file):
        raise OutputExistsError(f"{output} holds the pairs themselves: choose another --output.")
    store.check_output(output, resume, overwrite)
    with store.Reader(pairs_file, store.PAIRS) as pairs:
        labels = pairs.labels
        _check_sizes(pairs, config)
        chosen = pick_device(device)
        batch = max(1, int(BATCH_BYTES // (2 * config.n_bins * config.n_frames * 8)))
        mean, deviation = 0.0, 1.0
        if config.standardisation == "dataset":
            mean, deviation = measure(pairs, config, chosen, batch, progress)
        described = {
            "spectrogram": asdict(config),
            "mean": mean,
            "deviation": deviation,
            "dtype": dtype,
            "pairs": pairs.configuration,
        }
        columns = {
            "spectrogram": ((2, config.n_bins, config.n_frames), np.dtype(dtype)),
            "mean": ((), np.float32),
            "deviation": ((), np.float32),
            **store.label_columns(labels.setting.shape[1]),
        }
        with store.writing_rows(
            output,
            store.SPECTROGRAMS,
            columns,
            len(pairs),
            described,
            labels.effects,
            labels.recordings,
            resume,
            overwrite,
        ) as writer:
            _fill(writer, pairs, config, mean, deviation, chosen, batch, progress)
    return SpectrogramResult(
        output,
        len(labels),
        (2, config.n_bins, config.n_frames),
        mean,
        deviation,
        output.stat().st_size,
        config.invertible_hint(),
    )


def _check_sizes(pairs: store.Reader, config: SpectrogramConfig) -> None:
    rate, n_samples = segment_size(pairs)
    if (rate, n_samples) != (config.sample_rate, config.n_samples):
        raise FormatError(
            f"{pairs.path} has segments of {n_samples} samples at {rate} Hz, the analysis is for "
            f"{config.n_samples} at {config.sample_rate} Hz: leave these out, the file tells them."
        )


def segment_size(pairs: store.Reader) -> tuple[int, int]:
    """Sample rate and n_samples of a pairs file."""
    segments = pairs.configuration["segments"]
    return int(segments["sample_rate"]), int(segments["n_samples"])


def _fill(
    writer: store.Writer,
    pairs: store.Reader,
    config: SpectrogramConfig,
    mean: float,
    deviation: float,
    device: str,
    batch: int,
    progress: Progress,
) -> None:
    missing = np.flatnonzero(~writer.done())
    progress.start("analysing", len(pairs), "pair", done=len(pairs) - len(missing))
    dtype = writer.dtype("spectrogram").name
    for rows, sound in _read_ahead(pairs, _batches(missing, batch)):
        values, constants = analyse(sound, config, mean, deviation, device, dtype)
        chosen = slice(int(rows[0]), int(rows[-1]) + 1)
        writer.put(
            int(rows[0]),
            spectrogram=values,
            mean=constants[:, 0],
            deviation=constants[:, 1],
            **store.label_rows(pairs.labels, chosen),
        )
        progress.advance(len(rows))
    progress.finish()


def _batches(missing: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Runs of neighbouring rows, at most `size` long."""
    for run in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1):
        for start in range(0, len(run), size):
            yield run[start : start + size]


def _read_ahead(
    pairs: store.Reader, batches: Iterator[NDArray[np.int64]]
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Each batch of rows with its audio, read while the one before is being worked on."""
    with ThreadPoolExecutor(1) as pool:
        ahead = None
        for rows in batches:
            if not len(rows):
                continue
            future = pool.submit(pairs.rows, slice(int(rows[0]), int(rows[-1]) + 1))
            if ahead is not None:
                yield ahead[0], ahead[1].result()
            ahead = (rows, future)
        if ahead is not None:
            yield ahead[0], ahead[1].result()


def measure(
    pairs: store.Reader,
    config: SpectrogramConfig,
    device: str,
    batch: int,
    progress: Progress = SILENT,
) -> tuple[float, float]:
    """Mean and standard deviation of the training split's compressed spectrograms.

    Measured on at most MEASURED_ROWS pairs, drawn from the split.
    """
    rows = pairs.labels.rows_of(("train",))
    if not len(rows):
        rows = np.arange(len(pairs))
    rows = rows[store.some_positions(len(rows), MEASURED_ROWS)]
    total, squares, count = 0.0, 0.0, 0
    progress.start("measuring", len(rows), "pair")
    for start in range(0, len(rows), batch):
        sound = pairs.rows(rows[start : start + batch])
        values = compressed_pairs(sound, config, device)
        # In float32 within a batch, where sums are pairwise; in float64 over batches.
        total += float(values.sum())
        squares += float(values.square_().sum())
        count += values.numel()
        progress.advance(len(sound))
    progress.finish()
    mean = total / count
    return mean, max(MIN_DEVIATION, max(0.0, squares / count - mean**2) ** 0.5)


def compressed_pairs(
    audio: NDArray[np.float32], config: SpectrogramConfig, device: str
) -> torch.Tensor:
    """audio (n, 2, n_samples) -> compressed magnitudes (n, 2, n_bins, n_frames) on the device."""
    import torch

    sound = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32)).to(device)
    return compress(magnitude(sound, config), config)


def segment_constants(compressed: torch.Tensor) -> NDArray[np.float32]:
    """(n, 2): mean and deviation of each pair (n, 2, n_bins, n_frames)."""
    import torch

    flat = compressed.flatten(1)
    deviation = flat.std(dim=1, correction=0).clamp_min(MIN_DEVIATION)
    return torch.stack([flat.mean(dim=1), deviation], dim=1).cpu().numpy()


def analyse(
    audio: NDArray[np.float32],
    config: SpectrogramConfig,
    mean: float,
    deviation: float,
    device: str = "cpu",
    dtype: str = "float32",
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Standardised spectrograms (n, 2, n_bins, n_frames) of audio (n, 2, n_samples), as dtype.

    Also returns the constants (n, 2) that take each back: mean and deviation, the ones given or,
    with segment standardisation, those of each pair.
    """
    import torch

    compressed = compressed_pairs(audio, config, device)
    constants = np.tile(np.array([mean, deviation], np.float32), (len(audio), 1))
    if config.standardisation == "segment":
        constants = segment_constants(compressed)
    pair = torch.from_numpy(constants).to(compressed.device)[..., None, None, None]
    values = standardise(compressed, pair[:, 0], pair[:, 1])
    return values.to(getattr(torch, dtype)).cpu().numpy(), constants


def linear_magnitude(
    spectrogram: NDArray[Any],
    constants: NDArray[np.float32],
    config: SpectrogramConfig,
) -> NDArray[np.float32]:
    """Standardised (n, 2, n_bins, n_frames) back to linear magnitude, by constants (n, 2).

    What a decoder makes negative becomes 0 before the power law is undone.
    """
    import torch

    values = torch.from_numpy(np.asarray(spectrogram, dtype=np.float32))
    pair = torch.from_numpy(np.asarray(constants, dtype=np.float32))[..., None, None, None]
    return expand(unstandardise(values, pair[:, 0], pair[:, 1]), config).numpy()


def read_magnitudes(
    path: Path, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], SpectrogramConfig]:
    """Linear magnitudes (n, 2, n_bins, n_frames) of rows of a spectrograms file."""
    with store.Reader(path, store.SPECTROGRAMS) as reader:
        config = SpectrogramConfig(**reader.configuration["spectrogram"])
        stored = reader.rows(rows)
        constants = np.stack([reader.column("mean"), reader.column("deviation")], axis=1)[rows]
    return linear_magnitude(stored, constants, config), config
