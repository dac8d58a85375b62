"""Write audio files, and encode audio for web pages, with libsndfile (soundfile)."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.find_recordings import SUFFIXES
from dafxtool.audio.resample import Audio, resample
from dafxtool.errors import InputError, MissingDependencyError
from dafxtool.utils.files import atomic_write, check_free
from dafxtool.utils.outputs import check_file

BIT_DEPTHS = {".wav": (32, 24, 16), ".flac": (24, 16)}  # the first one is the default
MP3_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MP3_COMPRESSION = 0.6  # LAME's V6: about 40 kbit/s for one channel at 24 kHz
FLAC_FRAME = 4096  # samples, at libFLAC's levels from 3 on; 1152 below
BLOCK = 1 << 14  # samples per write: libsndfile copies each write to its stack


def save_audio(
    path: Path,
    audio: NDArray[Any],
    sample_rate: int,
    overwrite: bool = False,
    bit_depth: int | None = None,
) -> None:
    """Write audio as WAV or FLAC, by the path's suffix, completely or not at all.

    audio      (n_samples,) or (n_channels, n_samples), full scale 1.0
    bit_depth  WAV: 32 (floating point, default), 24 or 16; FLAC: 24 (default) or 16

    Only floating point can store values beyond full scale. Audio is never clipped: InputError if it
    would have to be, for NaN and infinite samples, and for other suffixes. OutputExistsError and
    DiskError as of atomic_write.
    """
    path = Path(path)
    depths = BIT_DEPTHS.get(path.suffix.lower(), ())
    depth = bit_depth or (depths[0] if depths else 0)
    if depth not in depths:
        raise InputError(
            f"{path}: cannot be written{f' with {bit_depth} bits' if depths else ''}. "
            "Choose WAV (.wav, 32, 24 or 16 bits) or FLAC (.flac, 24 or 16 bits)."
        )
    samples = np.asarray(audio, dtype=np.float32)
    samples = samples[None] if samples.ndim == 1 else samples
    _check_samples(samples, depth, str(path))
    check_free(path, overwrite)  # before the work
    with atomic_write(path, overwrite) as temporary:
        kind = path.suffix[1:].upper()
        subtype = "FLOAT" if depth == 32 else f"PCM_{depth}"
        temporary.write_bytes(_encode(str(path), samples, sample_rate, kind, subtype))


def encode(audio: NDArray[Any], sample_rate: int, kind: str) -> bytes:
    """Encode audio as the bytes of an MP3 or FLAC file, for a web page.

    audio  (n_samples,) or (n_channels, n_samples), full scale 1.0
    kind   "mp3" or "flac"

    FLAC has 16 bits. MP3 contains its exact length in a tag, and is resampled to the next higher
    rate if MP3 does not support the sample rate.

    InputError for other kinds, for NaN and infinite samples, and for a FLAC beyond full scale.
    """
    if kind not in ("mp3", "flac"):
        raise InputError(f"Cannot encode audio as {kind!r}. Use mp3 or flac.")
    samples = np.asarray(audio, dtype=np.float32)
    samples = samples[None] if samples.ndim == 1 else samples
    _check_samples(samples, 16 if kind == "flac" else 32, f"the {kind.upper()}")
    if kind == "flac":
        # Chromium cannot play a FLAC of a single frame, so short audio gets the frames of level 0.
        options = {"compression_level": 0.0} if samples.shape[1] <= FLAC_FRAME else {}
        return _encode("the FLAC", samples, sample_rate, "FLAC", "PCM_16", **options)
    if sample_rate not in MP3_RATES_HZ:
        rate = next((each for each in MP3_RATES_HZ if each > sample_rate), MP3_RATES_HZ[-1])
        samples = resample(samples, sample_rate, rate)
        sample_rate = rate
    mp3: dict[str, Any] = {"bitrate_mode": "VARIABLE", "compression_level": MP3_COMPRESSION}
    return _encode("the MP3", samples, sample_rate, "MP3", "MPEG_LAYER_III", **mp3)


def _check_samples(samples: Audio, depth: int, name: str) -> None:
    """Raise InputError for a wrong shape, for NaN and infinity, and for peaks that would clip."""
    if samples.ndim != 2 or not samples.size or len(samples) > samples.shape[1]:
        raise InputError(
            f"{name}: cannot write audio of this shape (found {samples.shape}, expected "
            "(n_samples,) or (n_channels, n_samples)). Change its shape."
        )
    peak = float(np.abs(samples).max())
    if not math.isfinite(peak):
        raise InputError(
            f"{name}: not written, because it contains NaN or infinite samples. Replace them."
        )
    if depth != 32 and peak > 1:
        raise InputError(
            f"{name}: not written, because {depth} bits would clip it (found a peak of "
            f"{20 * math.log10(peak):+.1f} dBFS, expected 0 dBFS or less). Lower the level, or "
            "write a WAV file with 32 bits."
        )


def _encode(
    name: str, samples: Audio, sample_rate: int, kind: str, subtype: str, **options: Any
) -> bytes:
    """Encode into memory, so that a full disk is an error of our own writer, not of the encoder."""
    try:
        import soundfile
    except ImportError as error:
        raise MissingDependencyError("soundfile", "Writing audio files") from error
    audio = _round_to_depth(samples, int(subtype[4:])) if subtype.startswith("PCM") else samples
    memory = io.BytesIO()
    try:
        with soundfile.SoundFile(
            memory, "w", sample_rate, len(audio), subtype, format=kind, **options
        ) as file:
            for start in range(0, audio.shape[1], BLOCK):
                file.write(audio[:, start : start + BLOCK].T)
    except (soundfile.SoundFileError, ValueError) as error:
        reason = str(getattr(error, "error_string", error)).rstrip(".")
        raise InputError(
            f"{name}: cannot be written at {sample_rate} Hz ({reason}). Use another rate."
        ) from error
    return _clear_time(memory.getvalue())


def _round_to_depth(samples: Audio, depth: int) -> NDArray[Any]:
    """Round samples to integers of 16 or 24 bits; 24 bits are the upper ones of 32.

    libsndfile would scale by full scale - 1, and wrap around at full scale.
    """
    full_scale = 1 << (depth - 1)
    rounded = np.minimum(np.rint(samples.astype(np.float64) * full_scale), full_scale - 1)
    return rounded.astype(np.int16) if depth == 16 else rounded.astype(np.int32) << 8


def _clear_time(data: bytes) -> bytes:
    """Clear the time in the PEAK chunk of a WAV file: the same audio gives the same bytes."""
    position = data.find(b"PEAK", 0, 128) + 12
    if data[:4] != b"RIFF" or position <= 12:
        return data
    return data[:position] + bytes(4) + data[position + 4 :]


def audio_paths(output: Path, names: Sequence[str], overwrite: bool) -> list[Path]:
    """Return the paths of audio files: `output` for one, `output`/NAME.wav for several.

    InputError and OutputExistsError if one of them cannot be written.
    """
    if len(names) > 1 and (output.is_file() or output.suffix.lower() in SUFFIXES):
        raise InputError(
            f"{output}: not a folder (found {len(names)} audio files to write). Choose another "
            "--output."
        )
    paths = [output] if len(names) == 1 else [output / f"{name}.wav" for name in names]
    for path in paths:
        if path.suffix.lower() not in BIT_DEPTHS:
            raise InputError(
                f"{path}: unknown suffix of an audio file (found {path.suffix!r}, expected .wav "
                "or .flac). Choose another --output."
            )
        check_file(path, overwrite)
    return paths
