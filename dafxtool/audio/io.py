"""Recordings on disk: find, measure, read, resample, write.

Audio is float32, full scale 1.0; what is read is mono (n_samples,). Sample numbers count from 0,
and are those of `resampling` where a file is read at another rate than its own.

Files are decoded at their own rate by pedalboard and resampled here: what pedalboard resamples is
shifted by up to a third of a sample (22.05 to 24 kHz), and from 96 kHz to 24 kHz tones that have to
vanish come back folded, 37 dB down.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.header_checks import (
    check_header,
    check_not_truncated,
    flac_block,
    refuse_implausible,
)
from dafxtool.audio.resample import (
    Audio,
    ratio,
    required_span,
    resample_span,
)
from dafxtool.audio.resample import resample as resample  # callers know it as audio.resample
from dafxtool.errors import InputError, MissingDependencyError, RecordingError
from dafxtool.utils.files import atomic_write, check_free

SUFFIXES = (".wav", ".aif", ".aiff", ".flac", ".ogg", ".mp3")
BIT_DEPTHS = {".wav": (32, 24, 16), ".flac": (24, 16)}  # that can be written; the first: default
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz
MP3_QUALITY = "V6"  # of a variable bit rate: some 40 kbit/s of one channel at 24 kHz

# Whole numbers are divided by these, as everywhere; pedalboard divides by one less.
FULL_SCALES = {"int8": 1 << 7, "int16": 1 << 15, "int24": 1 << 23}

# Seeking to the first sample of an MP3 frame (1152 samples, or 576 in low rates) decodes it wrongly
# in pedalboard 0.9; to any other sample it is exact.
MP3_FRAME = 576

# Seeking to where an Ogg Vorbis stream begins gives up to 12,288 wrong samples in pedalboard 0.9,
# not always the same: of 9,000 starts in 1,500 files, all that were wrong lay in the first page.
OGG_BEGINNING = 1 << 17  # samples, more than a page holds


@dataclass(frozen=True)
class AudioInfo:
    """What a file holds, at its own rate."""

    sample_rate: int  # Hz
    n_channels: int
    n_samples: int  # of each channel
    n_bytes: int | None = field(default=None, compare=False)  # of the file, where it was looked at

    @property
    def seconds(self) -> float:
        return self.n_samples / self.sample_rate


# Finding


def find_recordings(paths: Sequence[Path], leave_out: Path | None = None) -> list[Path]:
    """The recordings that files and folders stand for, each once, in a fixed order.

    A file is taken as it is, whatever its suffix; a folder is searched with all folders in it for
    files with one of SUFFIXES. What is hidden (a leading dot) is left out, and so is the folder
    leave_out. Links are followed.

    InputError  a path does not exist or cannot be looked into, or a folder holds no recording
    """
    found: dict[str, Path] = {}  # by real path, so that nothing comes twice
    for path in map(Path, paths):
        if path.is_dir():
            inside = _walk(path, leave_out)
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
        elif path.is_symlink():
            raise InputError(f"{path} is a link that leads nowhere: name a recording.")
        else:
            raise InputError(f"{path} does not exist: name a recording, or a folder of them.")
    return list(found.values())


def _walk(folder: Path, leave_out: Path | None = None) -> list[tuple[str, Path]]:
    """(real path, path) of every recording below a folder."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be looked into: {error.strerror}.") from error

    found, visited = [], {os.path.realpath(leave_out)} if leave_out else set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(here)
        if real in visited:  # a link led back here, or it is left out
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


def read_info(path: Path) -> AudioInfo:
    """Rate, channels and length of a recording, from its header wherever that tells.

    RecordingError  it is missing, empty, cut off, or nothing that can be read
    """
    check_not_truncated(path)
    check_header(path)
    n_bytes = _size(path)
    with _opened(path) as file:
        return _info(file, path, n_bytes)


def load_audio(
    path: Path, sample_rate: int | None = None, channel: str = "first"
) -> tuple[Audio, int]:
    """One channel of a whole recording, and its sample rate in Hz.

    sample_rate  Hz; None keeps the recording's own
    channel      "first", "mean" of all, or a number, counted from 1
    returns      (n_samples,), sample rate

    RecordingError  it cannot be read, or has no such channel, or holds NaN or infinite samples
    """
    info = read_info(path)
    rate = info.sample_rate if sample_rate is None else sample_rate
    return load_segment(path, 0, resampled_length(info, rate), rate, channel, info), rate


def resampled_length(info: AudioInfo, sample_rate: int) -> int:
    """How many samples read(path, sample_rate) returns."""
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
    """The samples start to start + n_samples of read(path, sample_rate), without reading the rest.

    start, n_samples  in samples at sample_rate
    sample_rate       Hz
    channel           "first", "mean" of all, or a number, counted from 1
    info              what probe told of this path, if it is known; then the file is not probed
    returns           (n_samples,), to the bit what a read of the whole has there

    An MP3 cannot be entered in the middle: it is decoded from its beginning, at some 200 times
    real time. RecordingError as of read, and where the recording is shorter than is asked for.
    """
    info = info or read_info(path)
    start, n_samples = int(start), int(n_samples)
    length = resampled_length(info, sample_rate)
    if start < 0 or n_samples < 0 or start + n_samples > length:
        raise RecordingError(
            f"{path} has {length} samples at {sample_rate} Hz, so {n_samples} samples from sample "
            f"{start} on cannot be read: ask for a part that is inside."
        )
    first, last = required_span(start, start + n_samples, info.sample_rate, sample_rate)
    first, last = max(first, 0), min(last, info.n_samples)
    native = _decode(path, first, last, channel, info)
    if info.sample_rate == sample_rate:
        return native
    up, down = ratio(info.sample_rate, sample_rate)
    return resample_span(native, first, start, start + n_samples, up, down)


def _decode(path: Path, first: int, last: int, channel: str, info: AudioInfo) -> Audio:
    """The samples first to last of one channel, at the file's own rate."""
    if info.n_bytes not in (None, _size(path)):
        raise _changed(path)  # before a decoder sees what `probe` has not looked at
    with _opened(path) as file:
        if (round(file.samplerate), file.num_channels) != (info.sample_rate, info.n_channels):
            raise _changed(path)
        full_scale = FULL_SCALES.get(file.file_dtype)
        try:
            early = _earlier(path, first)
            file.seek(first - early)
            channels = file.read(last - first + early)[:, early:]
        except (ValueError, RuntimeError, OSError) as error:
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


def _size(path: Path) -> int:
    """Of a file in bytes."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError as error:
        raise RecordingError(
            f"{path} has vanished since it was first looked at: put it back, or leave it out."
        ) from error
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror or error}.") from error


def _changed(path: Path) -> RecordingError:
    return RecordingError(
        f"{path} has changed since it was first looked at: begin again when nobody writes to it."
    )


def _earlier(path: Path, first: int) -> int:
    """So many samples before `first` the file has to be entered for pedalboard not to go wrong."""
    block = flac_block(path)
    if block:
        return first % block
    if first < OGG_BEGINNING and _is_ogg(path):
        return first
    return int(first > 0 and first % MP3_FRAME == 0)


def _is_ogg(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"OggS"


def check_channel(channel: str) -> None:
    """InputError where it is neither first, nor mean, nor a channel's number."""
    if channel not in ("first", "mean") and not (channel.isdecimal() and int(channel) > 0):
        raise InputError(
            f"the channel {channel!r} is unknown: give first, mean, or a number counted from 1."
        )


def _pick(channels: Audio, channel: str, path: Path) -> Audio:
    """(n_channels, n_samples) to (n_samples,)"""
    if channel == "mean":
        return channels.mean(axis=0, dtype=np.float64).astype(np.float32)
    check_channel(channel)
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
    with ExitStack() as opened:
        try:
            source = str(path) if _is_text(path) else opened.enter_context(path.open("rb"))
            file = opened.enter_context(AudioFile(source))
        except (ValueError, RuntimeError, OSError) as error:
            raise RecordingError(
                f"{path} is no recording that can be read here (WAV, AIFF, FLAC, Ogg Vorbis or "
                "MP3): convert it to one of them, or leave it out."
            ) from error
        yield file


def _is_text(path: Path) -> bool:
    """Is its name text, as pedalboard wants it? A disk takes any bytes for a name."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _info(file: Any, path: Path, n_bytes: int) -> AudioInfo:
    if not file.exact_duration_known:  # an MP3 without a header of its own: count
        while file.read(1 << 20).shape[1]:
            pass
    if not file.frames:
        raise RecordingError(f"{path} holds no samples: leave it out.")
    refuse_implausible(path, n_bytes, file.samplerate, file.num_channels, file.frames)
    return AudioInfo(round(file.samplerate), file.num_channels, file.frames, n_bytes)


def _clause(error: Exception) -> str:
    """An error's first line, to stand at the end of a sentence."""
    return (str(error).strip().splitlines() or ["no reason is told"])[0].rstrip(".")


# Writing


def save_audio(
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
    with atomic_write(path, overwrite) as temporary:
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


def encode(samples: NDArray[Any], sample_rate: int, kind: str) -> bytes:
    """The bytes of an MP3 or FLAC file (kind "mp3" or "flac"), to be put into a page.

    samples  (n_samples,) or (n_channels, n_samples), full scale 1.0

    FLAC has 16 bits and is exact in length. MP3 is longer by up to three of its frames of silence
    around the sound (1,728 samples below 32 kHz); rates that it does not know become the next
    higher one.

    InputError for other kinds, for NaN and infinite samples, and for a FLAC beyond full scale.
    """
    if kind not in ("mp3", "flac"):
        raise InputError(f"audio cannot be encoded as {kind!r}: use mp3 or flac.")
    sound = np.asarray(samples, dtype=np.float32)
    sound = sound[None] if sound.ndim == 1 else sound
    depth = 16 if kind == "flac" else 32
    _check_samples(sound, depth, Path(f"the {kind.upper()}"))
    if kind == "flac":
        return _encoded("a FLAC", _whole_numbers(sound, 16), sample_rate, "flac", bit_depth=16)
    if sample_rate not in MP3_RATES:
        rate = next((each for each in MP3_RATES if each > sample_rate), MP3_RATES[-1])
        sound = np.stack([resample(channel, sample_rate, rate) for channel in sound])
        sample_rate = rate
    return _encoded("an MP3", sound, sample_rate, "mp3", quality=MP3_QUALITY)


def _encode(temporary: Path, path: Path, samples: Audio, sample_rate: int, depth: int) -> None:
    sound = samples if depth == 32 else _whole_numbers(samples, depth)
    kind = path.suffix[1:].lower()
    # Into memory first: on a full disk pedalboard leaves an empty FLAC, and says nothing.
    temporary.write_bytes(_encoded(path, sound, sample_rate, kind, bit_depth=depth))


def _encoded(
    what: Path | str, sound: NDArray[Any], sample_rate: int, kind: str, **options: Any
) -> bytes:
    try:
        from pedalboard.io import AudioFile
    except ImportError as error:
        raise MissingDependencyError("pedalboard", "Writing audio files") from error
    encoded = io.BytesIO()
    try:
        with AudioFile(encoded, "w", sample_rate, len(sound), format=kind, **options) as file:
            file.write(sound)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"{what} cannot be written at {sample_rate} Hz: {_clause(error)}."
        ) from error
    return encoded.getvalue()


def _whole_numbers(samples: Audio, depth: int) -> NDArray[Any]:
    """Rounded to so many bits: pedalboard, given floating point, rounds down, which is an offset.

    24 bits are the upper ones of 32.
    """
    full_scale = 1 << (depth - 1)
    rounded = np.minimum(np.rint(samples.astype(np.float64) * full_scale), full_scale - 1)
    return rounded.astype(np.int16) if depth == 16 else rounded.astype(np.int32) << 8
