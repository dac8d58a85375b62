"""Check magnitudes from other programs, and recordings that give them a phase."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.reader import load_audio
from dafxtool.config import SegmentConfig, SpectrogramConfig
from dafxtool.dataset.silence import silence_reason
from dafxtool.errors import InputError, RecordingError

MIN_FRAMES = 2
LARGE_NEGATIVE = -20.0  # values below it are decibels, not logarithms or standardised values
SHORTEST_SHARE = 0.5  # of the magnitude that a recording for its phase has to cover
SILENT_MEAN_SQUARE = 1e-10  # -100 dBFS
SIMILAR = 0.2  # correlation of compressed magnitudes; unrelated recordings are below it
COMPRESSION = 0.3


def check_shape(source: Path, shape: tuple[int, ...], stft: Mapping[str, int]) -> None:
    """Check the shape (..., n_bins, n_frames) of an array. InputError for another order of axes.

    stft  settings that are stated; a stated n_fft decides which axis the bins are
    """
    n_bins, n_frames = shape[-2:]
    if n_frames < MIN_FRAMES:
        first = f" Remove the last axis of {shape}." if len(shape) == 3 else ""
        raise InputError(
            f"{source}: too few frames (found {n_frames}, expected at least {MIN_FRAMES} along the "
            f"last axis).{first or ' Bins come first, frames last.'}"
        )
    if "n_fft" not in stft and _is_power_of_two(n_frames - 1) and not _is_power_of_two(n_bins - 1):
        raise InputError(
            f"{source}: frames before bins, by its shape {shape} (found {n_frames} = n_fft / 2 + 1 "
            f"along the last axis). Transpose it, or use --n-fft {2 * (n_bins - 1)} if it is right."
        )


def _is_power_of_two(number: int) -> bool:
    return number >= 64 and number & (number - 1) == 0


def check_values(source: Path, values: NDArray[Any]) -> None:
    """Check that values are linear magnitudes. InputError for negative or no numbers."""
    if not np.isfinite(values).all():
        raise InputError(
            f"{source}: NaN or infinite values (expected finite magnitudes). Check the program "
            "that computed it."
        )
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        return
    if low < LARGE_NEGATIVE:
        kind, remedy = "decibels", "Convert it with 10 ** (values / 20)"
    elif low >= -np.pi - 1e-3 and high <= np.pi + 1e-3 and high - low > 6:
        kind, remedy = "a phase in radians", "Give the magnitude"
    else:
        kind, remedy = "logarithms or standardised values", "Convert it to linear magnitudes"
    raise InputError(
        f"{source}: negative values, probably {kind} (found {low:.4g} to {high:.4g}, expected 0 or "
        f"more). {remedy}."
    )


def assumed_settings(stated: Mapping[str, int], config: SpectrogramConfig) -> str:
    """Return a note on the settings that an array does not state; empty if it states them."""
    units = {"sample_rate": "Hz", "hop_length": "samples", "window_length": "samples"}
    assumed = [
        f"{name.replace('_', ' ')} {getattr(config, name)} {unit}"
        for name, unit in units.items()
        if name not in stated
    ]
    if not assumed:
        return ""
    options = " ".join(f"--{name.replace('_', '-')}" for name in units if name not in stated)
    return f"not stated, assumed: {', '.join(assumed)}. Another value: {options}."


def load_phase(
    path: Path, config: SpectrogramConfig, channel: str = "first"
) -> NDArray[np.float32]:
    """Read a recording whose phase is the start of an inversion: (n_samples,) at its rate.

    RecordingError for a silent recording, and for one much shorter than the magnitude.
    """
    audio = load_audio(path, config.sample_rate, channel)[0]
    used = audio[: config.n_samples]
    if len(used) < SHORTEST_SHARE * config.n_samples:
        raise RecordingError(
            f"{path}: too short for the phase (found {len(used) / config.sample_rate:.2f} s, "
            f"expected {config.n_samples / config.sample_rate:.2f} s). Use the recording that the "
            "magnitude was computed from, or its dry version."
        )
    if float(np.mean(np.square(used, dtype=np.float64))) < SILENT_MEAN_SQUARE:
        segment = SegmentConfig(
            config.sample_rate,
            config.n_samples,
            min_mean_square=SILENT_MEAN_SQUARE,
            channel=channel,
        )
        remedy = "Use a recording that has sound where the magnitude has."
        raise RecordingError(silence_reason(path, segment, "", "--phase-channel", remedy))
    return audio


def phase_notes(
    path: Path,
    dry: NDArray[np.float32],
    magnitude: NDArray[np.float32],
    config: SpectrogramConfig,
) -> list[str]:
    """Return notes on a recording that does not fit a magnitude (n_bins, n_frames).

    dry  at least half as long as the magnitude
    """
    notes = []
    n_samples = config.n_samples
    if len(dry) < n_samples - config.n_fft:
        notes.append(
            f"{path.name} covers {len(dry) / n_samples:.0%} of the magnitude; the rest starts "
            "without its phase."
        )
    from dafxtool.spectrogram.stft import magnitude as stft_magnitude

    padded = np.pad(dry[:n_samples], (0, max(0, n_samples - len(dry))))
    similarity = _correlation(stft_magnitude(padded, config).numpy(), magnitude)
    if similarity < SIMILAR:
        notes.append(
            f"{path.name} is not like the magnitude (correlation {similarity:.2f}, expected above "
            f"{SIMILAR}): it starts elsewhere, or is another recording."
        )
    return notes


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Correlate two magnitudes over time and frequency, without the mean of each bin."""
    centred = []
    for each in (a, b):
        compressed = np.maximum(each, 0).astype(np.float64) ** COMPRESSION
        centred.append(compressed - compressed.mean(axis=1, keepdims=True))
    norm = float(np.linalg.norm(centred[0]) * np.linalg.norm(centred[1]))
    return float((centred[0] * centred[1]).sum()) / norm if norm > 0 else 0.0
