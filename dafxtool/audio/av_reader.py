"""Decode what libsndfile does not know (M4A, WMA, Matroska, video files) with PyAV, if installed.

Such a file is decoded from its start whatever part is asked for: then every part has the same bits.
It has to be as long as its header says, within MOST_MISSING_SECONDS.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import RecordingError

MOST_MISSING_SECONDS = 0.03  # headers round, and count what encoders put around the audio
FULL_SCALES = {"u8": 1 << 7, "s16": 1 << 15, "s32": 1 << 31}


def has_av() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def open_av(path: Path, name: str) -> Iterator[tuple[int, int, Iterator[NDArray[np.float32]]]]:
    """Yield the sample rate in Hz, the number of channels, and blocks (n_samples, n_channels).

    RecordingError  PyAV is not installed, the file holds no audio, or it is damaged
    """
    if not has_av():
        raise RecordingError(
            f"{path}: reading {name} needs PyAV. Install it with pip install 'dafxtool[av]', or "
            "convert the file."
        )
    import av

    with _told_errors(path), path.open("rb") as file, av.open(file) as container:
        if not container.streams.audio:
            raise RecordingError(f"{path}: holds no audio (found {name}). Leave it out.")
        stream = container.streams.audio[0]
        yield stream.rate, stream.channels, _blocks(path, container, stream)


@contextmanager
def _told_errors(path: Path) -> Iterator[None]:
    import av

    try:
        yield
    except (av.FFmpegError, ValueError, OverflowError) as error:
        raise RecordingError(f"{path}: cannot be decoded ({error}).") from error


def _blocks(path: Path, container: Any, stream: Any) -> Iterator[NDArray[np.float32]]:
    """Decode from the start to the end; RecordingError where parts are missing."""
    promised = _promised_seconds(container, stream)
    if promised is None:
        raise RecordingError(f"{path}: does not say how long it is. Convert it to WAV or FLAC.")
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
    if n_samples / stream.rate < promised - MOST_MISSING_SECONDS:
        raise RecordingError(
            f"{path}: truncated or damaged (found {n_samples / stream.rate:.1f} s, its header "
            f"promises {promised:.1f} s). Copy or convert it again, or leave it out."
        )


def _frames(path: Path, container: Any, stream: Any) -> Iterator[Any]:
    stream.codec_context.options = {"err_detect": "crccheck+explode"}
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise RecordingError(
                f"{path}: truncated or damaged. Copy or convert it again, or leave it out."
            )
        yield from packet.decode()


def _promised_seconds(container: Any, stream: Any) -> float | None:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / 1e6


def _as_float(frame: Any) -> NDArray[np.float32]:
    """Return (n_samples, n_channels), full scale 1.0."""
    samples, kind = frame.to_ndarray(), frame.format.name.rstrip("p")
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if kind == "u8":
        samples = samples.astype(np.float32) - 128
    scale = FULL_SCALES.get(kind, 1)
    return np.ascontiguousarray((samples / np.float64(scale)).T, dtype=np.float32)
