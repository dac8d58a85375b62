"""Turn stored magnitudes into sound: rows of spectrograms.h5, decoded latents, .npy and .npz.

A .npz holds `magnitude`, linear and (n_bins, n_frames) or (n, n_bins, n_frames), and may say its
`sample_rate`, `n_fft`, `hop_length`, `window_length` and `n_samples`; a .npy is the magnitude
alone. Nothing is ever unpickled. Modules that need torch are imported only once every input is
checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.audio.find_recordings import find_recordings
from dafxtool.audio.io import load_audio
from dafxtool.audio.writer import audio_paths, save_audio
from dafxtool.config import SpectrogramConfig
from dafxtool.errors import ConfigError, FormatError, InputError
from dafxtool.models.checkpoint import find_checkpoint
from dafxtool.spectrogram.compute import read_magnitudes
from dafxtool.spectrogram.transform import linear_magnitude
from dafxtool.utils import notebook
from dafxtool.utils.progress import SILENT, Progress

CHANNELS = ("dry", "wet")
STFT_KEYS = ("sample_rate", "n_fft", "hop_length", "window_length", "n_samples")


@dataclass(frozen=True)
class Magnitude:
    """One magnitude (n_bins, n_frames) and what its file is called; decoded ones are blurred."""

    name: str
    values: NDArray[np.float32]
    config: SpectrogramConfig
    decoded: bool = False


@dataclass(frozen=True, repr=False)
class InvertedFile(notebook.Displayed):
    """A sound that was written, and how far its spectrogram is from the one asked for."""

    path: Path
    seconds: float
    convergence_db: float

    def __repr__(self) -> str:
        size = f"{self.seconds:.2f} s, {self.convergence_db:.1f} dB"
        return f"InvertedFile({str(self.path)!r}, {size})"

    def _parts(self) -> Iterator[str]:
        title = f"{self.path}, spectral convergence {self.convergence_db:.1f} dB"
        if self.path.is_file():
            media_type = f"audio/{self.path.suffix[1:].lower()}"
            yield notebook.audio_player(title, self.path.read_bytes(), media_type)
        else:
            yield notebook.paragraph(title)


def invert_file(
    source: Path,
    output: Path,
    rows: Sequence[int] = (0,),
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
) -> list[InvertedFile]:
    """Invert magnitudes to sound and write them.

    output      one file where there is one sound, else a folder
    rows        of an HDF5 file, or of a three-dimensional array
    channels    dry, wet or both, of an HDF5 file
    run         that made the latents, where source is a latents.h5
    stft        values over those that an array's file says
    phase_from  recording of the dry sound; its beginning has to be that of the magnitude
    """
    paths = check_inversion(source, output, rows, channels, run, phase_from, overwrite)
    from dafxtool.spectrogram.phase_retrieval import invert

    found = list(_read(source, list(dict.fromkeys(rows)), channels, run, stft or {}))
    known = None
    if phase_from is not None:
        known = load_audio(phase_from, found[0].config.sample_rate)[0]
    written = []
    progress.start("inverting", len(found), "sound")
    for path, each in zip(paths, found, strict=True):
        result = invert(
            each.values,
            each.config,
            each.config.n_samples,
            method,
            iterations,
            phase_from=None if known is None else fitted(known, each.config.n_samples),
            seed=seed,
            device=device,
            consistent=not each.decoded,
        )
        save_audio(path, result.audio, each.config.sample_rate, overwrite=overwrite)
        seconds = len(result.audio) / each.config.sample_rate
        written.append(InvertedFile(path, seconds, result.convergence_db))
        progress.advance()
    progress.finish()
    return written


def check_inversion(
    source: Path,
    output: Path,
    rows: Sequence[int] = (0,),
    channels: Sequence[str] = ("wet",),
    run: Path | None = None,
    phase_from: Path | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Paths of the audio files that invert_file writes, after checking its input and output files.

    torch is not imported.
    """
    rows = list(dict.fromkeys(rows))
    if phase_from is not None:
        find_recordings([phase_from])
    if _is_array(source):
        if not source.is_file():
            raise InputError(f"{source} does not exist: check the name.")
        return audio_paths(output, [_name(source, row) for row in rows], overwrite)
    kind = storage.kind_of(source)
    if kind not in (storage.SPECTROGRAMS, storage.LATENTS):
        raise FormatError(
            f"{source} holds {kind or 'nothing that can be inverted'}: wanted a spectrograms or "
            "latents file, or magnitudes as .npy or .npz."
        )
    with storage.Hdf5Reader(source, kind) as reader:
        _checked(rows, len(reader), source)
        if kind == storage.LATENTS:
            find_checkpoint(run or Path(reader.configuration["run"]))
    names = [_name(source, row, channel) for row in rows for channel in channels]
    return audio_paths(output, names, overwrite)


def _is_array(source: Path) -> bool:
    return source.suffix.lower() in (".npy", ".npz")


def _name(source: Path, row: int, channel: str = "") -> str:
    return "-".join(filter(None, (source.stem, f"{row:06d}", channel)))


def fitted(sound: NDArray[np.float32], n_samples: int) -> NDArray[np.float32]:
    """Cut, or filled up with zeros, to n_samples."""
    return np.pad(sound[:n_samples], (0, max(0, n_samples - len(sound))))


def _read(
    source: Path,
    rows: Sequence[int],
    channels: Sequence[str],
    run: Path | None,
    stft: Mapping[str, int],
) -> Iterator[Magnitude]:
    if _is_array(source):
        yield from _from_array(source, rows, stft)
        return
    if storage.kind_of(source) == storage.SPECTROGRAMS:
        values, config = read_magnitudes(source, np.asarray(rows))
        yield from _rows(source, rows, channels, values, config, decoded=False)
    else:
        from dafxtool.latents.table import read_latents
        from dafxtool.models.run import load_run

        latents = read_latents(source)
        model = load_run(run or Path(latents.run))
        if model.spectrogram_config.standardisation == "segment":
            raise FormatError(
                f"{source} has latents of {model.path}, whose segments are standardised each by "
                "its own constants, which latents do not keep: invert the spectrograms instead."
            )
        chosen = _checked(rows, len(latents), source)
        decoded = model.decode(latents.latent[chosen])
        constants = np.tile(np.array([model.mean, model.deviation], np.float32), (len(chosen), 1))
        values = linear_magnitude(decoded, constants, model.spectrogram_config)
        config = model.spectrogram_config
        yield from _rows(source, rows, channels, values, config, decoded=True)


def _rows(
    source: Path,
    rows: Sequence[int],
    channels: Sequence[str],
    values: NDArray[np.float32],
    config: SpectrogramConfig,
    decoded: bool,
) -> Iterator[Magnitude]:
    for row, pair in zip(rows, values, strict=True):
        for channel in channels:
            name = _name(source, row, channel)
            yield Magnitude(name, pair[CHANNELS.index(channel)], config, decoded)


def _from_array(source: Path, rows: Sequence[int], stft: Mapping[str, int]) -> Iterator[Magnitude]:
    values, said = _load(source)
    values = values[None] if values.ndim == 2 else values
    config = _config(source, values.shape[-2:], {**said, **stft})
    for row in _checked(rows, len(values), source):
        yield Magnitude(_name(source, row), np.asarray(values[row], dtype=np.float32), config)


def _load(source: Path) -> tuple[NDArray[Any], dict[str, int]]:
    try:
        loaded = np.load(source, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            values, said = loaded, {}
        else:
            with loaded:
                values = loaded["magnitude"]
                said = {key: int(loaded[key]) for key in STFT_KEYS if key in loaded}
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds
        reason = " ".join(str(error.args[0] if error.args else error).split())
        raise FormatError(
            f"{source} cannot be read ({reason}): wanted an array (n_bins, n_frames), in a .npz "
            "under the name 'magnitude'."
        ) from error
    numeric = values.dtype.kind in "fiu"
    if not numeric or values.ndim not in (2, 3) or 0 in values.shape:
        raise InputError(
            f"{source} holds {values.dtype} of shape {values.shape}: wanted real numbers of shape "
            "(n_bins, n_frames) or (n, n_bins, n_frames)."
        )
    return values, said


def _config(source: Path, shape: tuple[int, ...], said: Mapping[str, int]) -> SpectrogramConfig:
    n_bins, n_frames = shape
    if n_bins < 3:
        raise InputError(
            f"{source} has {n_bins} bins: wanted 3 at least (bins first, frames last)."
        )
    n_fft = said.get("n_fft", 2 * (n_bins - 1))
    if n_fft // 2 + 1 != n_bins:
        raise ConfigError(
            f"{source} has {n_bins} bins, and an n_fft of {n_fft} makes {n_fft // 2 + 1}: give "
            f"--n-fft {2 * (n_bins - 1)}, or turn the array (bins come first, frames last)."
        )
    hop = said.get("hop_length", n_fft // 4)
    n_samples = said.get("n_samples", max(1, (n_frames - 1) * hop))
    config = SpectrogramConfig(
        sample_rate=said.get("sample_rate", 24_000),
        n_samples=n_samples,
        n_fft=n_fft,
        hop_length=hop,
        window_length=said.get("window_length", n_fft),
    )
    if config.n_frames != n_frames:
        raise ConfigError(
            f"{source} has {n_frames} frames, and {n_samples} samples at a hop of {hop} make "
            f"{config.n_frames}: give the right --hop-length, or leave n_samples out."
        )
    return config


def _checked(rows: Sequence[int], count: int, source: Path) -> NDArray[np.int64]:
    chosen = np.asarray(rows, dtype=np.int64)
    if len(chosen) == 0 or chosen.min() < 0 or chosen.max() >= count:
        raise InputError(f"{source} has rows 0 to {count - 1}, not {list(rows)}.")
    return chosen
