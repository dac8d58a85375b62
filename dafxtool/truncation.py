"""Files that end before their own header says: cut off, or never finished.

pedalboard makes up for what is missing with silence, and says nothing. So what a file promises is
read here, from its bytes alone: WAV, AIFF, FLAC and MP3 tell; a file that does not tell how long it
is passes for whole, and so does one that is nothing known here. Lengths and positions are in bytes,
counted from the beginning of the file.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any, BinaryIO

from dafxtool.errors import RecordingError

# A header may promise this many bytes more than there are: some writers count the header too.
SLACK_BYTES = 1024
TRAILER_BYTES = 1 << 16  # of tags and padding behind the last frame of a FLAC file
SHORTEST_MP3_FRAME = 24  # bytes, of 8 kbit/s at 24 kHz
SHORTEST_FLAC_FRAME = 10  # bytes, of one channel of silence (RFC 9639, 9)


def refuse_cut_off(path: Path) -> None:
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
