"""Test signals, and audio files written with libsndfile or byte by byte."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import soundfile

FORMATS = {".opus": "OGG", ".aif": "AIFF", ".aifc": "AIFF"}  # others are named by their suffix
BLOCK = 4096  # samples per write: libsndfile crashes on long blocks of Ogg


def tone(frequency_hz, rate, seconds=1.0):
    """Return a sine of amplitude 0.5."""
    time = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency_hz * time)).astype(np.float32)


def noise(n_samples, n_channels=1, seed=0):
    """Return white noise (n_channels, n_samples) with a standard deviation of 0.1."""
    samples = np.random.default_rng(seed).standard_normal((n_channels, n_samples))
    return (0.1 * samples).astype(np.float32)


def level_db(samples):
    """Return the RMS level in dB relative to full scale."""
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-30)


def encode_bytes(samples, rate, file_format, subtype=None, **options) -> bytes:
    """Encode (n_channels, n_samples) with libsndfile."""
    memory = io.BytesIO()
    with soundfile.SoundFile(
        memory, "w", rate, len(samples), subtype, format=file_format, **options
    ) as file:
        for start in range(0, samples.shape[1], BLOCK):
            file.write(samples[:, start : start + BLOCK].T)
    return memory.getvalue()


def write_file(path: Path, samples, rate, subtype=None, **options) -> Path:
    """Write (n_channels, n_samples) with libsndfile, in the format of the path's suffix."""
    file_format = FORMATS.get(path.suffix, path.suffix[1:].upper())
    path.write_bytes(encode_bytes(samples, rate, file_format, subtype, **options))
    return path


def wav_bytes(
    format_number: int,
    n_channels: int,
    bits: int,
    block: int,
    data: bytes,
    rate: int = 24_000,
    extra: bytes = b"",
    length: int | None = None,
) -> bytes:
    """Build a WAV file of any format number.

    block   bytes of a frame or codec block
    extra   end of the format chunk
    length  of the samples by the header; the true one by default
    """
    chunk = struct.pack(
        "<HHIIHH", format_number, n_channels, rate, rate * block % 2**32, block, bits
    )
    chunk += extra
    body = b"WAVEfmt " + struct.pack("<I", len(chunk)) + chunk
    body += b"data" + struct.pack("<I", len(data) if length is None else length) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def write_wav(path: Path, samples, format_number: int, bits: int) -> Path:
    """Write (n_samples, n_channels) as a WAV file: format 1 is integers, 3 floating point."""
    n_channels = samples.shape[1]
    data = samples.tobytes()
    path.write_bytes(wav_bytes(format_number, n_channels, bits, n_channels * bits // 8, data))
    return path


def aifc_bytes(compression: bytes, bits: int, data: bytes, n_frames: int) -> bytes:
    """Build an AIFF-C file of one channel at 32 kHz."""
    common = struct.pack(">HIHHQ", 1, n_frames, bits, 0x400D, 0xFA00 << 48) + compression + b"\1 "
    body = b"AIFCCOMM" + struct.pack(">I", len(common)) + common
    body += b"SSND" + struct.pack(">III", len(data) + 8, 0, 0) + data
    return b"FORM" + struct.pack(">I", len(body)) + body


def set_block_heads(size: int, head: bytes, data: bytes) -> bytes:
    """Replace the first bytes of every block of data."""
    blocks = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(head + block[len(head) :] for block in blocks)
