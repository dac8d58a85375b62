"""Embed recordings, pairs and spectrograms.

Recordings are read and embedded in threads; the main thread applies the effects, because plugins
have to stay there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.audio.find_recordings import find_recordings
from dafxtool.audio.fingerprint import Fingerprint, fingerprint
from dafxtool.audio.reader import AudioInfo, read_info, resampled_length, resolve_channel
from dafxtool.config import SPLITS, SegmentConfig
from dafxtool.dataset.pair import render_pair
from dafxtool.dataset.segments import Segment, consecutive_segments, padding_warning
from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.effect import EffectChoice
from dafxtool.errors import FormatError, InputError, RecordingError
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.threads import threads_for

if TYPE_CHECKING:  # imports torch, which a map of stored latents does not need
    from dafxtool.models.run import Run
from dafxtool.latents.table import (
    Latents,
    check_segments,
    labels_of,
    latent_parts,
    training_warning,
    warn_if_trained_on,
)

ROWS_PER_BATCH = 32
ROWS_PER_THREAD = 8  # on a CPU, where each thread embeds batches of its own


def embed(
    inputs: Sequence[Path],
    run: Run,
    effects: Sequence[EffectChoice] = (),
    splits: Sequence[str] = SPLITS,
    strict: bool = False,
    progress: Progress = SILENT,
) -> Latents:
    """Embed one pairs or spectrograms file, or recordings and folders.

    effects  applied to recordings; parameters that are not fixed get their default. Without
             effects, dry and wet are the recording itself
    splits   of the rows of a pairs or spectrograms file

    InputError without inputs or rows; FormatError for a file that does not fit the run;
    RecordingError with strict.
    """
    kinds = {storage.kind_of(path) for path in inputs if path.suffix.lower() in (".h5", ".hdf5")}
    if not inputs:
        raise InputError("no inputs. Name recordings, folders or a pairs.h5.")
    if kinds and (len(inputs) > 1 or len(kinds) > 1):
        raise InputError("an HDF5 file has to be the only input. Embed one file at a time.")
    if kinds == {storage.SPECTROGRAMS}:
        return _embed_spectrograms(inputs[0], run, splits, progress)
    if kinds:
        return _embed_pairs(inputs[0], run, splits, progress)
    return _embed_recordings(inputs, run, effects, strict, progress)


def _embed_spectrograms(path: Path, run: Run, splits: Sequence[str], progress: Progress) -> Latents:
    """Embed stored spectrograms, standardised as those of the run."""
    import torch

    from dafxtool.config import SpectrogramConfig

    with storage.Hdf5Reader(path, storage.SPECTROGRAMS) as reader:
        stored = SpectrogramConfig(**reader.configuration["spectrogram"])
        if stored != run.spectrogram_config:
            raise FormatError(
                f"{path}: spectrograms do not fit the run {run.path} (found {stored}, expected "
                f"{run.spectrogram_config}). Embed the pairs, or compute their spectrograms again."
            )
        scale = float(reader.configuration["std"]) / run.std
        shift = (float(reader.configuration["mean"]) - run.mean) / run.std
        is_same = stored.standardisation == "segment" or (scale == 1.0 and shift == 0.0)

        def latents(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            values = torch.from_numpy(reader.rows(rows)).to(run.device).float()
            return run.embed(values if is_same else values.mul_(scale).add_(shift))

        return _embed_rows(reader, latents, run, splits, progress)


def _embed_pairs(path: Path, run: Run, splits: Sequence[str], progress: Progress) -> Latents:
    """Embed the rows of a pairs file."""
    with storage.Hdf5Reader(path, storage.PAIRS) as reader:
        check_segments(reader, run)
        return _embed_rows(
            reader, lambda rows: run.embed_audio(reader.rows(rows)), run, splits, progress
        )


def _embed_rows(
    reader: storage.Hdf5Reader,
    latents_of: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    run: Run,
    splits: Sequence[str],
    progress: Progress,
) -> Latents:
    """Embed rows of an open file with a function of row indices."""
    rows = reader.labels.rows_of(splits)
    if set(splits) != set(SPLITS):
        warn_if_trained_on(reader.labels, rows, run, progress)
    if not len(rows):
        raise InputError(
            f"{reader.path}: no rows of the split {', '.join(splits)}. Choose another."
        )
    size = _rows_per_batch(run)
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    latents = []
    progress.start("embedding", len(rows), "segment")
    with threads_for(run.device) as threads:
        for batch in threads.map(latents_of, parts, ahead=threads.number):
            latents.append(batch)
            progress.advance(len(batch))
    progress.finish()
    return Latents(np.concatenate(latents), reader.labels.take(rows), *latent_parts(run))


def _rows_per_batch(run: Run) -> int:
    return ROWS_PER_THREAD if run.device == "cpu" else ROWS_PER_BATCH


def _embed_recordings(
    inputs: Sequence[Path],
    run: Run,
    effects: Sequence[EffectChoice],
    strict: bool,
    progress: Progress,
) -> Latents:
    """Cut recordings end to end, apply every effect to each segment, and embed the pairs."""
    config = run.configuration.segments
    chosen = list(effects) or [EffectChoice(builtin_effects()["clean"], {})]
    chosen = [EffectChoice(effect.at(config.sample_rate), fixed) for effect, fixed in chosen]
    paths = find_recordings(inputs)
    rows: list[tuple[int, int, int, dict[str, float]]] = []
    table: list[dict[str, Any]] = []
    seconds: dict[Path, float] = {}
    skipped: list[tuple[str, str]] = []

    def pairs() -> Iterator[NDArray[np.float32]]:
        read = partial(_read, config=config, compare=bool(run.data.get("contents")))
        results = threads.map(read, paths, ahead=threads.number)
        for path, result in zip(paths, results, strict=True):
            if isinstance(result, RecordingError):
                if strict:
                    raise result
                progress.detail(f"skipped {result}")
                skipped.append((str(path), str(result)))
            else:
                segments, info, channel, content = result
                for segment, (index, (effect, fixed)) in product(segments, enumerate(chosen)):
                    complete = effect.complete(fixed)
                    pair, setting = render_pair(segment.audio, effect, complete, config)
                    rows.append((len(table), segment.offset, index, setting))
                    yield pair
                row = _table_row(path, len(table), config, info, channel)
                seconds[path] = info.seconds
                table.append(row | {"digest": content.digest, "sketch": content.sketch})
            progress.advance()

    progress.start("embedding", len(paths), "recording")
    with threads_for(run.device) as threads:
        batches = _stack(pairs(), _rows_per_batch(run))
        latents = list(threads.map(run.embed_audio, batches, ahead=threads.number))
    progress.finish()
    if not latents:
        raise InputError(f"no recording can be embedded. First error: {skipped[0][1]}")
    labels = labels_of(rows, table, chosen)
    warnings = (
        training_warning(labels, np.arange(len(labels)), run),
        padding_warning(seconds, config),
    )
    return Latents(
        np.concatenate(latents),
        labels,
        *latent_parts(run),
        tuple(skipped),
        tuple(filter(None, warnings)),
    )


def _read(
    path: Path, config: SegmentConfig, compare: bool
) -> tuple[list[Segment], AudioInfo, str, Fingerprint] | RecordingError:
    """Cut a recording end to end; also return its channel. An error is returned, not raised.

    compare  compute its fingerprint, which is empty otherwise
    """
    try:
        info = read_info(path)
        channel = resolve_channel(path, config.channel, info)
        content = fingerprint(path, info) if compare else None
        segments = consecutive_segments(path, replace(config, channel=channel), info)
        return segments, info, channel, content or Fingerprint(info.seconds, "", "")
    except RecordingError as error:
        return error


def _stack(arrays: Iterator[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    """Stack arrays in batches of up to `size`."""
    while part := list(islice(arrays, size)):
        yield np.stack(part)


def _table_row(
    path: Path, track: int, config: SegmentConfig, info: AudioInfo, channel: str
) -> dict[str, Any]:
    """Return the row of a recording in the table of recordings."""
    return {
        "path": str(path.absolute()),
        "folder": path.absolute().parent.name,
        "split": "test",
        "sample_rate": info.sample_rate,
        "n_channels": info.n_channels,
        "n_samples_native": info.n_samples,
        "n_samples": resampled_length(info, config.sample_rate),
        "track": track,
        "channel": channel,
    }
