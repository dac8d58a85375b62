"""Headers that no decoder should be given: what they say cannot be, or makes it crash.

Rarer kinds of WAV go to a decoder of pedalboard's whose refusal is not looked at, and a crash;
Ogg streams of different numbers of channels, one behind the other, make it read where nothing is.
So both are looked at here, from their bytes alone. What is nothing known here passes.
"""

from __future__ import annotations

import os
import re
import struct
import sys
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO

from dafxtool.errors import RecordingError

MOST_CHANNELS = 256
MOST_CHUNKS = 10_000  # that are looked at, of WAV and AIFF
LOWEST_RATE, HIGHEST_RATE = 1000, 768_000  # Hz
MOST_SAMPLES_A_BYTE = 8192  # of each channel: silence in Ogg Vorbis comes near it

# Bits of a sample in each kind of WAV that is decoded, by its number: whole numbers, ADPCM of
# Microsoft, floating point, A-law, µ-law, ADPCM of the IMA, and whatever its subformat says.
WAVE_BITS = {
    1: (8, 16, 24, 32),
    2: (4,),
    3: (32, 64),
    6: (8,),
    7: (8,),
    17: (4,),
    65534: (8, 16, 24, 32, 64),
}
ADPCM = {2: 2, 17: 2}  # most channels
HIGHEST_RATE_OF_RARE = 384_000  # Hz

OGG_TAIL_BYTES = 1 << 18  # four of the largest pages
OGG_PAGE = re.compile(rb"OggS\0.{9}(.{4})", re.DOTALL)
OGG_BEGINNING = re.compile(rb"OggS\0.{21}.{1,4}?\x01vorbis\0{4}(.{5})", re.DOTALL)


def check_header(path: Path) -> None:
    """RecordingError where a file's header says what cannot be decoded."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
            if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:] == b"WAVE":
                problem = _wave_problem(file)
            elif head[:4] == b"FORM":
                problem = _aiff_problem(file)
            elif head[:4] == b"OggS":
                problem = _ogg_problem(file)
            else:
                return
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror or error}.") from error
    if problem:
        raise RecordingError(f"{path} {problem}: convert it, or leave it out.")


def refuse_implausible(
    path: Path, n_bytes: int, sample_rate: float, n_channels: int, n_samples: int
) -> None:
    """RecordingError where what a decoder made of a header is more than a file can hold."""
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        found = f"{sample_rate:g} Hz"
        wanted = f"{LOWEST_RATE} to {HIGHEST_RATE} Hz"
    elif not 1 <= n_channels <= MOST_CHANNELS:
        found, wanted = f"{n_channels} channels", f"1 to {MOST_CHANNELS}"
    elif not 0 <= n_samples <= n_bytes * MOST_SAMPLES_A_BYTE:
        found = f"{n_samples} samples in {n_bytes} bytes"
        wanted = "what they can hold"
    else:
        return
    raise RecordingError(
        f"{path} has {found}, by its header (wanted {wanted}): it is damaged, leave it out."
    )


def _chunks(file: BinaryIO, order: str) -> Iterator[tuple[bytes, int]]:
    """Name and length of each chunk of a WAV or AIFF file, which is at the chunk's first byte."""
    size, position = file.seek(0, 2), 12
    for _ in range(MOST_CHUNKS):
        if position + 8 > size:
            return
        file.seek(position)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        yield name, length
        position += 8 + length + length % 2


def _wave_problem(file: BinaryIO) -> str:
    """What is wrong with the format of a WAV file; nothing where it can be decoded.

    Every chunk is looked at, also behind the samples: the last format is the one that counts.
    """
    has_format = has_samples = False
    for name, length in _chunks(file, "<"):
        if name == b"fmt ":
            problem = _format_problem(file.read(min(length, 16)))
            if problem:
                return problem
            has_format = True
        elif name == b"data":
            has_samples = has_format
    return "" if has_samples else "is a WAV file without samples, or without their format"


def _format_problem(chunk: bytes) -> str:
    if len(chunk) < 16:
        return "is a WAV file whose format is cut off"
    kind, n_channels, rate, _, block, bits = struct.unpack("<HHIIHH", chunk)
    if kind not in WAVE_BITS:
        return ""  # refused by the decoder, without harm
    if bits not in WAVE_BITS[kind]:
        return f"is a WAV file of {bits} bits a sample in its format number {kind}"
    if not 1 <= n_channels <= ADPCM.get(kind, MOST_CHANNELS):
        return f"is a WAV file of {n_channels} channels in its format number {kind}"
    if kind in (1, 65534) or (kind, bits) == (3, 32):
        return ""
    if not 1 <= rate <= HIGHEST_RATE_OF_RARE:
        return f"is a WAV file of {rate} Hz in its format number {kind}"
    smallest = 7 * n_channels if kind in ADPCM else n_channels  # the head of a block of ADPCM
    if block <= smallest - (kind not in ADPCM):
        return f"is a WAV file of blocks of {block} bytes in its format number {kind}"
    return ""


def _aiff_problem(file: BinaryIO) -> str:
    """What is wrong with the format of an AIFF file; nothing where it can be decoded."""
    for name, _ in _chunks(file, ">"):
        if name == b"COMM":
            n_channels, _, bits = struct.unpack(">HIH", file.read(8).ljust(8, b"\0"))
            if not 1 <= n_channels <= MOST_CHANNELS:
                return f"is an AIFF file of {n_channels} channels"
            if not 8 <= bits <= 64:
                return f"is an AIFF file of {bits} bits a sample"
    return ""


def _ogg_problem(file: BinaryIO) -> str:
    """Is it several streams, one behind the other, that differ in channels or sample rate?"""
    size = file.seek(0, 2)
    file.seek(max(0, size - OGG_TAIL_BYTES))
    serials = set(OGG_PAGE.findall(file.read()))
    file.seek(14)
    if serials <= {file.read(4)}:
        return ""
    with mmap(file.fileno(), 0, access=ACCESS_READ) as whole:
        beginnings = set(OGG_BEGINNING.findall(whole))
    if len(beginnings) > 1:
        return "holds several streams of different channels or sample rates"
    return ""


def flac_block(path: Path) -> int:
    """Samples in each frame of a FLAC file; 0 where they differ, and of other kinds of files.

    libFLAC, asked for a sample inside a frame, trusts that the frame has all channels.
    """
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] != b"fLaC":
        return 0
    shortest, longest = struct.unpack(">HH", head[8:].ljust(4, b"\0"))
    return longest if shortest == longest else 0


# A header may promise this many bytes more than there are: some writers count the header too.
SLACK_BYTES = 1024
TRAILER_BYTES = 1 << 16  # of tags and padding behind the last frame of a FLAC file
SHORTEST_MP3_FRAME = 24  # bytes, of 8 kbit/s at 24 kHz
SHORTEST_FLAC_FRAME = 10  # bytes, of one channel of silence (RFC 9639, 9)


def check_not_truncated(path: Path) -> None:
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
            "promises more; copy or convert it again, or leave it out."
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
        return _promised_by_flac(file, begin, size)
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
    if at < 0:
        return size
    n_frames = int.from_bytes(frame[at + 8 : at + 12], "big") if flags & 1 else 0
    at += 12 if flags & 1 else 8
    n_bytes = int.from_bytes(frame[at : at + 4], "big") if flags & 2 else size - begin
    return begin + max(n_bytes, n_frames * SHORTEST_MP3_FRAME)


def _promised_by_flac(file: BinaryIO, begin: int, size: int) -> int:
    """FLAC: as many of the shortest frames as STREAMINFO tells of, or the last one that it does."""
    file.seek(begin + 8)
    stream = file.read(34)
    n_samples = int.from_bytes(stream[13:18], "big") & 0xFFFFFFFFF
    longest = int.from_bytes(stream[2:4], "big")
    promised = begin + n_samples // max(1, longest) * SHORTEST_FLAC_FRAME
    if promised <= size and not _has_last_frame(file, begin, size, stream, n_samples):
        return 2 * size
    return max(size, promised)


def _has_last_frame(file: BinaryIO, begin: int, size: int, stream: bytes, n_samples: int) -> bool:
    """Is the header of the last frame that STREAMINFO tells of there? (RFC 9639, 8.2, 9.1)"""
    shortest, longest = (int.from_bytes(stream[i : i + 2], "big") for i in (0, 2))
    if not n_samples or shortest != longest or n_samples > longest * sys.maxunicode:
        return True  # it does not tell, or its frames are of many lengths
    largest_frame = longest * ((stream[12] >> 1 & 7) + 1) * 4
    file.seek(max(begin + 42, size - 2 * largest_frame - TRAILER_BYTES))
    # Frames are numbered in the code that UTF-8 has for letters.
    number = chr((n_samples - 1) // longest).encode("utf-8", "surrogatepass")
    return re.search(rb"\xff\xf8.." + re.escape(number), file.read(), re.DOTALL) is not None
