"""Recordings on disk: find, measure, read, resample, write.

Audio is float32, full scale 1.0; what is read is mono (n_samples,). Sample numbers count from 0.
Output sample m of a resampling lies at the time of input sample m * from_rate / to_rate, without
any delay, and n input samples become ceil(n * to_rate / from_rate). Outside of a recording there
is silence.

Files are decoded at their own rate by pedalboard and resampled here: what pedalboard resamples is
shifted by up to a third of a sample (22.05 to 24 kHz), and from 96 kHz to 24 kHz tones that have to
vanish come back folded, 37 dB down.
"""

from __future__ import annotations

import io
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dafxtool.errors import InputError, MissingDependencyError, RecordingError
from dafxtool.files import check_free, writing

SUFFIXES = (".wav", ".aif", ".aiff", ".flac", ".ogg", ".mp3")
BIT_DEPTHS = {".wav": (32, 24, 16), ".flac": (24, 16)}  # that can be written; the first: default

# The resampling filter, in parts of the lower of the two rates: flat up to PASS, silent from STOP.
PASS, STOP = 0.45, 0.5
ATTENUATION_DB = 100.0
STRETCH = 1 << 20  # output samples that are resampled at a time, for the sake of memory
BLOCK = 128  # outputs of a long period that are made in one product
THREAD_SIZE = 1 << 18  # multiplications up to which OpenBLAS stays on one thread

# Whole numbers are divided by these, as everywhere; pedalboard divides by one less.
FULL_SCALES = {"int8": 1 << 7, "int16": 1 << 15, "int24": 1 << 23}

# Seeking to the first sample of an MP3 frame (1152 samples, or 576 in low rates) decodes it wrongly
# in pedalboard 0.9; to any other sample it is exact.
MP3_FRAME = 576

# A header may promise this many bytes more than there are: some writers count the header too.
SLACK_BYTES = 1024
TRAILER_BYTES = 1 << 16  # of tags and padding behind the last frame of a FLAC file

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds, at its own rate."""

    sample_rate: int  # Hz
    n_channels: int
    n_samples: int  # of each channel

    @property
    def seconds(self) -> float:
        return self.n_samples / self.sample_rate


# Finding


def find_recordings(paths: Sequence[Path]) -> list[Path]:
    """The recordings that files and folders stand for, each once, in a fixed order.

    A file is taken as it is, whatever its suffix; a folder is searched with all folders in it for
    files with one of SUFFIXES. What is hidden (a leading dot) is left out. Links are followed.

    InputError  a path does not exist or cannot be looked into, or a folder holds no recording
    """
    found: dict[str, Path] = {}  # by real path, so that nothing comes twice
    for path in map(Path, paths):
        if path.is_dir():
            inside = _walk(path)
            if not inside:
                raise InputError(
                    f"{path} holds no recordings, nor do the folders in it (looked for "
                    f"{', '.join(SUFFIXES)}): name a folder that does."
                )
            for real, each in inside:
                found.setdefault(real, each)
        elif path.is_file():
            found.setdefault(os.path.realpath(path), path)
        elif path.exists():
            raise InputError(f"{path} is neither a file nor a folder: name a recording.")
        else:
            raise InputError(f"{path} does not exist: name a recording, or a folder of them.")
    return list(found.values())


def _walk(folder: Path) -> list[tuple[str, Path]]:
    """(real path, path) of every recording below a folder."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be looked into: {error.strerror}.") from error

    found, visited = [], set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(here)
        if real in visited:  # a link led back here
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or not name.lower().endswith(SUFFIXES):
                continue
            path = os.path.join(here, name)
            own = os.path.realpath(path) if os.path.islink(path) else os.path.join(real, name)
            found.append((own, Path(path)))
    return found


# Reading


def probe(path: Path) -> AudioInfo:
    """Rate, channels and length of a recording, from its header wherever that tells.

    RecordingError  it is missing, empty, cut off, or nothing that can be read
    """
    _refuse_cut_off(path)
    with _opened(path) as file:
        return _info(file, path)


def read(path: Path, sample_rate: int | None = None, channel: str = "first") -> tuple[Audio, int]:
    """One channel of a whole recording, and its sample rate in Hz.

    sample_rate  Hz; None keeps the recording's own
    channel      "first", "mean" of all, or a number, counted from 1
    returns      (n_samples,), sample rate

    RecordingError  it cannot be read, or has no such channel, or holds NaN or infinite samples
    """
    info = probe(path)
    rate = info.sample_rate if sample_rate is None else sample_rate
    return read_segment(path, 0, resampled_length(info, rate), rate, channel, info), rate


def read_segment(
    path: Path,
    start: int,
    n_samples: int,
    sample_rate: int,
    channel: str = "first",
    info: AudioInfo | None = None,
) -> Audio:
    """The samples start to start + n_samples of read(path, sample_rate), without reading the rest.

    start, n_samples  in samples at sample_rate
    sample_rate       Hz
    channel           "first", "mean" of all, or a number, counted from 1
    info              what probe told of this path, if it is known; then the file is not probed
    returns           (n_samples,), to the bit what a read of the whole has there

    An MP3 cannot be entered in the middle: it is decoded from its beginning, at some 200 times
    real time. RecordingError as of read, and where the recording is shorter than is asked for.
    """
    info = info or probe(path)
    start, n_samples = int(start), int(n_samples)
    length = resampled_length(info, sample_rate)
    if start < 0 or n_samples < 0 or start + n_samples > length:
        raise RecordingError(
            f"{path} has {length} samples at {sample_rate} Hz, so {n_samples} samples from sample "
            f"{start} on cannot be read: ask for a part that is inside."
        )
    first, last = _needed(start, start + n_samples, info.sample_rate, sample_rate)
    first, last = max(first, 0), min(last, info.n_samples)
    native = _decode(path, first, last, channel)
    if info.sample_rate == sample_rate:
        return native
    ratio = _ratio(info.sample_rate, sample_rate)
    return _resampled_stretch(native, first, start, start + n_samples, *ratio)


def _decode(path: Path, first: int, last: int, channel: str) -> Audio:
    """The samples first to last of one channel, at the file's own rate."""
    with _opened(path) as file:
        full_scale = FULL_SCALES.get(file.file_dtype)
        # One sample more where pedalboard would otherwise go wrong; see MP3_FRAME.
        early = int(first > 0 and first % MP3_FRAME == 0)
        try:
            file.seek(first - early)
            channels = file.read(last - first + early)[:, early:]
        except (ValueError, RuntimeError) as error:
            raise RecordingError(f"{path} cannot be decoded: {_clause(error)}.") from error
    if channels.shape[1] != last - first:
        raise RecordingError(
            f"{path} ends at sample {first + channels.shape[1]} of {last}: it is cut off, or has "
            "changed since it was first looked at; copy it again, or leave it out."
        )
    samples = _pick(channels, channel, path)
    if full_scale:
        steps = len(channels) if channel == "mean" else 1  # between two whole numbers
        whole = np.rint(samples * np.float64(steps * (full_scale - 1)))
        samples = (whole / (steps * full_scale)).astype(np.float32)
    if not np.isfinite(samples).all():
        raise RecordingError(
            f"{path} holds samples that are NaN or infinite: mend it in an audio editor, or leave "
            "it out."
        )
    return samples


def _pick(channels: Audio, channel: str, path: Path) -> Audio:
    """(n_channels, n_samples) to (n_samples,)"""
    if channel == "mean":
        return channels.mean(axis=0, dtype=np.float64).astype(np.float32)
    if channel != "first" and not (channel.isdecimal() and int(channel) > 0):
        raise InputError(
            f"the channel {channel!r} is unknown: give first, mean, or a number counted from 1."
        )
    index = 0 if channel == "first" else int(channel) - 1
    if index >= len(channels):
        raise RecordingError(
            f"{path} has {len(channels)} channel{'s'[: len(channels) - 1]}, so there is no channel "
            f"{channel}: take first or mean."
        )
    return np.ascontiguousarray(channels[index])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        from pedalboard.io import AudioFile
    except ImportError as error:
        raise MissingDependencyError("pedalboard", "Reading recordings") from error
    try:
        file = AudioFile(str(path)) if _is_text(path) else AudioFile(path.open("rb"))
    except (ValueError, RuntimeError, OSError) as error:
        raise RecordingError(
            f"{path} is no recording that can be read here (WAV, AIFF, FLAC, Ogg Vorbis or MP3): "
            "convert it to one of them, or leave it out."
        ) from error
    with file:
        yield file


def _is_text(path: Path) -> bool:
    """Is its name text, as pedalboard wants it? A disk takes any bytes for a name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _info(file: Any, path: Path) -> AudioInfo:
    if not file.exact_duration_known:  # an MP3 without a header of its own: count
        while file.read(1 << 20).shape[1]:
            pass
    if not file.frames:
        raise RecordingError(f"{path} holds no samples: leave it out.")
    return AudioInfo(round(file.samplerate), file.num_channels, file.frames)


def _clause(error: Exception) -> str:
    """An error's first line, to stand at the end of a sentence."""
    return (str(error).strip().splitlines() or ["no reason is told"])[0].rstrip(".")


# Cut-off files: pedalboard makes up for what is missing with silence, and says nothing.


def _refuse_cut_off(path: Path) -> None:
    """RecordingError where a file is missing, empty, or ends before its own header says."""
    try:
        if not os.path.isfile(path) and os.path.exists(path):
            raise RecordingError(f"{path} is a folder, or no ordinary file: name a recording.")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            promised = _promised_bytes(file, size)
    except FileNotFoundError as error:
        raise RecordingError(f"{path} does not exist: name a recording that does.") from error
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror or error}.") from error
    if size == 0:
        raise RecordingError(f"{path} is empty (0 bytes): leave it out.")
    if promised - size > min(SLACK_BYTES, promised // 100):
        raise RecordingError(
            f"{path} is cut off, or was never finished: it has {size} bytes, and its header "
            "promises more; copy it again, or leave it out."
        )


def _promised_bytes(file: BinaryIO, size: int) -> int:
    """How long the file says it is; its size where it says nothing."""
    head = file.read(12)
    begin = 0
    if head[:3] == b"ID3":  # a tag before the sound; its length is in groups of seven bits
        file.seek(6)
        begin = 10 + sum(byte << (21 - 7 * i) for i, byte in enumerate(file.read(4)))
        file.seek(begin)
        head = file.read(4)
    if head[:4] in (b"RIFF", b"RF64", b"BW64", b"FORM"):
        return _promised_by_chunks(file, size, "big" if head[:4] == b"FORM" else "little")
    if head[:4] == b"fLaC":
        return size if _flac_is_whole(file, begin, size) else 2 * size
    if head[:1] == b"\xff" or begin:
        return _promised_by_mp3(file, begin, size)
    return size


def _promised_by_chunks(file: BinaryIO, size: int, order: Any) -> int:
    """WAV and AIFF: where the chunk of samples ends."""
    position, long_length = 12, 0
    while position + 8 <= size:
        file.seek(position)
        name, length = file.read(4), int.from_bytes(file.read(4), order)
        if name == b"ds64":  # lengths beyond 4 GB: of the whole, then of the samples
            long_length = int.from_bytes(file.read(16)[8:], order)
        if name in (b"data", b"SSND"):
            return position + 8 + (long_length if length == 0xFFFFFFFF and long_length else length)
        position += 8 + length + length % 2
    return size


def _promised_by_mp3(file: BinaryIO, begin: int, size: int) -> int:
    """MP3: what the Xing or Info tag in the first frame tells."""
    file.seek(begin)
    frame = file.read(200)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    if at < 0 or not flags & 2:
        return size
    at += 12 if flags & 1 else 8
    return begin + int.from_bytes(frame[at : at + 4], "big")


def _flac_is_whole(file: BinaryIO, begin: int, size: int) -> bool:
    """FLAC: is the header of the last frame that STREAMINFO tells of there? (RFC 9639, 8.2, 9.1)"""
    file.seek(begin + 8)
    stream = file.read(34)
    shortest, longest = (int.from_bytes(stream[i : i + 2], "big") for i in (0, 2))
    n_samples = int.from_bytes(stream[13:18], "big") & 0xFFFFFFFFF
    if not n_samples or shortest != longest or n_samples > longest * sys.maxunicode:
        return True  # it does not tell, or its frames are of many lengths
    largest_frame = longest * ((stream[12] >> 1 & 7) + 1) * 4
    file.seek(max(begin + 42, size - 2 * largest_frame - TRAILER_BYTES))
    # Frames are numbered in the code that UTF-8 has for letters.
    number = chr((n_samples - 1) // longest).encode("utf-8", "surrogatepass")
    return re.search(rb"\xff\xf8.." + re.escape(number), file.read(), re.DOTALL) is not None


# Resampling


def resampled_length(info: AudioInfo, sample_rate: int) -> int:
    """How many samples read(path, sample_rate) returns."""
    up, down = _ratio(info.sample_rate, sample_rate)
    return -(-info.n_samples * up // down)


def resample(audio: NDArray[Any], from_rate: int, to_rate: int) -> Audio:
    """Audio at another sample rate.

    audio    (..., n_samples)
    returns  (..., ceil(n_samples * to_rate / from_rate))

    A windowed sinc: flat to 0.45 of the lower rate, 100 dB down from 0.5 of it on (Kaiser's window
    and his formula for its length: Oppenheim & Schafer, Discrete-Time Signal Processing, 7.6).
    """
    audio = np.asarray(audio, dtype=np.float32)
    up, down = _ratio(from_rate, to_rate)
    if up == down:
        return audio.copy()
    length = -(-audio.shape[-1] * up // down)
    rows = audio.reshape(math.prod(audio.shape[:-1]), audio.shape[-1])
    made = [_resampled_stretch(row, 0, 0, length, up, down) for row in rows]
    return np.array(made, dtype=np.float32).reshape(*audio.shape[:-1], length)


def _ratio(from_rate: int, to_rate: int) -> tuple[int, int]:
    """(up, down) in lowest terms: up output samples take as long as down input samples."""
    if min(from_rate, to_rate) < 1 or from_rate != int(from_rate) or to_rate != int(to_rate):
        raise InputError(
            f"{from_rate} Hz to {to_rate} Hz cannot be resampled: give whole rates above 0."
        )
    common = math.gcd(int(from_rate), int(to_rate))
    return int(to_rate) // common, int(from_rate) // common


# The ratio repeats itself after `up` output samples, so a period of them is one matrix product with
# `down` input samples and a margin at both ends. Short periods are taken several at once, long ones
# in blocks. Which periods share a product is counted from the start of the recording: each sample
# is then added up in the same order whichever segment it is read in, to the bit.


@dataclass(frozen=True)
class _Periods:
    """How outputs are counted off: n_out of them to n_in inputs, n_rows periods in a product."""

    n_out: int
    n_in: int
    n_rows: int
    margin: int  # inputs before and after, under the filter


@lru_cache(maxsize=64)
def _periods(up: int, down: int) -> _Periods:
    times = -(-64 // up)
    n_out, n_in = up * times, down * times
    margin = math.ceil(_half_width(up, down)) + 1
    # Small enough for one thread: on more, products as small as these only wait for each other.
    n_rows = THREAD_SIZE // ((min(n_in, BLOCK * down // up) + 2 * margin) * min(n_out, BLOCK))
    return _Periods(n_out, n_in, min(max(n_rows, 1), 8) if n_out <= 1024 else 1, margin)


def _half_width(up: int, down: int) -> float:
    """Of the filter's window, in input samples."""
    transition = (STOP - PASS) * min(1.0, up / down)  # cycles a sample
    return (ATTENUATION_DB - 7.95) / (2.285 * 2 * math.pi * transition) / 2


def _needed(start: int, stop: int, from_rate: int, to_rate: int) -> tuple[int, int]:
    """The input samples that the outputs start to stop are made of."""
    up, down = _ratio(from_rate, to_rate)
    if up == down:
        return start, stop
    margin = _periods(up, down).margin
    return start * down // up - margin, (stop * down) // up + margin + 1


def _resampled_stretch(
    samples: Audio, first: int, start: int, stop: int, up: int, down: int
) -> Audio:
    """The outputs start to stop.

    samples  inputs from number `first` on; what is not among them is taken for silence
    """
    periods = _periods(up, down)
    step = periods.n_out * periods.n_rows  # outputs of one product
    stride = max(1, STRETCH // step) * step
    output = np.empty(stop - start, dtype=np.float32)
    for begin in range(start - start % step, stop, stride):
        end = min(begin + stride, -(-stop // step) * step)
        made = _whole_products(samples, first, begin // step, end // step, up, down)
        low, high = max(begin, start), min(end, stop)
        output[low - start : high - start] = made[low - begin : high - begin]
    return output


def _whole_products(
    samples: Audio, first: int, begin: int, end: int, up: int, down: int
) -> NDArray[np.float64]:
    """The outputs of the products begin to end, (n,)."""
    p = _periods(up, down)
    low = begin * p.n_rows * p.n_in - p.margin
    padded = np.zeros((end - begin) * p.n_rows * p.n_in + 2 * p.margin + 1)
    inside = slice(max(first - low, 0), max(first - low + len(samples), 0))
    piece = samples[max(low - first, 0) :][: max(len(padded) - inside.start, 0)]
    padded[inside.start : inside.start + len(piece)] = piece
    output = np.empty((end - begin, p.n_rows, p.n_out))
    for block in range(0, p.n_out, BLOCK):
        skip, weights = _weights(up, down, block, min(block + BLOCK, p.n_out))
        windows = np.lib.stride_tricks.sliding_window_view(padded[skip:], len(weights))
        rows = windows[:: p.n_in][: (end - begin) * p.n_rows]
        rows = np.ascontiguousarray(rows).reshape(end - begin, p.n_rows, len(weights))
        output[:, :, block : block + weights.shape[1]] = rows @ weights
    return output.reshape(-1)


@lru_cache(maxsize=256)
def _weights(up: int, down: int, begin: int, end: int) -> tuple[int, NDArray[np.float64]]:
    """The filter for the outputs begin to end of a period.

    returns  how many inputs of the period (margin included) come before, (n_inputs, n_outputs)
    """
    margin = _periods(up, down).margin
    skip = begin * down // up
    n_inputs = (end - 1) * down // up + 2 * margin + 1 - skip
    # Whole numbers first: the time of an output between two inputs is exact however late it comes.
    numerators = (np.arange(n_inputs)[:, None] + skip - margin) * up - np.arange(begin, end) * down
    times = numerators / up  # in input samples, from the output
    cutoff = (PASS + STOP) / 2 * min(1.0, up / down)
    position = np.clip(times / _half_width(up, down), -1, 1)
    beta = 0.1102 * (ATTENUATION_DB - 8.7)
    window = np.i0(beta * np.sqrt(1 - position**2)) * (np.abs(position) < 1)
    weights = np.sinc(2 * cutoff * times) * window
    return skip, weights / weights.sum(axis=0)  # a constant stays what it is


# Writing


def write(
    path: Path,
    audio: NDArray[Any],
    sample_rate: int,
    overwrite: bool = False,
    bit_depth: int | None = None,
) -> None:
    """Write audio as WAV or FLAC, by the path's suffix, whole or not at all.

    audio      (n_samples,) or (n_channels, n_samples), full scale 1.0
    bit_depth  WAV: 32 (floating point, and what is not said otherwise), 24 or 16; FLAC: 24 or 16

    Only floating point holds values beyond full scale. Nothing is ever clipped: InputError where
    it would have to be, for NaN and infinite samples, and for kinds of files that are not written.
    OutputExistsError and DiskError as of files.writing.
    """
    path = Path(path)
    depths = BIT_DEPTHS.get(path.suffix.lower(), ())
    depth = bit_depth or (depths[0] if depths else 0)
    if depth not in depths:
        raise InputError(
            f"{path} cannot be written{f' with {bit_depth} bits' if depths else ''}: "
            "WAV (.wav, 32, 24 or 16 bits) and FLAC (.flac, 24 or 16 bits) can."
        )
    samples = np.asarray(audio, dtype=np.float32)
    samples = samples[None] if samples.ndim == 1 else samples
    _check_samples(samples, depth, path)
    check_free(path, overwrite)  # before the work
    with writing(path, overwrite) as temporary:
        _encode(temporary, path, samples, sample_rate, depth)


def _check_samples(samples: Audio, depth: int, path: Path) -> None:
    if samples.ndim != 2 or not samples.size or len(samples) > samples.shape[1]:
        raise InputError(
            f"audio of the shape {samples.shape} cannot be written to {path}: give (n_samples,) or "
            "(n_channels, n_samples)."
        )
    peak = float(np.abs(samples).max())
    if not math.isfinite(peak):
        raise InputError(f"{path} is not written: the audio holds NaN or infinite samples.")
    if depth != 32 and peak > 1:
        raise InputError(
            f"{path} is not written: the audio peaks at {20 * math.log10(peak):+.1f} dBFS, which "
            f"{depth} bits cannot hold; lower it, or write a WAV file of 32 bits."
        )


def _encode(temporary: Path, path: Path, samples: Audio, sample_rate: int, depth: int) -> None:
    encoded = io.BytesIO()
    try:
        from pedalboard.io import AudioFile
    except ImportError as error:
        raise MissingDependencyError("pedalboard", "Writing audio files") from error
    try:
        # Into memory first: on a full disk pedalboard leaves an empty FLAC, and says nothing.
        kind = path.suffix[1:].lower()
        with AudioFile(
            encoded, "w", sample_rate, len(samples), bit_depth=depth, format=kind
        ) as file:
            file.write(samples if depth == 32 else _whole_numbers(samples, depth))
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} cannot be written at {sample_rate} Hz: {_clause(error)}."
        ) from error
    temporary.write_bytes(encoded.getbuffer())


def _whole_numbers(samples: Audio, depth: int) -> NDArray[Any]:
    """Rounded to so many bits: pedalboard, given floating point, rounds down, which is an offset.

    24 bits are the upper ones of 32.
    """
    full_scale = 1 << (depth - 1)
    rounded = np.minimum(np.rint(samples.astype(np.float64) * full_scale), full_scale - 1)
    return rounded.astype(np.int16) if depth == 16 else rounded.astype(np.int32) << 8
