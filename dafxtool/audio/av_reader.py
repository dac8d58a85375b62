"""Decode formats that libsndfile does not support (M4A, WMA, Matroska, video) with PyAV.

A file is always decoded from its start, so that every segment has the same bits as in the complete
recording. Its length has to match its header within MOST_MISSING_SECONDS.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import RecordingError

MOST_MISSING_SECONDS = 0.03  # headers round the length, and count the padding of encoders
FULL_SCALES = {"u8": 1 << 7, "s16": 1 << 15, "s32": 1 << 31}


def has_av() -> bool:
    """Return whether PyAV is installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def open_av(path: Path, name: str) -> Iterator[tuple[int, int, Iterator[NDArray[np.float32]]]]:
    """Open a file and yield its sample rate (Hz), number of channels, and an iterator of blocks.

    name  of the format, for messages

    A block is (n_samples, n_channels). RecordingError if PyAV is not installed, or if the file
    contains no audio or is damaged.
    """
    if not has_av():
        raise RecordingError(
            f"{path}: reading {name} needs PyAV. Install it with pip install 'dafxtool[av]', or "
            "convert the file."
        )
    import av

    with _translate_errors(path), path.open("rb") as file, av.open(file) as container:
        if not container.streams.audio:
            raise RecordingError(f"{path}: contains no audio (found {name}). Leave it out.")
        stream = container.streams.audio[0]
        yield stream.rate, stream.channels, _blocks(path, container, stream)


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """Raise errors of PyAV as RecordingError."""
    import av

    try:
        yield
    except (av.FFmpegError, ValueError, OverflowError) as error:
        raise RecordingError(
            f"{path}: cannot be decoded ({error}). Convert it, or leave it out."
        ) from error


def _blocks(path: Path, container: Any, stream: Any) -> Iterator[NDArray[np.float32]]:
    """Decode from the start to the end; RecordingError if parts are missing."""
    expected = _header_seconds(container, stream)
    if expected is None:
        raise RecordingError(f"{path}: its header has no length. Convert it to WAV or FLAC.")
    n_samples, start = 0, None
    for frame in _frames(path, container, stream):
        if frame.sample_rate != stream.rate or frame.layout.nb_channels != stream.channels:
            raise RecordingError(f"{path}: changes its sample rate or channels. Leave it out.")
        seconds = frame.time
        if seconds is not None:
            start = seconds if start is None else start
            if abs(seconds - start - n_samples / stream.rate) > MOST_MISSING_SECONDS:
                raise RecordingError(f"{path}: damaged (a gap at {seconds:.1f} s). Leave it out.")
        n_samples += frame.samples
        yield _as_float(frame)
    if n_samples / stream.rate < expected - MOST_MISSING_SECONDS:
        raise RecordingError(
            f"{path}: truncated or damaged (found {n_samples / stream.rate:.1f} s, expected "
            f"{expected:.1f} s by its header). Copy or convert it again, or leave it out."
        )


def _frames(path: Path, container: Any, stream: Any) -> Iterator[Any]:
    """Decode all packets with the checks of ffmpeg; RecordingError for a damaged one."""
    stream.codec_context.options = {"err_detect": "crccheck+explode"}
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise RecordingError(
                f"{path}: truncated or damaged. Copy or convert it again, or leave it out."
            )
        yield from packet.decode()


def _header_seconds(container: Any, stream: Any) -> float | None:
    """Return the length by the header in seconds; None if it has none."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / 1e6


def _as_float(frame: Any) -> NDArray[np.float32]:
    """Convert a frame to float32 (n_samples, n_channels), full scale 1.0."""
    samples, sample_format = frame.to_ndarray(), frame.format.name.rstrip("p")
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if sample_format == "u8":
        samples = samples.astype(np.float32) - 128
    scale = FULL_SCALES.get(sample_format, 1)
    return np.ascontiguousarray((samples / np.float64(scale)).T, dtype=np.float32)
