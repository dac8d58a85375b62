"""Undamaged recordings of every container, and functions that read damaged ones in a child."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from audio_files import aifc_bytes, encode_bytes, set_block_heads, wav_bytes

from dafxtool.audio.frame_checks import Layout, mp3_frame_length
from dafxtool.audio.reader import AudioInfo, load_audio, load_segment
from dafxtool.config import SegmentConfig, SplitConfig
from dafxtool.dataset.recordings import build_catalogue
from dafxtool.dataset.segments import consecutive_segments, draw_segment

CONFIG = SegmentConfig(short="pad", n_samples=8192)
ALL_TRAIN = SplitConfig(validation=0.0, test=0.0)

CONTAINERS = ("wav", "stream.wav", "rf64", "w64", "caf", "au")
CONTAINERS += ("aiff", "aifc", "flac", "ogg", "opus", "mp3")

ADPCM_COEFFICIENTS = (256, 0, 512, -256, 0, 0, 192, 64, 240, 0, 460, -208, 392, -232)
MS_ADPCM = struct.pack("<HHH14h", 32, 500, 7, *ADPCM_COEFFICIENTS)
VARIABLE = {"bitrate_mode": "VARIABLE", "compression_level": 0.5}


def read_recording(path: str) -> str:
    """Read a recording as each command does; return length, sample rate and checksum."""
    catalogue = build_catalogue([Path(path)], CONFIG, ALL_TRAIN, strict=True)
    draw_segment(catalogue, "train", CONFIG, np.random.default_rng(0), strict=True)
    consecutive_segments(Path(path), CONFIG)
    load_audio(Path(path), 24_000)
    samples, rate = load_audio(Path(path), channel="mean")
    return f"{len(samples)} samples, {rate} Hz, {zlib.crc32(samples.tobytes())}"


def read_spans(path: str) -> None:
    """Read spans of a FLAC file as if it had been checked."""
    layout = Layout("FLAC", Path(path).stat().st_size, n_samples=20_000)
    info = AudioInfo(44_100, 2, 20_000, layout)
    for start in range(0, 19_000, 333):
        load_segment(Path(path), start, 500, 44_100, "2", info)


def recordings_by_container() -> dict[str, list[bytes]]:
    """Return undamaged files of every container."""
    codes = np.random.default_rng(0).bytes(8192)
    samples = _signal(4000)[0]
    constant = encode_signal("MP3", "MPEG_LAYER_III", 24_000, 1, 20_000, bitrate_mode="CONSTANT")
    ima_adpcm = set_block_heads(512, 2 * b"\0\0\x14\0", codes)
    bare = constant[mp3_frame_length(constant[:4]) :]
    return {
        "wav": [
            *(encode_signal("WAV", f"PCM_{bits}", 44_100, 2, 4000) for bits in (16, 24)),
            encode_signal("WAV", "FLOAT", 44_100, 2, 4000),
            wav_bytes(1, 1, 8, 1, (128 + 100 * samples).astype(np.uint8).tobytes()),
            wav_bytes(3, 1, 64, 8, samples.astype("<f8").tobytes()),
            wav_bytes(6, 2, 8, 2, codes),
            wav_bytes(7, 1, 8, 1, codes),
            wav_bytes(2, 1, 4, 256, set_block_heads(256, bytes(1), codes), extra=MS_ADPCM),
            wav_bytes(17, 2, 4, 512, ima_adpcm, extra=b"\2\0\xf9\1"),
        ],
        "stream.wav": [
            wav_bytes(1, 2, 16, 4, codes, length=0xFFFFFFFF),
            wav_bytes(1, 1, 16, 2, codes, length=0),
        ],
        "rf64": [encode_signal("RF64", "PCM_16", 44_100, 2, 4000)],
        "w64": [encode_signal("W64", "PCM_16", 44_100, 2, 4000)],
        "caf": [
            encode_signal("CAF", "PCM_24", 44_100, 2, 4000),
            encode_signal("CAF", "FLOAT", 24_000, 1, 4000),
        ],
        "au": [
            encode_signal("AU", "PCM_16", 44_100, 2, 4000),
            encode_signal("AU", "ULAW", 8000, 1, 4000),
        ],
        "flac": [
            encode_signal("FLAC", "PCM_16", 24_000, 1, 20_000),
            encode_signal("FLAC", "PCM_24", 44_100, 2, 20_000),
        ],
        "aiff": [
            encode_signal("AIFF", "PCM_16", 24_000, 1, 4000),
            encode_signal("AIFF", "PCM_24", 44_100, 2, 4000),
        ],
        "aifc": [
            aifc_bytes(b"fl32", 32, samples.astype(">f4").tobytes(), 4000),
            aifc_bytes(b"sowt", 16, (20_000 * samples).astype("<i2").tobytes(), 4000),
        ],
        "ogg": [
            encode_signal("OGG", "VORBIS", 24_000, 1, 20_000),
            encode_signal("OGG", "VORBIS", 44_100, 2, 20_000),
        ],
        "opus": [
            encode_signal("OGG", "OPUS", 24_000, 1, 20_000),
            encode_signal("OGG", "OPUS", 48_000, 2, 20_000),
        ],
        "mp3": [
            constant,
            encode_signal("MP3", "MPEG_LAYER_III", 44_100, 2, 20_000, **VARIABLE),
            bare,
        ],
    }


def encode_signal(
    file_format: str, subtype: str, rate: int, n_channels: int, n_samples: int, **options
) -> bytes:
    """Encode a tone with noise."""
    return encode_bytes(_signal(n_samples, n_channels), rate, file_format, subtype, **options)


def _signal(n_samples: int, n_channels: int = 1) -> np.ndarray:
    """Generate a tone with noise, float32 (n_channels, n_samples)."""
    rng = np.random.default_rng(n_samples)
    tone = 0.3 * np.sin(np.arange(n_samples) / 10)
    return (tone + 0.05 * rng.standard_normal((n_channels, n_samples))).astype(np.float32)


def replaced(data: bytes, position: int, part: bytes) -> bytes:
    """Return the data with other bytes at a position."""
    return data[:position] + part + data[position + len(part) :]
