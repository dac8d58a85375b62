"""Audio and thumbnails of some points of a latent map, and the decoded steps between them.

A page cannot run a model, so the steps between any two points that have audio are decoded
beforehand. A step is kept as the blend of its decoded ends plus a residual of a few coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
DECODED_VALUES = 2e6  # decoded at a time: more waits for memory
MOST_ERRORS = 4000  # points whose reconstruction error is measured; measuring costs an embedding

# Rows of the latents -> their dry and wet audio (n, 2, n_samples).
Sounds = Callable[[NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True)
class MapAudio:
    """Audio and thumbnails of some points; each array has a row for each of them.

    rows        (n,) of the latents
    audio       (n, 2, n_samples), dry first
    originals   (n, 2, bands, times) levels of the originals
    ends        (n, 2, bands, times) levels of what the decoder makes of their latents
    residuals   of the steps between points i < j at POSITIONS, pair by pair: (0, 1), (0, 2), ...
    exponent    of the power law in which steps are blended
    error_db    root mean square over all steps: what the page shows less what was decoded
    mse         (n_latents,) reconstruction error of each latent; NaN where it was not measured
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


def sounds_of(path: Path, latents: Latents, run: Run, splits: Sequence[str]) -> Sounds | None:
    """Return a function that reads the audio of embedded rows; None for a file without audio.

    path    what was embedded: a file of render or spectrogram, or one of the recordings
    splits  the splits of a pairs file that were embedded
    """
    kind = storage.kind_of(path) if path.suffix.lower() in (".h5", ".hdf5") else None
    if kind == storage.PAIRS:
        return lambda rows: _stored(path, splits, rows)
    return None if kind else lambda rows: np.stack([_rendered(latents, run, row) for row in rows])


def _stored(path: Path, splits: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    with storage.Reader(path, storage.PAIRS) as reader:
        return np.asarray(reader.rows(reader.labels.rows_of(splits)[rows]), dtype=np.float32)


def _rendered(latents: Latents, run: Run, row: int) -> NDArray[np.float32]:
    labels, config = latents.labels, run.configuration.segments
    dry = cut_recording(Path(labels.path_of(row)), int(labels.offset[row]), config)
    effect = Effect.from_dict(labels.effects[labels.effect[row]]).at(config.sample_rate)
    return render_pair(dry, effect, effect.complete(labels.setting_of(row)), config)[0]


def choose_points(latents: Latents, n_points: int, seed: int = 0) -> NDArray[np.int64]:
    """Choose the rows that get audio: as many of each effect as possible, the same for a seed."""
    rng = np.random.default_rng([seed, 7])
    shuffled = rng.permutation(len(latents))
    turns = np.zeros(len(latents), dtype=np.int64)
    for effect in np.unique(latents.labels.effect):
        members = latents.labels.effect[shuffled] == effect
        turns[members] = np.arange(members.sum())
    return np.sort(shuffled[np.argsort(turns, kind="stable")[:n_points]])


# --- steps --------------------------------------------------------------------------------------


def collect_audio(
    latents: Latents,
    run: Run,
    sounds: Sounds,
    n_points: int = N_POINTS,
    seed: int = 0,
    progress: Progress = SILENT,
) -> MapAudio:
    """Read the audio of some points, and decode the steps between any two of them."""
    rows = choose_points(latents, n_points, seed)
    audio = sounds(rows)
    spectrograms, constants = run.analyse(audio)
    config, exponent = run.spectrogram_config, run.spectrogram_config.exponent
    originals = shrink(spectrograms, constants, config)
    del spectrograms
    ends = _decoded(run, latents.latent[rows], constants)
    loudest = max(float(originals.max()), 1e-9)
    end_levels = to_levels(ends, loudest, exponent)
    blended = from_levels(end_levels, exponent)
    residuals = _residuals(run, latents.latent[rows], constants, blended, loudest, progress)
    progress.say("compressing the steps")
    compressed = compress(residuals, seed)
    return MapAudio(
        rows,
        audio,
        to_levels(originals, loudest, exponent),
        end_levels,
        compressed,
        exponent,
        _error_db(compressed, residuals, blended, exponent),
        _reconstruction_errors(latents, run, sounds, rows, progress),
    )


def _pair_and_position(
    steps: NDArray[np.int64], n_points: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Indices of both points, and the position between them, of each step."""
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
    """Decoded steps less the blends of their ends, float16, in power-law values, 1 the loudest."""
    n = len(latent)
    count = n * (n - 1) // 2 * len(POSITIONS)
    residuals = np.empty((count, *ends.shape[1:]), np.float16)

    def decode(steps: NDArray[np.int64]) -> int:
        a, b, t = _pair_and_position(steps, n)
        t = t[:, None]
        decoded = _decoded(
            run, (1 - t) * latent[a] + t * latent[b], (1 - t) * constants[a] + t * constants[b]
        )
        t = t[:, :, None, None]
        residuals[steps] = decoded / loudest - ((1 - t) * ends[a] + t * ends[b])
        return len(steps)

    progress.start("decoding steps", count, "step")
    for n_done in _in_parallel(decode, _parts(count, run), run.device):
        progress.advance(n_done)
    progress.finish()
    return residuals


def _parts(count: int, run: Run) -> list[NDArray[np.int64]]:
    """Divide 0 to count - 1 into parts that are decoded at a time."""
    size = max(1, int(DECODED_VALUES // np.prod(run.model.shape)))
    return [np.arange(i, min(i + size, count)) for i in range(0, count, size)]


def _in_parallel(
    work: Callable[[NDArray[np.int64]], int], parts: Sequence[NDArray[np.int64]], device: str
) -> Iterator[int]:
    """Process parts; on a CPU each core takes its own, as a part is too small for several."""
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


def _decoded(
    run: Run, latent: NDArray[np.float32], constants: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Decode latents in parts and shrink them."""
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
    """Root mean square of what a page shows of the steps less what was decoded, in dB."""
    squares, count = 0.0, 0
    for start in range(0, len(residuals), 512):
        steps = np.arange(start, min(start + 512, len(residuals)))
        a, b, t = _pair_and_position(steps, len(ends))
        t = t[:, None, None, None]
        blend = (1 - t) * ends[a] + t * ends[b]
        shown = shown_db(blend + compressed.of(steps), exponent)
        true = shown_db(blend + residuals[steps], exponent)
        squares += float(np.square(shown - true, dtype=np.float64).sum())
        count += shown.size
    return float(np.sqrt(squares / max(count, 1)))


def _reconstruction_errors(
    latents: Latents, run: Run, sounds: Sounds, rows: NDArray[np.int64], progress: Progress
) -> NDArray[np.float32]:
    """(n_latents,) mean squared errors in standardised units; NaN beyond MOST_ERRORS.

    rows  those that are measured in any case
    """
    measured = rows if len(latents) > MOST_ERRORS else np.arange(len(latents))
    mse = np.full(len(latents), np.nan, np.float32)
    progress.start("reconstructing", len(measured), "segment")
    for part in np.array_split(measured, max(1, len(measured) // 16)):
        spectrograms, _ = run.analyse(sounds(part))
        errors = np.square(run.decode(latents.latent[part]) - spectrograms)
        mse[part] = errors.mean(axis=(1, 2, 3))
        progress.advance(len(part))
    progress.finish()
    return mse
