"""Compare the headers of an audio file with its contents, before it is decoded.

libsndfile shortens truncated files, estimates the length of an MP3 without a tag, and reads only
the first of several Ogg streams, all without an error. So each container is parsed here: its
chunks, pages or frames have to reach the end of the file. Only tags (ID3, APE, Lyrics3) and zeros
may follow. Positions and lengths are in bytes unless their name says samples.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

from dafxtool.audio.frame_checks import (
    REMEDY,
    DamagedError,
    Layout,
    begin_of_audio,
    check_flac,
    check_mp3,
    check_ogg,
    check_rest,
    end_of_audio,
    mp3_frame_length,
    read_at,
    truncation_error,
)
from dafxtool.errors import RecordingError

MOST_CHANNELS = 256
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1000, 768_000
MOST_SAMPLES_PER_BYTE = 8192  # of each channel: silence in Ogg Vorbis comes close
MOST_CHUNKS = 10_000

READABLE = "WAV, RF64, W64, AIFF, AU, CAF, FLAC, Ogg Vorbis, Opus or MP3"

# Formats that PyAV reads: bytes, their position, name.
AV_MAGIC = (
    (b"ftyp", 4, "MP4 or M4A"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 0, "WMA"),
    (b"\x1a\x45\xdf\xa3", 0, "Matroska or WebM"),
    (b"AVI ", 8, "AVI"),
    (b"wvpk", 0, "WavPack"),
    (b"MAC ", 0, "Monkey's Audio"),
    (b"TTA1", 0, "TTA"),
    (b"FLV\x01", 0, "Flash video"),
)

W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # end of all chunk names but the first
W64_RIFF = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")

# Lengths left by writers that could not return to the header: ffmpeg, sox, interrupted recorders.
UNKNOWN_32 = frozenset(
    {0, *range(0x7F000000, 0x7F000100), *range(0x7FFFF000, 1 << 31), *range(0xFFFFFF00, 1 << 32)}
)
UNKNOWN_64 = frozenset({0, (1 << 63) - 1, (1 << 64) - 1})


@dataclass(frozen=True)
class _ChunkFormat:
    """Layout of the chunks of a container."""

    container: str
    header: str  # name and length of a chunk, as a format of struct
    samples: bytes  # name of the chunk of samples
    n_before: int = 0  # bytes in that chunk before the samples
    align: int = 1
    counts_header: bool = False  # whether the length of a chunk includes its header
    unknown: frozenset[int] = UNKNOWN_64  # lengths that mean "unknown"


WAV = _ChunkFormat("WAV", "<4sI", b"data", align=2, unknown=UNKNOWN_32)
RIFX = replace(WAV, header=">4sI")
AIFF = _ChunkFormat("AIFF", ">4sI", b"SSND", n_before=8, align=2, unknown=UNKNOWN_32)
CAF = _ChunkFormat("CAF", ">4sQ", b"data", n_before=4)
W64 = _ChunkFormat("W64", "<16sQ", b"data" + W64_TAIL, align=8, counts_header=True)


def check_file(path: Path) -> Layout:
    """Identify the container of an audio file, and check that the file is complete.

    RecordingError if it is missing, empty, truncated, damaged or of an unknown format.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise RecordingError(f"{path}: a folder or a special file. Name a recording.")
        with path.open("rb") as file:
            return _layout(file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError as error:
        raise RecordingError(f"{path}: does not exist. Name a recording.") from error
    except OSError as error:
        raise RecordingError(
            f"{path}: cannot be read ({error.strerror or error}). Check it, or leave it out."
        ) from error
    except DamagedError as error:
        raise RecordingError(f"{path}: {error}") from error


def _layout(file: BinaryIO, size: int) -> Layout:
    """Choose the check by the first bytes of the file, and run it."""
    if size == 0:
        raise DamagedError("empty (0 bytes). Leave it out.")
    begin, end = begin_of_audio(file), end_of_audio(file, size)
    head = read_at(file, begin, 16)
    for magic, file_type, n_header, form in (
        (b"RIFF", b"WAVE", 12, WAV),
        (b"RF64", b"WAVE", 12, WAV),
        (b"BW64", b"WAVE", 12, WAV),
        (b"RIFX", b"WAVE", 12, RIFX),
        (b"FORM", b"AIFF", 12, AIFF),
        (b"FORM", b"AIFC", 12, AIFF),
        (b"caff", b"", 8, CAF),
        (W64_RIFF, b"", 40, W64),
    ):
        if head.startswith(magic) and head[8 : 8 + len(file_type)] == file_type:
            return _check_chunks(file, begin + n_header, end, size, form)
    if head[:4] in (b".snd", b"dns."):
        return _check_au(file, begin, end, size)
    if head[:4] == b"fLaC":
        return check_flac(file, begin, end, size)
    if head[:4] == b"OggS":
        return check_ogg(file, begin, end, size)
    if mp3_frame_length(head):
        return check_mp3(file, begin, end, size)
    for magic, at, name in AV_MAGIC:
        if head[at : at + len(magic)] == magic:
            return Layout(name, size, entry="start", needs_av=True)
    raise DamagedError(
        f"not a recording that can be read (expected {READABLE}). Convert it, or leave it out."
    )


def check_plausible(
    path: Path, layout: Layout, sample_rate_hz: int, n_channels: int, n_samples: int
) -> None:
    """Raise RecordingError if a decoder reports values that this file cannot have."""
    if not LOWEST_RATE_HZ <= sample_rate_hz <= HIGHEST_RATE_HZ:
        found = f"{sample_rate_hz} Hz, expected {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz"
    elif not 1 <= n_channels <= MOST_CHANNELS:
        found = f"{n_channels} channels, expected 1 to {MOST_CHANNELS}"
    elif not 0 <= n_samples <= layout.n_bytes * MOST_SAMPLES_PER_BYTE:
        found = f"{n_samples} samples in {layout.n_bytes} bytes"
    elif layout.n_samples not in (None, n_samples):
        found = f"{n_samples} samples in the header, {layout.n_samples} in the file"
    else:
        return
    raise RecordingError(f"{path}: damaged header (found {found}). Leave it out.")


# Containers of chunks


def _check_chunks(file: BinaryIO, position: int, end: int, size: int, form: _ChunkFormat) -> Layout:
    """Check every chunk up to the end, and find the chunk of samples."""
    n_header = struct.calcsize(form.header)
    layout, long_length = None, 0
    for _ in range(MOST_CHUNKS):
        head = read_at(file, position, n_header)
        if len(head) < n_header or position + n_header > end or not _is_chunk(head):
            break
        name, length = struct.unpack(form.header, head)
        body = position + n_header
        if form.counts_header and length not in form.unknown:
            length = max(0, length - n_header)
        if name == b"ds64":  # of RF64: lengths beyond 4 GB
            long_length = int.from_bytes(read_at(file, body + 8, 8), "little")
        if name == form.samples:
            if layout:
                raise DamagedError(f"two chunks of samples (expected one). {REMEDY}")
            declared = long_length if length == 0xFFFFFFFF and long_length else length
            length = _known_length(file, body, declared, end, form)
            layout = Layout(form.container, size, n_data_bytes=length - form.n_before)
            if declared != length and (form == CAF or declared == 0):  # libsndfile needs the length
                layout = replace(layout, prefix=_with_length(file, body, length, form), begin=body)
        position = body + length
        if position > end:
            raise truncation_error(f"its chunk {name[:4].decode('ascii')!r} is incomplete")
        if position % form.align and not any(read_at(file, position, 1)):
            position += -position % form.align
    if not layout:
        raise truncation_error("found no samples")
    if position < end:
        check_rest(file, position, end, "its last chunk")
    return layout


def _with_length(file: BinaryIO, body: int, length: int, form: _ChunkFormat) -> bytes:
    """Return all bytes before the samples, with the length filled in."""
    code = form.header[0] + form.header[-1]
    n_code = struct.calcsize(code)
    if length >> 8 * n_code:
        raise DamagedError("its header has no room for its length. Convert it, or leave it out.")
    return read_at(file, 0, body - n_code) + struct.pack(code, length)


def _is_chunk(head: bytes) -> bool:
    """Return whether the bytes look like the header of a chunk: names are ASCII text."""
    return all(32 <= byte < 127 for byte in head[:4])


def _known_length(file: BinaryIO, body: int, length: int, end: int, form: _ChunkFormat) -> int:
    """Return the length of the samples: up to the end of the file if the header does not say."""
    left = end - body
    if length == 0 and left >= 8 and _is_chunk(read_at(file, body, 4)):
        return 0
    if length in form.unknown or length in (end, end - 8):  # these two include the header
        return left
    if length > left:
        raise truncation_error(f"found {left} bytes of samples, expected {length} by its header")
    return length


def _check_au(file: BinaryIO, begin: int, end: int, size: int) -> Layout:
    """Compare the length in the header of an AU file with its bytes."""
    order: Literal["big", "little"] = "big" if read_at(file, begin, 4) == b".snd" else "little"
    offset, length = (int.from_bytes(read_at(file, begin + at, 4), order) for at in (4, 8))
    left = end - begin - offset
    length = left if length == 0xFFFFFFFF else length
    if length > left:
        raise truncation_error(
            f"found {max(0, left)} bytes of samples, expected {length} by its header"
        )
    check_rest(file, begin + offset + length, end, "the samples")
    return Layout("AU", size, n_data_bytes=length)
