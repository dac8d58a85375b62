"""Describe the content of a recording, to recognise copies of it under other names.

A fingerprint is made of the first seconds with sound, all channels averaged. Its digest is that of
the decoded samples: the same for a WAV file and its FLAC copy. Its sketch survives lossy codecs,
other sample rates, levels and small delays: 512 signs of the difference of energy between
neighbouring bands of 4 Hz. The spectrum of seconds is so fine that two takes of one note differ in
it, and it does not depend on the position in time.

The signs follow Haitsma & Kalker 2002, "A highly robust audio fingerprinting system"; there they
are taken of short frames.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from dafxtool.audio.reader import AudioInfo, load_segment, read_info, resampled_length
from dafxtool.audio.resample import Audio
from dafxtool.errors import RecordingError

EXCERPT_SECONDS = 6.0
MOST_SKIPPED = 8  # silent excerpts at the start
MIN_SECONDS = 0.75  # shorter recordings have too coarse a spectrum for a sketch
N_BITS = 512
LOWEST_HZ, BAND_HZ = 150.0, 4.0  # up to 2.2 kHz, which every sample rate and codec keeps
HIGHEST_HZ = LOWEST_HZ + N_BITS * BAND_HZ
WAVEFORM_RATE = 4800  # Hz
MAX_DELAY_SECONDS = 0.15  # of encoders
SILENT_MEAN_SQUARE = 1e-8  # -80 dBFS


@dataclass(frozen=True)
class Fingerprint:
    """Content of a recording.

    seconds  duration
    digest   of the decoded samples, hexadecimal; empty for silence
    sketch   N_BITS signs, hexadecimal; empty for a recording that is silent or too short
    """

    seconds: float
    digest: str
    sketch: str


def fingerprint(path: Path, info: AudioInfo) -> Fingerprint | None:
    """Compute the fingerprint of a recording; None if it cannot be decoded.

    EXCERPT_SECONDS are decoded, and up to MOST_SKIPPED times that where it begins with silence.
    """
    n_excerpt = round(EXCERPT_SECONDS * info.sample_rate)
    for start in range(0, min(info.n_samples, MOST_SKIPPED * n_excerpt), n_excerpt):
        n_samples = min(n_excerpt, info.n_samples - start)
        try:
            audio = load_segment(path, start, n_samples, info.sample_rate, "mean", info)
        except RecordingError:
            return None
        if np.mean(np.square(audio, dtype=np.float64)) >= SILENT_MEAN_SQUARE:
            shape = np.array([info.sample_rate, info.n_samples, start], np.int64).tobytes()
            digest = hashlib.blake2b(shape + audio.tobytes(), digest_size=12).hexdigest()
            return Fingerprint(info.seconds, digest, _sketch(audio, info.sample_rate))
    return Fingerprint(info.seconds, "", "")


def _sketch(audio: Audio, sample_rate: int) -> str:
    """Compute the signs of the differences of energy between neighbouring bands."""
    highest = LOWEST_HZ + (N_BITS + 1) * BAND_HZ
    if len(audio) < MIN_SECONDS * sample_rate or sample_rate < 2 * highest:
        return ""
    n_fft = scipy.fft.next_fast_len(len(audio), real=True)
    n_bins = int(np.ceil(highest * n_fft / sample_rate)) + 2
    power = np.square(np.abs(scipy.fft.rfft(audio, n_fft)[:n_bins]).astype(np.float64))
    cumulative = np.concatenate([[0.0], np.cumsum(power)])
    # Band edges lie between bins: energies depend on neither the sample rate nor the length.
    edges = (LOWEST_HZ + BAND_HZ * np.arange(N_BITS + 2)) * n_fft / sample_rate + 0.5
    energies = np.diff(np.interp(edges, np.arange(len(cumulative)), cumulative))
    return np.packbits(energies[1:] > energies[:-1]).tobytes().hex()


def signs(sketches: list[str]) -> NDArray[np.float32]:
    """Convert sketches to -1 and 1: (n, N_BITS); 0 for an empty or damaged one."""
    values = np.zeros((len(sketches), N_BITS), np.float32)
    for row, sketch in zip(values, sketches, strict=True):
        try:
            bits = np.unpackbits(np.frombuffer(bytes.fromhex(sketch), np.uint8))
        except ValueError:
            continue
        if len(bits) == N_BITS:
            row[:] = 2.0 * bits - 1.0
    return values


def waveform_similarity(a: Path, b: Path) -> float:
    """Return the largest correlation of two recordings over delays up to MAX_DELAY_SECONDS.

    Their first seconds with sound are compared, all channels averaged, from LOWEST_HZ to 2.2 kHz; 1
    is the same waveform, of either polarity. RecordingError if one cannot be decoded.
    """
    excerpts = [_excerpt(path, path.stat().st_mtime_ns) for path in (a, b)]
    n_fft = scipy.fft.next_fast_len(2 * max(map(len, excerpts)), real=True)
    hz = scipy.fft.rfftfreq(n_fft, 1 / WAVEFORM_RATE)
    in_band = (hz >= LOWEST_HZ) & (hz <= HIGHEST_HZ)
    first, second = (scipy.fft.rfft(each, n_fft) * in_band for each in excerpts)
    energy = float(np.linalg.norm(first) * np.linalg.norm(second))
    if energy == 0:
        return 0.0
    correlation = scipy.fft.irfft(first * second.conj(), n_fft) * n_fft / (2 * energy)
    reach = round(MAX_DELAY_SECONDS * WAVEFORM_RATE)
    return float(max(np.abs(correlation[: reach + 1]).max(), np.abs(correlation[-reach:]).max()))


@lru_cache(maxsize=256)
def _excerpt(path: Path, changed: int) -> Audio:
    """Read the excerpt of a fingerprint at WAVEFORM_RATE; `changed` is its time of change."""
    info = read_info(path)
    n_total = resampled_length(info, WAVEFORM_RATE)
    n_excerpt = round(EXCERPT_SECONDS * WAVEFORM_RATE)
    audio = np.zeros(1, np.float32)
    for start in range(0, min(n_total, MOST_SKIPPED * n_excerpt), n_excerpt):
        n_samples = min(n_excerpt, n_total - start)
        audio = load_segment(path, start, n_samples, WAVEFORM_RATE, "mean", info)
        if np.mean(np.square(audio, dtype=np.float64)) >= SILENT_MEAN_SQUARE:
            break
    return audio
