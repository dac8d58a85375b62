"""Read and write audio files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafxtool.api.arguments import PathLike
from dafxtool.audio import reader, writer


def load_audio(
    path: PathLike, *, sample_rate: int | None = None, channel: str = "first"
) -> tuple[NDArray[np.float32], int]:
    """Read one channel of a recording; return audio (n_samples,) and its sample rate in Hz.

    sample_rate  Hz, to resample to; None keeps the recording's own
    channel      "first", "mean" of all, "loudest", or a number, counted from 1

    RecordingError for a file that cannot be read completely, has no such channel, or contains NaN
    or infinite samples.
    """
    return reader.load_audio(Path(path), sample_rate, channel)


def save_audio(
    path: PathLike,
    audio: NDArray[np.float32],
    sample_rate: int,
    *,
    bit_depth: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write audio as WAV or FLAC, by the path's suffix.

    audio        (n_samples,) or (n_channels, n_samples), full scale 1.0
    sample_rate  Hz
    bit_depth    WAV: 32 (floating point, default), 24 or 16; FLAC: 24 (default) or 16

    Audio is never clipped. InputError for samples that the format cannot hold: NaN, infinity, and
    beyond full scale in other formats than floating point. OutputExistsError, DiskError.
    """
    writer.save_audio(Path(path), audio, sample_rate, overwrite, bit_depth)
