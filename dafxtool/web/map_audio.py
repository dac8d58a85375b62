"""Collect audio and thumbnails of points of a latent map, and decode the steps between them.

A page cannot run a model, so the steps between any two points with audio are decoded in advance.
A step is stored as the blend of its decoded ends plus a residual of a few coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.dataset.pair import render_pair
from dafxtool.dataset.segments import cut_recording
from dafxtool.effects.effect import Effect
from dafxtool.latents.table import Latents
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.web.thumbnails import (
    Residuals,
    compress,
    from_levels,
    shown_db,
    shrink,
    to_levels,
)

if TYPE_CHECKING:
    from dafxtool.models.run import Run

N_POINTS = 60
POSITIONS = (0.25, 0.5, 0.75)  # of the steps between two points
DECODED_VALUES = 2e6  # decoded at a time; larger parts are slower, limited by memory
MAX_ERRORS = 4000  # largest map whose points all get a reconstruction error

# Function from rows of the latents to their dry and wet audio (n, 2, n_samples).
ReadAudio = Callable[[NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True)
class MapAudio:
    """Audio and thumbnails of some points; each array has a row for each of them.

    rows        (n,) of the latents
    audio       (n, 2, n_samples), dry first
    originals   (n, 2, bands, times) levels of the originals
    ends        (n, 2, bands, times) levels of the decoded latents
    residuals   of the steps between points i < j at POSITIONS, pair by pair: (0, 1), (0, 2), ...
    exponent    of the power law in which steps are blended
    error_db    root mean square over all steps of the stored minus the decoded thumbnail
    mse         (n_latents,) reconstruction error of each latent; NaN if it was not computed
    """

    rows: NDArray[np.int64]
    audio: NDArray[np.float32]
    originals: NDArray[np.uint8]
    ends: NDArray[np.uint8]
    residuals: Residuals
    exponent: float
    error_db: float
    mse: NDArray[np.float32]


# --- audio ------------------------------------------------------------------------------------


def audio_reader(path: Path, latents: Latents, run: Run, splits: Sequence[str]) -> ReadAudio | None:
    """Return a function that reads the audio of embedded rows; None for a file without audio.

    path    embedded file: pairs, spectrograms, or one of the recordings
    splits  embedded splits of a pairs file
    """
    kind = storage.kind_of(path) if path.suffix.lower() in (".h5", ".hdf5") else None
    if kind == storage.PAIRS:
        return lambda rows: _read_pairs(path, splits, rows)
    return None if kind else lambda rows: np.stack([_render_row(latents, run, row) for row in rows])


def _read_pairs(path: Path, splits: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    with storage.Hdf5Reader(path, storage.PAIRS) as reader:
        return np.asarray(reader.rows(reader.labels.rows_of(splits)[rows]), dtype=np.float32)


def _render_row(latents: Latents, run: Run, row: int) -> NDArray[np.float32]:
    labels, config = latents.labels, run.configuration.segments
    channel = labels.recordings[labels.recording[row]].get("channel") or config.channel
    config = replace(config, channel=channel)
    dry = cut_recording(Path(labels.path_of(row)), int(labels.offset[row]), config)
    effect = Effect.from_dict(labels.effects[labels.effect[row]]).at(config.sample_rate)
    return render_pair(dry, effect, effect.complete(labels.setting_of(row)), config)[0]


def choose_points(latents: Latents, n_points: int, seed: int = 0) -> NDArray[np.int64]:
    """Choose rows that get audio, balanced over effects; the same seed gives the same rows."""
    rng = np.random.default_rng([seed, 7])
    shuffled = rng.permutation(len(latents))
    rank = np.zeros(len(latents), dtype=np.int64)  # within the effect
    for effect in np.unique(latents.labels.effect):
        members = latents.labels.effect[shuffled] == effect
        rank[members] = np.arange(members.sum())
    return np.sort(shuffled[np.argsort(rank, kind="stable")[:n_points]])


# --- steps --------------------------------------------------------------------------------------


def collect_audio(
    latents: Latents,
    run: Run,
    read_audio: ReadAudio,
    n_points: int = N_POINTS,
    seed: int = 0,
    progress: Progress = SILENT,
) -> MapAudio:
    """Read the audio of some points, and decode the steps between any two of them."""
    rows = choose_points(latents, n_points, seed)
    audio = read_audio(rows)
    spectrograms, constants = run.analyse(audio)
    config, exponent = run.spectrogram_config, run.spectrogram_config.exponent
    originals = shrink(spectrograms, constants, config)
    del spectrograms
    ends = _decode_thumbnails(run, latents.latent[rows], constants)
    loudest = max(float(originals.max()), 1e-9)
    end_levels = to_levels(ends, loudest, exponent)
    blended = from_levels(end_levels, exponent)
    residuals = _residuals(run, latents.latent[rows], constants, blended, loudest, progress)
    progress.message("compressing the steps")
    compressed = compress(residuals, seed)
    return MapAudio(
        rows,
        audio,
        to_levels(originals, loudest, exponent),
        end_levels,
        compressed,
        exponent,
        _error_db(compressed, residuals, blended, exponent),
        _reconstruction_errors(latents, run, read_audio, rows, progress),
    )


def _pair_and_position(
    steps: NDArray[np.int64], n_points: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the indices of both points of each step, and its position between them."""
    first, second = np.triu_indices(n_points, 1)
    pair = steps // len(POSITIONS)
    return first[pair], second[pair], np.array(POSITIONS, np.float32)[steps % len(POSITIONS)]


def _residuals(
    run: Run,
    latent: NDArray[np.float32],
    constants: NDArray[np.float32],
    ends: NDArray[np.float32],
    loudest: float,
    progress: Progress,
) -> NDArray[Any]:
    """Decode all steps and subtract the blends of their ends.

    Returns (n_steps, 2, bands, times) float16 in power-law values, 1 the loudest.
    """
    n = len(latent)
    count = n * (n - 1) // 2 * len(POSITIONS)
    residuals = np.empty((count, *ends.shape[1:]), np.float16)

    def decode(steps: NDArray[np.int64]) -> int:
        a, b, t = _pair_and_position(steps, n)
        t = t[:, None]
        decoded = _decode_thumbnails(
            run, (1 - t) * latent[a] + t * latent[b], (1 - t) * constants[a] + t * constants[b]
        )
        t = t[:, :, None, None]
        residuals[steps] = decoded / loudest - ((1 - t) * ends[a] + t * ends[b])
        return len(steps)

    progress.start("decoding steps", count, "step")
    for n_decoded in _in_parallel(decode, _parts(count, run), run.device):
        progress.advance(n_decoded)
    progress.finish()
    return residuals


def _parts(count: int, run: Run) -> list[NDArray[np.int64]]:
    """Divide the indices 0 to count - 1 into parts that are decoded at a time."""
    size = max(1, int(DECODED_VALUES // np.prod(run.model.shape)))
    return [np.arange(i, min(i + size, count)) for i in range(0, count, size)]


def _in_parallel(
    work: Callable[[NDArray[np.int64]], int], parts: Sequence[NDArray[np.int64]], device: str
) -> Iterator[int]:
    """Process parts, on a CPU one part per core: a part is too small for several cores."""
    import torch

    n_threads = torch.get_num_threads() if device == "cpu" else 1
    if n_threads == 1:
        yield from map(work, parts)
        return
    pool = ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(work, parts)
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_thumbnails(
    run: Run, latent: NDArray[np.float32], constants: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Decode latents in parts and reduce the spectrograms to thumbnails."""
    return np.concatenate(
        [
            shrink(run.decode(latent[rows]), constants[rows], run.spectrogram_config)
            for rows in _parts(len(latent), run)
        ]
    )


def _error_db(
    compressed: Residuals,
    residuals: NDArray[Any],
    ends: NDArray[np.float32],
    exponent: float,
) -> float:
    """Return the root mean square of stored minus decoded thumbnails of steps in dB."""
    squares, count = 0.0, 0
    for start in range(0, len(residuals), 512):
        steps = np.arange(start, min(start + 512, len(residuals)))
        a, b, t = _pair_and_position(steps, len(ends))
        t = t[:, None, None, None]
        blend = (1 - t) * ends[a] + t * ends[b]
        shown = shown_db(blend + compressed.decode(steps), exponent)
        true = shown_db(blend + residuals[steps], exponent)
        squares += float(np.square(shown - true, dtype=np.float64).sum())
        count += shown.size
    return float(np.sqrt(squares / max(count, 1)))


def _reconstruction_errors(
    latents: Latents, run: Run, read_audio: ReadAudio, rows: NDArray[np.int64], progress: Progress
) -> NDArray[np.float32]:
    """Compute mean squared errors in standardised units: (n_latents,).

    rows  if there are more than MAX_ERRORS latents, the errors of others are NaN
    """
    computed = rows if len(latents) > MAX_ERRORS else np.arange(len(latents))
    mse = np.full(len(latents), np.nan, np.float32)
    progress.start("reconstructing", len(computed), "segment")
    for part in np.array_split(computed, max(1, len(computed) // 16)):
        spectrograms, _ = run.analyse(read_audio(part))
        errors = np.square(run.decode(latents.latent[part]) - spectrograms)
        mse[part] = errors.mean(axis=(1, 2, 3))
        progress.advance(len(part))
    progress.finish()
    return mse
