"""Read recordings with libsndfile (soundfile), or with PyAV if that is installed.

Audio is float32, full scale 1.0, mono (n_samples,). Sample numbers count from 0, at the sample rate
of the output (see `resample`). A file is read completely or not at all: `header_checks` compares
its headers with its contents, and a read that returns fewer samples than requested is an error. A
segment has the same bits as the slice of the complete recording.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.av_reader import open_av
from dafxtool.audio.channels import (
    FIRST,
    LOUDEST,
    check_channel,
    select_channel,
    window_mean_squares,
)
from dafxtool.audio.frame_checks import Layout
from dafxtool.audio.header_checks import check_file, check_plausible
from dafxtool.audio.resample import Audio, ratio, required_span, resample_span
from dafxtool.errors import MissingDependencyError, RecordingError

BLOCK = 1 << 16  # samples decoded at a time
MOST_BYTES_IN_MEMORY = 1 << 30  # of a file without a length in its header

# libsndfile decodes Ogg Vorbis to the same bits if it starts this many samples earlier, and before
# the last pages, where its seeking is wrong (issue 885). 8192 were enough for 900 segments.
EARLIER = 1 << 15

# Bits per sample of the formats with a constant number of bits.
SUBTYPE_BITS = {
    "PCM_S8": 8,
    "PCM_U8": 8,
    "PCM_16": 16,
    "PCM_24": 24,
    "PCM_32": 32,
    "FLOAT": 32,
    "DOUBLE": 64,
    "ULAW": 8,
    "ALAW": 8,
}


@dataclass(frozen=True)
class AudioInfo:
    """Sample rate, channels and length of a file, at its own sample rate."""

    sample_rate: int  # Hz
    n_channels: int
    n_samples: int  # of each channel
    layout: Layout | None = field(default=None, compare=False)  # None: not checked yet

    @property
    def seconds(self) -> float:
        return self.n_samples / self.sample_rate


def read_info(path: Path) -> AudioInfo:
    """Read sample rate, channels and length of a recording, and check that it is complete.

    Only files for PyAV are decoded for this. RecordingError if the file is missing, empty,
    truncated, damaged or of an unknown format.
    """
    layout = check_file(path)
    with _open_decoder(path, layout) as decoder:
        n_samples = decoder.n_samples
        if n_samples is None:
            n_samples = sum(len(block) for block in decoder.blocks(0, None))
        if not n_samples:
            raise RecordingError(f"{path}: holds no samples. Leave it out.")
        check_plausible(path, layout, decoder.sample_rate, decoder.n_channels, n_samples)
        if layout.entry == "anywhere" and not sum(
            map(len, decoder.blocks(n_samples - 1, n_samples))
        ):
            raise _short(path, n_samples - 1, n_samples)
        return AudioInfo(decoder.sample_rate, decoder.n_channels, n_samples, layout)


def load_audio(
    path: Path, sample_rate: int | None = None, channel: str = "first"
) -> tuple[Audio, int]:
    """Read one channel of a recording.

    sample_rate  Hz; None keeps the recording's own
    channel      "first", "mean" of all, "loudest", or a number, counted from 1
    returns      (n_samples,), sample rate in Hz

    RecordingError if it cannot be read, has no such channel, or holds NaN or infinite samples.
    """
    info = read_info(path)
    rate = info.sample_rate if sample_rate is None else sample_rate
    return load_segment(path, 0, resampled_length(info, rate), rate, channel, info), rate


def resampled_length(info: AudioInfo, sample_rate: int) -> int:
    """Return the number of samples of load_audio(path, sample_rate)."""
    up, down = ratio(info.sample_rate, sample_rate)
    return -(-info.n_samples * up // down)


def load_segment(
    path: Path,
    start: int,
    n_samples: int,
    sample_rate: int,
    channel: str = "first",
    info: AudioInfo | None = None,
) -> Audio:
    """Read one segment of a recording: a slice of load_audio(path, sample_rate).

    start, n_samples  in samples at sample_rate
    sample_rate       Hz
    channel           "first", "mean" of all, "loudest", or a number, counted from 1
    info              result of read_info(path), which is called without it
    returns           (n_samples,), the same bits as the slice of the complete recording

    Only the segment is decoded; MP3, Opus and files for PyAV are decoded from the start.
    RecordingError as of load_audio, for a segment outside of the recording, and for a file that
    has changed since read_info.
    """
    if info is None or info.layout is None:
        info = _read_info_again(path, info)
    start, n_samples = int(start), int(n_samples)
    length = resampled_length(info, sample_rate)
    if start < 0 or n_samples < 0 or start + n_samples > length:
        raise RecordingError(
            f"{path}: no samples {start} to {start + n_samples} (found {length} samples at "
            f"{sample_rate} Hz). Choose a segment inside the recording."
        )
    if not n_samples:
        return np.zeros(0, dtype=np.float32)
    first, last = required_span(start, start + n_samples, info.sample_rate, sample_rate)
    first, last = max(first, 0), min(last, info.n_samples)
    channel = resolve_channel(path, channel, info)
    native = _decode(path, first, last, channel, info)
    if info.sample_rate == sample_rate:
        return native
    return resample_span(native, first, start, start + n_samples, info.sample_rate, sample_rate)


def _read_info_again(path: Path, expected: AudioInfo | None) -> AudioInfo:
    """Read the info of a file; RecordingError if it is not the expected one."""
    info = read_info(path)
    if expected not in (None, info):
        raise _changed(path)
    return info


def _decode(path: Path, first: int, last: int, channel: str, info: AudioInfo) -> Audio:
    """Read the samples first to last of one channel, at the file's own rate."""
    assert info.layout is not None
    if info.layout.n_bytes != _size(path):
        raise _changed(path)
    samples = np.empty(last - first, dtype=np.float32)
    n_done = 0
    with _open_decoder(path, info.layout) as decoder:
        if (decoder.sample_rate, decoder.n_channels) != (info.sample_rate, info.n_channels):
            raise _changed(path)
        for block in decoder.blocks(first, last):
            samples[n_done : n_done + len(block)] = select_channel(block, channel, path)
            n_done += len(block)
    if n_done != last - first:
        raise _short(path, first + n_done, last)
    if not np.isfinite(samples).all():
        raise RecordingError(
            f"{path}: holds NaN or infinite samples. Fix it in an audio editor, or leave it out."
        )
    return samples


def _size(path: Path) -> int:
    """Return the size of a file in bytes."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError as error:
        raise RecordingError(
            f"{path}: has vanished since it was first read. Put it back, or leave it out."
        ) from error
    except OSError as error:
        raise RecordingError(
            f"{path}: cannot be read ({error.strerror or error}). Check it, or leave it out."
        ) from error


def _changed(path: Path) -> RecordingError:
    """Return the error for a file that changed after read_info."""
    return RecordingError(
        f"{path}: has changed since it was first read. Start again when no program writes to it."
    )


def _short(path: Path, actual: int, expected: int) -> RecordingError:
    """Return the error for a file that ends before the expected sample."""
    return RecordingError(
        f"{path}: truncated, damaged or changed (found {actual} samples, expected {expected}). "
        "Copy it again, or leave it out."
    )


def resolve_channel(path: Path, channel: str, info: AudioInfo | None = None) -> str:
    """Return first, mean or a number; `loudest` is replaced by the number of that channel.

    The loudest channel has the largest mean square over the complete recording, which is decoded
    for it; of equal ones it is the first. RecordingError as of load_audio.
    """
    check_channel(channel)
    if channel != LOUDEST:
        return channel
    info = read_info(path) if info is None or info.layout is None else info
    if info.n_channels == 1:
        return FIRST
    levels = channel_mean_squares(path, info.n_samples, info)[0]
    return str(int(np.argmax(levels)) + 1)


def channel_mean_squares(
    path: Path, window: int, info: AudioInfo, with_mean: bool = False
) -> NDArray[np.float64]:
    """Decode a recording and compute the mean square of each channel in consecutive windows.

    window     samples at the recording's own rate
    with_mean  append the mean of the channels as a last one
    returns    (n_windows, n_channels); RecordingError if the recording cannot be decoded
    """
    if info.layout is None:
        info = _read_info_again(path, info)
    assert info.layout is not None
    with _open_decoder(path, info.layout) as decoder:
        return window_mean_squares(decoder.blocks(0, info.n_samples), window, with_mean)


# Decoders


@dataclass(frozen=True)
class _Decoder:
    """An open file. blocks(first, last) yields (n, n_channels), less if the file ends early."""

    sample_rate: int
    n_channels: int
    n_samples: int | None  # None: unknown, has to be counted
    blocks: Callable[[int, int | None], Iterator[NDArray[np.float32]]]


@contextmanager
def _open_decoder(path: Path, layout: Layout) -> Iterator[_Decoder]:
    """Open a file with PyAV or libsndfile; RecordingError if it cannot be decoded."""
    if layout.needs_av:
        with open_av(path, layout.container) as (rate, n_channels, blocks):
            yield _Decoder(rate, n_channels, None, lambda first, last: _slices(blocks, first, last))
        return
    try:
        import soundfile
    except ImportError as error:
        raise MissingDependencyError("soundfile", "Reading recordings") from error
    try:
        with _source(path, layout) as source, soundfile.SoundFile(source) as file:
            # soundfile would seek after each block, after which MP3 and Ogg decode differently.
            file.seekable = lambda: False
            n_samples = _check_length(path, layout, file)
            yield _Decoder(
                file.samplerate,
                file.channels,
                n_samples,
                lambda first, last: _sndfile_blocks(file, layout, first, last or n_samples),
            )
    except (soundfile.SoundFileError, OSError) as error:
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or error
        reason = str(reason).strip().rstrip(".")
        raise RecordingError(
            f"{path}: cannot be decoded ({reason}). Convert it, or leave it out."
        ) from error


class _Seekable:
    """A file that ignores seeks of libsndfile to positions outside of it.

    Python would print a traceback for them, because the call comes from C.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.readinto, self.read = file.readinto, file.read  # type: ignore[attr-defined]
        self.tell, self._seek = file.tell, file.seek

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with suppress(OSError, ValueError, OverflowError):
            return self._seek(offset, whence)
        return self.tell()


@contextmanager
def _source(path: Path, layout: Layout) -> Iterator[Any]:
    """Open a file for libsndfile, with the length in its header."""
    with path.open("rb") as file:
        if not layout.prefix:
            yield _Seekable(file)
            return
        if layout.n_bytes > MOST_BYTES_IN_MEMORY:
            raise RecordingError(f"{path}: its header has no length. Convert it to WAV or FLAC.")
        file.seek(layout.begin)
        yield _Seekable(io.BytesIO(layout.prefix + file.read()))


def _check_length(path: Path, layout: Layout, file: Any) -> int:
    """Return the number of samples; RecordingError if decoder and file size do not agree."""
    n_samples: int = file.frames
    bits = SUBTYPE_BITS.get(file.subtype)
    if layout.n_data_bytes is not None and bits:
        expected = layout.n_data_bytes // (bits // 8 * max(1, file.channels))
        if expected != n_samples:
            raise RecordingError(
                f"{path}: damaged header (found {n_samples} samples, expected {expected} by its "
                "size). Leave it out."
            )
    return n_samples


def _sndfile_blocks(
    file: Any, layout: Layout, first: int, last: int
) -> Iterator[NDArray[np.float32]]:
    """Decode the samples first to last, from where decoding of this container may start."""
    position = 0
    if layout.entry == "anywhere":
        position = first
    elif layout.entry == "earlier":
        position = max(0, min(first, file.frames - layout.n_last) - EARLIER)
    if position:
        file.seek(position)
    while position < last:
        block = file.read(min(BLOCK, last - position), dtype="float32", always_2d=True)
        if not len(block):
            return
        if position + len(block) > first:
            yield block[max(0, first - position) :]
        position += len(block)


def _slices(
    blocks: Iterator[NDArray[np.float32]], first: int, last: int | None
) -> Iterator[NDArray[np.float32]]:
    """Cut the samples first to last from blocks that start at sample 0."""
    position = 0
    for block in blocks:
        part = block[max(0, first - position) :]
        part = part if last is None else part[: max(0, last - max(position, first))]
        position += len(block)
        if len(part):
            yield part
        if last is not None and position >= last:
            return
