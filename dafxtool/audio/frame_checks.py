"""Check every frame of FLAC and MP3 files and every page of Ogg files, up to the end.

A gap, a damaged frame header, a page with a wrong checksum, and bytes outside of frames raise
DamagedError. Files are read from start to end in pieces, so memory does not depend on their size.
Positions and lengths are in bytes unless their name says samples.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

PIECE = 1 << 20
REMEDY = "Copy or convert it again, or leave it out."


class DamagedError(Exception):
    """A file is damaged; the message does not contain its name."""


@dataclass(frozen=True)
class Layout:
    """Container and length of an audio file, found by reading its bytes.

    A decoder gets prefix + the bytes from begin on. The prefix replaces a header without a length,
    and is empty for most files.
    """

    container: str
    n_bytes: int  # of the file
    n_data_bytes: int | None = None  # of uncompressed audio
    n_samples: int | None = None  # of each channel; None: only the decoder knows
    entry: str = "anywhere"  # where decoding may start: "anywhere", "earlier" (Vorbis), "start"
    n_last: int = 0  # samples of the last pages, where decoding may not start (Vorbis)
    prefix: bytes = b""
    begin: int = 0
    needs_av: bool = False


def truncation_error(detail: str) -> DamagedError:
    """Return the error for a file that ends too early."""
    return DamagedError(f"truncated or never finished ({detail}). {REMEDY}")


def read_at(file: BinaryIO, position: int, length: int) -> bytes:
    """Read bytes at a position; fewer where the file ends."""
    file.seek(position)
    return file.read(length)


# Tags


def syncsafe(four: bytes) -> int:
    """Decode an ID3 length of four bytes with seven bits each."""
    return sum((byte & 127) << (21 - 7 * i) for i, byte in enumerate(four))


def begin_of_audio(file: BinaryIO) -> int:
    """Return the position after the ID3 tags at the front and the zeros that may follow them."""
    position = 0
    while (head := read_at(file, position, 10))[:3] == b"ID3" and len(head) == 10:
        position += 10 + syncsafe(head[6:]) + (10 if head[5] & 16 else 0)
    if position:
        file.seek(position)
        while piece := file.read(PIECE):
            position += len(piece) - len(piece.lstrip(b"\0"))
            if piece.strip(b"\0"):
                break
    return position


def end_of_audio(file: BinaryIO, size: int) -> int:
    """Return the position before the tags at the end (ID3 version 1 and 2, APE, Lyrics3)."""
    end = size
    while True:
        tail = read_at(file, max(0, end - 128), min(end, 128)).rjust(128, b"\xff")
        length = 0
        if tail[:3] == b"TAG":
            length = 128
        elif tail[-32:-24] == b"APETAGEX":
            has_header = tail[-9] & 128
            length = int.from_bytes(tail[-20:-16], "little") + (32 if has_header else 0)
        elif tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
            length = int(tail[-15:-9]) + 15
        elif tail[-10:-7] == b"3DI":
            length = syncsafe(tail[-4:]) + 20
        if not 0 < length <= end:
            return end
        end -= length


def check_rest(file: BinaryIO, position: int, end: int, after: str) -> None:
    """Raise DamagedError unless all bytes from position to end are zero."""
    file.seek(position)
    left = end - position
    while left > 0 and (piece := file.read(min(left, PIECE))):
        if piece.strip(b"\0"):
            raise DamagedError(f"{left} bytes after {after} are not audio. {REMEDY}")
        left -= len(piece)


# FLAC (RFC 9639)

FLAC_RATES_HZ = dict(
    enumerate(
        (88_200, 176_400, 192_000, 8000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000), 1
    )
)
CRC_8, CRC_16 = 0x107, 0x18005
MOST_FLAC_FRAME = 1 << 21  # bytes: 65,535 samples of 8 channels and 32 bits
FLAC_BLOCK_SIZES = {
    1: 192,
    **{i: 144 << i for i in range(2, 6)},
    **{i: 1 << i for i in range(8, 16)},
}


def check_flac(file: BinaryIO, begin: int, end: int, size: int) -> Layout:
    """Find every frame in order, and compare the number of samples with STREAMINFO."""
    header, first_frame = _flac_metadata(file, begin, end)
    packed = int.from_bytes(header[21:26], "big")
    expected = packed & 0xFFFFFFFFF
    sample_rate = int.from_bytes(header[18:21], "big") >> 4
    n_samples, last_frame = _count_flac_samples(file, first_frame, end, sample_rate)
    if not n_samples or n_samples < expected:
        raise truncation_error(f"found {n_samples} samples, expected {expected} by its header")
    if not expected:  # encoders that write into a pipe leave the length at 0
        if end - last_frame > MOST_FLAC_FRAME or _flac_crc(
            read_at(file, last_frame, end - last_frame), CRC_16, 16
        ):
            raise DamagedError(f"damaged after {n_samples} samples. {REMEDY}")
        prefix = header[:21] + (packed | n_samples).to_bytes(5, "big") + header[26:]
        return Layout("FLAC", size, n_samples=n_samples, prefix=prefix, begin=begin + len(header))
    if n_samples > expected:
        raise DamagedError(
            f"too many samples (found {n_samples}, expected {expected} by its header). {REMEDY}"
        )
    return Layout("FLAC", size, n_samples=n_samples)


def _flac_metadata(file: BinaryIO, begin: int, end: int) -> tuple[bytes, int]:
    """Return the marker with STREAMINFO, (42,), and the position of the first frame."""
    header = read_at(file, begin, 42)
    if len(header) < 42 or header[4] & 127 or header[5:8] != b"\0\0\x22":
        raise truncation_error("found no complete header")
    position, is_last = begin + 42, header[4] & 128
    while not is_last:
        block = read_at(file, position, 4)
        position += 4 + int.from_bytes(block[1:], "big")
        if len(block) < 4 or position > end:
            raise truncation_error("found no audio")
        is_last = block[0] & 128
    return header, position


def _count_flac_samples(
    file: BinaryIO, first_frame: int, end: int, sample_rate: int
) -> tuple[int, int]:
    """Return the number of samples of all frames, and the position of the last frame.

    DamagedError where a frame does not have the next number. Frames are numbered by frame, or by
    sample where their lengths differ.
    """
    sync = read_at(file, first_frame, 16)
    if len(sync) < 16:
        raise truncation_error("found no audio")
    length = _flac_number(sync)[1]
    if sync[2] & 15 and _flac_rate(sync, length - 1) not in (0, sample_rate):
        raise DamagedError(f"its frames are not at {sample_rate} Hz, as its header says. {REMEDY}")
    n_samples, next_number, last_number, last_position = 0, 0, -1, first_frame
    for position, head in _flac_heads(file, sync[:2], first_frame, end):
        number, length = _flac_number(head)
        same = head[2] & 15 == sync[2] & 15 and head[3] & 15 == sync[3] & 15  # rate, depth
        if (
            not same
            or number not in (next_number, last_number)
            or _flac_crc(head[:length], CRC_8, 8)
        ):
            continue  # audio that looks like a header
        if number == last_number:
            raise DamagedError(f"a frame is repeated after {n_samples} samples. {REMEDY}")
        n_samples += _flac_block_size(head, length - 1)
        last_number, last_position = number, position
        next_number = number + 1 if sync[1] == 0xF8 else n_samples
    return n_samples, last_position


def _flac_heads(
    file: BinaryIO, sync: bytes, position: int, end: int
) -> Iterator[tuple[int, bytes]]:
    """Yield every position where a frame may start, and the 16 bytes from there on."""
    if sync not in (b"\xff\xf8", b"\xff\xf9"):
        return
    file.seek(position)
    piece = b""
    while position < end:
        piece = piece[-15:] + file.read(min(PIECE, end - position))
        position += PIECE
        piece_at = min(position, end) - len(piece)
        padded = piece if position < end else piece + bytes(15)
        for match in re.finditer(re.escape(sync), padded):
            if match.start() + 16 <= len(padded):
                yield piece_at + match.start(), padded[match.start() : match.start() + 16]


def _flac_number(head: bytes) -> tuple[int, int]:
    """Return the number of a frame (coded like UTF-8) and the length of its header."""
    first = head[4]
    n_more = 0 if first < 128 else 7 - (first ^ 255).bit_length()
    number = first if first < 128 else first & (63 >> n_more)
    for byte in head[5 : 5 + max(0, n_more)]:
        number = number << 6 | byte & 63
    extra = {6: 1, 7: 2}.get(head[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    return number, 6 + max(0, n_more) + extra


def _flac_crc(data: bytes, polynomial: int, n_bits: int) -> int:
    """Return the checksum of data that ends with its own checksum: 0 if that is right."""
    remainder, highest = 0, 1 << n_bits - 1
    for byte in data:
        remainder ^= byte << n_bits - 8
        for _ in range(8):
            remainder = (remainder << 1 ^ polynomial) if remainder & highest else remainder << 1
    return remainder


def _flac_rate(head: bytes, before_checksum: int) -> int:
    """Return the sample rate of a frame in Hz; 0 if the frame refers to STREAMINFO."""
    code = head[2] & 15
    if code in (12, 13, 14):
        n_bytes, unit = {12: (1, 1000), 13: (2, 1), 14: (2, 10)}[code]
        return int.from_bytes(head[before_checksum - n_bytes : before_checksum], "big") * unit
    return FLAC_RATES_HZ.get(code, 0)


def _flac_block_size(head: bytes, before_checksum: int) -> int:
    """Return the number of samples of a frame."""
    code, rate_code = head[2] >> 4, head[2] & 15
    at = before_checksum - {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if code == 6:
        return head[at - 1] + 1
    if code == 7:
        return int.from_bytes(head[at - 2 : at], "big") + 1
    return FLAC_BLOCK_SIZES.get(code, 0)


# Ogg (RFC 3533)

REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
OGG_CODECS = {b"\x01vorbis": "Ogg Vorbis", b"OpusHead": "Opus", b"\x7fFLAC": "FLAC in Ogg"}


def check_ogg(file: BinaryIO, begin: int, end: int, size: int) -> Layout:
    """Check every page (checksum, number, stream), and that the last one ends the stream."""
    codec, serial, flags = "Ogg", b"", 0
    granules = [0, 0, 0]  # sample numbers at the ends of the last pages
    position, n_pages, first_number = begin, 0, 0
    file.seek(begin)
    while position < end:
        head = file.read(27)
        if head[:5] != b"OggS\0":
            if not n_pages or not flags & 4:
                raise DamagedError(f"page {n_pages} is damaged. {REMEDY}")
            check_rest(file, position, end, "the last page")
            break
        sizes = file.read(head[26]) if len(head) == 27 else b""
        body = file.read(sum(sizes))
        page = head + sizes + body
        if len(head) < 27 or len(sizes) < head[26] or len(body) < sum(sizes):
            raise truncation_error(f"page {n_pages} is incomplete")
        if not n_pages:
            serial, first_number = head[14:18], int.from_bytes(head[18:22], "little")
            codec = next((OGG_CODECS[key] for key in OGG_CODECS if body.startswith(key)), "Ogg")
        elif head[14:18] != serial or head[5] & 2:
            raise DamagedError("several streams (expected one). Split it, or leave it out.")
        if ogg_checksum(head[:22] + bytes(4) + page[26:]) != int.from_bytes(head[22:26], "little"):
            raise DamagedError(f"page {n_pages} is damaged (wrong checksum). {REMEDY}")
        if int.from_bytes(head[18:22], "little") != first_number + n_pages:
            raise DamagedError(f"page {n_pages} is missing. {REMEDY}")
        granule = int.from_bytes(head[6:14], "little", signed=True)
        granules = [*granules[1:], granule] if granule > granules[-1] else granules
        flags, n_pages, position = head[5], n_pages + 1, position + len(page)
    if not flags & 4:
        raise truncation_error(f"page {n_pages - 1} is not marked as the last one")
    if codec == "Ogg Vorbis":
        return Layout(codec, size, entry="earlier", n_last=granules[-1] - granules[0])
    return Layout(codec, size, entry="start", needs_av=codec != "Opus")


def ogg_checksum(page: bytes) -> int:
    """Return the CRC-32 of a page: zlib's polynomial, highest bit first, nothing inverted."""
    remainder = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(remainder.to_bytes(4, "little").translate(REVERSED), "big")


# MP3 (ISO 11172-3, 13818-3, layer III)

MP3_BIT_RATES = {  # kbit/s by version: 3 is MPEG 1; 2 and 0 are MPEG 2 and 2.5
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MP3_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8000)}
MP3_DECODER_DELAY = 529  # samples that mpg123 drops at the start of a file with a tag
MP3_CONSTANT = bytes((0xFF, 0xFE, 0x0C, 0x00))  # mask of version, layer and sample rate


def mp3_frame_length(head: bytes) -> int:
    """Return the length of a frame from its first four bytes; 0 if they are not a header."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate, bit_rate = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or rate == 3 or bit_rate in (0, 15):
        return 0
    bits_per_s = 1000 * MP3_BIT_RATES[version or 2][bit_rate]
    return (144 if version == 3 else 72) * bits_per_s // MP3_RATES_HZ[version][rate] + (
        head[2] >> 1 & 1
    )


def check_mp3(file: BinaryIO, begin: int, end: int, size: int) -> Layout:
    """Count the frames and compare with the Xing tag; if there is none, build one."""
    first = read_at(file, begin, 4)
    n_frames = _count_mp3_frames(file, begin, end)
    frame = read_at(file, begin, mp3_frame_length(first))
    side = _mp3_side_length(first)
    samples_per_frame = 1152 if first[1] & 8 else 576
    tag = frame[4 + side :] if first[1] & 1 else frame[6 + side :]
    if tag[:4] in (b"Xing", b"Info") and tag[7] & 1:
        expected = int.from_bytes(tag[8:12], "big")
        if expected != n_frames - 1:
            raise truncation_error(f"found {n_frames - 1} frames, expected {expected} by its tag")
        return Layout("MP3", size, entry="start")
    if tag[:4] in (b"Xing", b"Info", b"VBRI") or frame[36:40] == b"VBRI":
        raise DamagedError("its tag has no length. Convert it, or leave it out.")
    prefix = _mp3_tag_frame(first, side, n_frames)
    n_samples = n_frames * samples_per_frame - MP3_DECODER_DELAY
    return Layout("MP3", size, n_samples=n_samples, entry="start", prefix=prefix, begin=begin)


def _mp3_side_length(head: bytes) -> int:
    """Return the length of the side information after a frame header."""
    is_mono = head[3] >> 6 == 3
    return (17 if is_mono else 32) if head[1] & 8 else (9 if is_mono else 17)


def _mp3_tag_frame(first: bytes, side: int, n_frames: int) -> bytes:
    """Build a frame with a Xing tag that contains the number of the frames after it."""
    head = bytes((0xFF, first[1] | 1, 9 << 4 | first[2] & 0x0C, first[3]))  # no CRC
    frame = head + bytes(side) + b"Xing\0\0\0\1" + n_frames.to_bytes(4, "big")
    return frame.ljust(mp3_frame_length(head), b"\0")


def _count_mp3_frames(file: BinaryIO, begin: int, end: int) -> int:
    """Count the frames up to the end; DamagedError where no frame follows on the one before."""
    file.seek(begin)
    first, position, n_frames = b"", begin, 0
    while position < end:
        head = file.read(4)
        length = mp3_frame_length(head)
        first = first or head
        bits = zip(head, first, MP3_CONSTANT, strict=False)
        is_same = all((a ^ b) & mask == 0 for a, b, mask in bits)
        if not length or not is_same or (head[3] >> 6 == 3) != (first[3] >> 6 == 3):
            if n_frames and position + 4 > end:
                raise truncation_error("its last frame is incomplete")
            check_rest(file, position, end, f"frame {n_frames}")
            break
        position += length
        if position > end:
            raise truncation_error("its last frame is incomplete")
        file.seek(length - 4, os.SEEK_CUR)
        n_frames += 1
    if n_frames < 2:
        raise DamagedError("holds no samples. Leave it out.")
    return n_frames
