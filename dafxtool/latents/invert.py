"""Reconstruct audio from stored magnitudes: spectrograms.h5, latents.h5, .npy and .npz.

The array `magnitude` of a .npz is linear, (n_bins, n_frames) or (n, n_bins, n_frames). The file may
also have `sample_rate`, `n_fft`, `hop_length`, `window_length` and `n_samples`. A .npy has the
magnitude only. Pickled objects are never loaded. torch is imported after all inputs are checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.audio.find_recordings import find_recordings
from dafxtool.audio.reader import read_info
from dafxtool.audio.writer import audio_paths, save_audio
from dafxtool.config import SpectrogramConfig
from dafxtool.errors import ConfigError, FormatError, InputError
from dafxtool.latents.magnitude_checks import (
    assumed_settings,
    check_shape,
    check_values,
    load_phase,
    phase_notes,
)
from dafxtool.models.checkpoint import find_checkpoint
from dafxtool.spectrogram.compute import read_magnitudes
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils import notebook
from dafxtool.utils.progress import SILENT, Progress

CHANNELS = ("dry", "wet")
STFT_KEYS = ("sample_rate", "n_fft", "hop_length", "window_length", "n_samples")


@dataclass(frozen=True)
class Magnitude:
    """A linear magnitude spectrogram (n_bins, n_frames) and the name of its audio file.

    is_decoded  a decoder computed it, so it is smoothed and no audio has exactly this magnitude
    note        settings that were assumed
    """

    name: str
    values: NDArray[np.float32]
    config: SpectrogramConfig
    is_decoded: bool = False
    note: str = ""


@dataclass(frozen=True, repr=False)
class InvertedFile(notebook.Displayed):
    """An audio file that was written.

    convergence_db  spectral convergence: distance of its magnitudes from the given ones; NaN for
                    magnitudes of silence
    sample_rate     Hz
    notes           settings that were assumed, and what does not fit
    """

    path: Path
    seconds: float
    convergence_db: float
    sample_rate: int
    notes: tuple[str, ...] = ()

    @property
    def convergence_text(self) -> str:
        """Return the convergence with its unit; "-" for silence."""
        return "-" if math.isnan(self.convergence_db) else f"{self.convergence_db:.1f} dB"

    def __repr__(self) -> str:
        size = f"{self.seconds:.2f} s, {self.convergence_text}"
        return f"InvertedFile({str(self.path)!r}, {size})"

    def _parts(self) -> Iterator[str]:
        title = f"{self.path}, spectral convergence {self.convergence_text}"
        yield from map(notebook.paragraph, self.notes)
        if self.path.is_file():
            media_type = f"audio/{self.path.suffix[1:].lower()}"
            yield notebook.audio_player(title, self.path.read_bytes(), media_type)
        else:
            yield notebook.paragraph(title)


def invert_file(
    source: Path,
    output: Path,
    rows: Sequence[int] = (),
    channels: Sequence[str] = ("wet",),
    run: Path | None = None,
    stft: Mapping[str, int] | None = None,
    method: str = "fast",
    iterations: int | None = None,
    phase_from: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
    overwrite: bool = False,
    progress: Progress = SILENT,
    phase_channel: str = "first",
) -> list[InvertedFile]:
    """Reconstruct audio from magnitudes and write one file for each row and channel.

    output      a file for a single result, otherwise a folder
    rows        row numbers of the pairs file of an HDF5 file, or indices of a three-dimensional
                array; none takes the first
    channels    "dry", "wet" or both, of an HDF5 file
    run         decodes the latents of a latents.h5; None takes the run that the file names
    stft        STFT_KEYS that replace those in an array's file
    phase_from  dry recording; it has to start where the magnitude starts. An array that does not
                state its sample rate has that of the recording
    phase_channel
                channel of that recording

    Returns the files in the order of rows, then channels. Errors as in check_inversion.
    """
    rows = _rows_to_invert(source, rows)
    paths = check_inversion(source, output, rows, channels, run, phase_from, overwrite)
    from dafxtool.spectrogram.phase_retrieval import invert

    own_rate = {} if phase_from is None else {"sample_rate": read_info(phase_from).sample_rate}
    magnitudes = list(_read(source, rows, channels, run, stft or {}, own_rate))
    dry = None
    if phase_from is not None:
        dry = load_phase(phase_from, magnitudes[0].config, phase_channel)
    written = []
    progress.start("inverting", len(magnitudes), "file")
    for path, each in zip(paths, magnitudes, strict=True):
        result = invert(
            each.values,
            each.config,
            each.config.n_samples,
            method,
            iterations,
            phase_from=None if dry is None else fit_length(dry, each.config.n_samples),
            seed=seed,
            device=device,
            consistent=not each.is_decoded,
        )
        save_audio(path, result.audio, each.config.sample_rate, overwrite=overwrite)
        notes = [each.note] if each.note else []
        if dry is not None and phase_from is not None:
            notes += phase_notes(phase_from, dry, each.values, each.config)
        if not result.audio.any():
            notes.append("silence: the magnitude is 0 everywhere, so there is no convergence.")
        rate = each.config.sample_rate
        seconds, convergence = len(result.audio) / rate, result.convergence_db
        written.append(InvertedFile(path, seconds, convergence, rate, tuple(notes)))
        progress.advance()
    progress.finish()
    return written


def check_inversion(
    source: Path,
    output: Path,
    rows: Sequence[int] = (),
    channels: Sequence[str] = ("wet",),
    run: Path | None = None,
    phase_from: Path | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Check the input and output files of invert_file, and return the audio files it will write.

    torch is not imported. InputError for a missing file or row; FormatError for a file without
    magnitudes; OutputExistsError.
    """
    rows = _rows_to_invert(source, rows)
    if phase_from is not None:
        find_recordings([phase_from])
    if _is_array(source):
        if not source.is_file():
            raise InputError(f"{source}: no such file. Check the name.")
        return audio_paths(output, [_name(source, row) for row in rows], overwrite)
    with storage.Hdf5Reader(source, _kind(source)) as reader:
        reader.indices_of(rows)
        kind = reader.kind
        if kind == storage.LATENTS:
            find_checkpoint(run or Path(reader.configuration["run"]))
    names = [_name(source, row, channel) for row in rows for channel in channels]
    return audio_paths(output, names, overwrite)


def _rows_to_invert(source: Path, rows: Sequence[int]) -> list[int]:
    """Remove repeated rows. Without rows, take the first of the file."""
    if rows:
        return list(dict.fromkeys(rows))
    if _is_array(source):
        return [0]
    with storage.Hdf5Reader(source, _kind(source)) as reader:
        return reader.labels.row[:1].tolist()


def _kind(source: Path) -> str:
    """Return the kind of an HDF5 file. FormatError where it has no magnitudes."""
    kind = storage.kind_of(source)
    if kind not in (storage.SPECTROGRAMS, storage.LATENTS):
        raise FormatError(
            f"{source}: not a file with magnitudes (found {kind or 'no spectrograms or latents'}, "
            "expected spectrograms, latents, .npy or .npz). Choose another file."
        )
    return kind


def _is_array(source: Path) -> bool:
    return source.suffix.lower() in (".npy", ".npz")


def _name(source: Path, row: int, channel: str = "") -> str:
    return "-".join(filter(None, (source.stem, f"{row:06d}", channel)))


def fit_length(audio: NDArray[np.float32], n_samples: int) -> NDArray[np.float32]:
    """Cut audio (n,) to n_samples, or pad it with zeros."""
    return np.pad(audio[:n_samples], (0, max(0, n_samples - len(audio))))


def _read(
    source: Path,
    rows: Sequence[int],
    channels: Sequence[str],
    run: Path | None,
    stft: Mapping[str, int],
    fallback: Mapping[str, int],
) -> Iterator[Magnitude]:
    """Yield the magnitude of each row and channel.

    fallback  STFT settings where an array does not state them
    """
    if _is_array(source):
        yield from _from_array(source, rows, stft, fallback)
        return
    if storage.kind_of(source) == storage.SPECTROGRAMS:
        values, config = read_magnitudes(source, rows)
        yield from _rows(source, rows, channels, values, config, is_decoded=False)
    else:
        from dafxtool.latents.table import read_latents
        from dafxtool.models.run import load_run

        latents = read_latents(source)
        model = load_run(run or Path(latents.run))
        if model.spectrogram_config.standardisation == "segment":
            raise FormatError(
                f"{source}: latents without the constants of their segments, because {model.path} "
                "standardises each segment. Invert the spectrograms instead."
            )
        chosen = latents.labels.indices_of(rows, source)
        decoded = model.decode(latents.latent[chosen])
        constants = np.tile(np.array([model.mean, model.std], np.float32), (len(chosen), 1))
        values = linear_magnitude(decoded, constants, model.spectrogram_config)
        config = model.spectrogram_config
        yield from _rows(source, rows, channels, values, config, is_decoded=True)


def _rows(
    source: Path,
    rows: Sequence[int],
    channels: Sequence[str],
    values: NDArray[np.float32],
    config: SpectrogramConfig,
    is_decoded: bool,
) -> Iterator[Magnitude]:
    """Yield the chosen channels of magnitudes (n_rows, 2, n_bins, n_frames)."""
    for row, pair in zip(rows, values, strict=True):
        for channel in channels:
            name = _name(source, row, channel)
            yield Magnitude(name, pair[CHANNELS.index(channel)], config, is_decoded)


def _from_array(
    source: Path, rows: Sequence[int], stft: Mapping[str, int], fallback: Mapping[str, int]
) -> Iterator[Magnitude]:
    """Yield rows of an array, whose STFT settings are in its file or in `stft`."""
    values, stored = _load(source)
    stated = {**fallback, **stored, **stft}
    check_shape(source, values.shape, stated)
    values = values[None] if values.ndim == 2 else values
    config = _config(source, values.shape[-2:], stated)
    note = assumed_settings(stated, config)
    for row in _check_rows(rows, len(values), source):
        magnitude = np.asarray(values[row], dtype=np.float32)
        check_values(source, magnitude)
        yield Magnitude(_name(source, row), magnitude, config, note=note)


def _load(source: Path) -> tuple[NDArray[Any], dict[str, int]]:
    """Load the magnitude of a .npy or .npz file, and the STFT settings stored with it."""
    try:
        loaded = np.load(source, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            values, stored = loaded, {}
        else:
            with loaded:
                values = loaded["magnitude"]
                stored = {key: int(loaded[key]) for key in STFT_KEYS if key in loaded}
    except Exception as error:  # numpy, zipfile and zlib raise a dozen classes
        reason = " ".join(str(error.args[0] if error.args else error).split())
        raise FormatError(
            f"{source}: cannot be read ({reason}). Give an array (n_bins, n_frames), which a .npz "
            "names 'magnitude'."
        ) from error
    numeric = values.dtype.kind in "fiu"
    if not numeric or values.ndim not in (2, 3) or 0 in values.shape:
        raise InputError(
            f"{source}: not a magnitude spectrogram (found {values.dtype} of shape "
            f"{values.shape}, expected real numbers of shape (n_bins, n_frames) or "
            "(n, n_bins, n_frames)). Give the magnitudes of an STFT."
        )
    return values, stored


def _config(source: Path, shape: tuple[int, ...], stft: Mapping[str, int]) -> SpectrogramConfig:
    """Complete the STFT settings of an array of this shape, and check that they agree with it."""
    n_bins, n_frames = shape
    if n_bins < 3:
        raise InputError(
            f"{source}: too few frequency bins (found {n_bins}, expected at least 3). Bins come "
            "first, frames last."
        )
    n_fft = stft.get("n_fft", 2 * (n_bins - 1))
    if n_fft // 2 + 1 != n_bins:
        raise ConfigError(
            f"{source}: n_fft and shape disagree (found {n_bins} bins, expected {n_fft // 2 + 1} "
            f"for n_fft {n_fft}). Use --n-fft {2 * (n_bins - 1)}, or transpose the array: bins "
            "come first, frames last."
        )
    hop = stft.get("hop_length", n_fft // 4)
    n_samples = stft.get("n_samples", max(1, (n_frames - 1) * hop))
    config = SpectrogramConfig(
        sample_rate=stft.get("sample_rate", 24_000),
        n_samples=n_samples,
        n_fft=n_fft,
        hop_length=hop,
        window_length=stft.get("window_length", n_fft),
    )
    if config.n_frames != n_frames:
        raise ConfigError(
            f"{source}: number of frames and length disagree (found {n_frames} frames, expected "
            f"{config.n_frames} for {n_samples} samples and hop length {hop}). Use another "
            "--hop-length, or leave n_samples out."
        )
    return config


def _check_rows(rows: Sequence[int], count: int, source: Path) -> NDArray[np.int64]:
    """Return the rows as an array; InputError if one is not in the file."""
    chosen = np.asarray(rows, dtype=np.int64)
    if len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= count:
        raise InputError(
            f"{source}: no such row (found {list(rows)}, expected 0 to {count - 1}). Choose "
            "another --row."
        )
    return chosen
