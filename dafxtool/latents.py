"""Embed recordings, pairs and spectrograms: posterior means, one row a segment.

A latent is never a sample of the posterior, and the model is in evaluation mode: a row depends on
its segment alone, not on the batch that it was in or the order of the rows.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import audio, store
from dafxtool.effects import builtin_effects
from dafxtool.errors import FormatError, InputError, RecordingError
from dafxtool.files import writing
from dafxtool.find_recordings import find_recordings
from dafxtool.outputs import LATENT_SUFFIXES
from dafxtool.plan import Chosen, make_pair
from dafxtool.progress import SILENT, Progress
from dafxtool.segments import SPLITS, Segment, SegmentConfig, consecutive_segments
from dafxtool.store import Labels
from dafxtool.threads import threads_for

if TYPE_CHECKING:  # it imports torch, which a map of stored latents does not need
    from dafxtool.runs import Run

ROWS_A_BATCH = 32
ROWS_A_THREAD = 8  # of a CPU, each of which takes a batch of its own


@dataclass(frozen=True)
class Latents:
    """latent (n, n_latent) float32, and what each row is; skipped are (path, reason).

    n_content  how many of the first numbers tell of the recording; the rest tell of the effect. 0
               of a model that does not divide its latents.
    n_style    how many of the last numbers tell of the effect for the whole segment at once
    scale      (n_latent,) by how much the decoded spectrogram changes with each number; with it
               distances between latents are distances between sounds
    """

    latent: NDArray[np.float32]
    labels: Labels
    run: str
    n_content: int
    n_style: int
    scale: NDArray[np.float32]
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.latent)

    @property
    def effect_part(self) -> NDArray[np.float32]:
        """(n, size): the style, or what else tells of the effect, scaled."""
        first = self.latent.shape[1] - self.n_style if self.n_style else self.n_content
        return (self.latent * self.scale)[:, first:]

    def effects(self) -> list[str]:
        """The name of each row's effect."""
        return [self.labels.effect_of(row) for row in range(len(self))]

    def take(self, rows: NDArray[np.int64]) -> Latents:
        return replace(self, latent=self.latent[rows], labels=self.labels.take(rows))


def embed(
    inputs: Sequence[Path],
    run: Run,
    effects: Sequence[Chosen] = (),
    splits: Sequence[str] = SPLITS,
    strict: bool = False,
    progress: Progress = SILENT,
) -> Latents:
    """Embed files made by `render` or `spectrogram`, or recordings and folders.

    effects  applied to recordings, with their default setting where nothing is fixed; without any,
             a recording is a pair of itself
    splits   which rows of pairs and spectrograms are taken
    """
    kinds = {store.kind_of(path) for path in inputs if path.suffix.lower() in (".h5", ".hdf5")}
    if not inputs:
        raise InputError("nothing to embed was named: name recordings, folders or a pairs.h5.")
    if kinds and (len(inputs) > 1 or len(kinds) > 1):
        raise InputError("embed one HDF5 file at a time, and not together with recordings.")
    if kinds == {store.SPECTROGRAMS}:
        return _embed_spectrograms(inputs[0], run, splits, progress)
    if kinds:
        return _embed_pairs(inputs[0], run, splits, progress)
    return _embed_recordings(inputs, run, effects, strict, progress)


def _embed_spectrograms(path: Path, run: Run, splits: Sequence[str], progress: Progress) -> Latents:
    import torch

    from dafxtool.stft import SpectrogramConfig

    with store.Reader(path, store.SPECTROGRAMS) as reader:
        theirs = SpectrogramConfig(**reader.configuration["spectrogram"])
        if theirs != run.spectrogram_config:
            raise FormatError(
                f"{path} was analysed with {theirs}, the run {run.path} wants "
                f"{run.spectrogram_config}: embed the pairs, or analyse them again."
            )
        scale = float(reader.configuration["std"]) / run.deviation
        shift = (float(reader.configuration["mean"]) - run.mean) / run.deviation
        same = theirs.standardisation == "segment" or (scale == 1.0 and shift == 0.0)

        def latents(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            values = torch.from_numpy(reader.rows(rows)).to(run.device).float()
            return run.embed(values if same else values.mul_(scale).add_(shift))

        return _embed_rows(reader, latents, run, splits, progress)


def _embed_pairs(path: Path, run: Run, splits: Sequence[str], progress: Progress) -> Latents:
    with store.Reader(path, store.PAIRS) as reader:
        check_segments(reader, run)
        return _embed_rows(
            reader, lambda rows: run.embed_audio(reader.rows(rows)), run, splits, progress
        )


def check_segments(reader: store.Reader, run: Run) -> None:
    """The pairs' segments have to be of the size that the run takes."""
    segments, wanted = reader.configuration["segments"], run.configuration.segments
    found = (segments["sample_rate"], segments["n_samples"])
    if found != (wanted.sample_rate, wanted.n_samples):
        raise FormatError(
            f"{reader.path} has segments of {found[1]} samples at {found[0]} Hz, the run "
            f"{run.path} takes {wanted.n_samples} at {wanted.sample_rate} Hz: render with the "
            "run's preset."
        )


def _embed_rows(
    reader: store.Reader,
    latents_of: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    run: Run,
    splits: Sequence[str],
    progress: Progress,
) -> Latents:
    rows = reader.labels.rows_of(splits)
    if set(splits) != set(SPLITS):
        say_if_learnt(reader.labels, rows, run, progress)
    if not len(rows):
        raise InputError(f"{reader.path} has no rows of the splits {', '.join(splits)}.")
    size = _rows_a_batch(run)
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    latents = []
    progress.start("embedding", len(rows), "segment")
    with threads_for(run.device) as threads:
        for found in threads.map(latents_of, parts, ahead=threads.number):
            latents.append(found)
            progress.advance(len(found))
    progress.finish()
    return Latents(np.concatenate(latents), reader.labels.take(rows), *about(run))


def _rows_a_batch(run: Run) -> int:
    return ROWS_A_THREAD if run.device == "cpu" else ROWS_A_BATCH


def _embed_recordings(
    inputs: Sequence[Path],
    run: Run,
    effects: Sequence[Chosen],
    strict: bool,
    progress: Progress,
) -> Latents:
    """Threads read and embed; this one applies the effects in between, and keeps the order."""
    config = run.configuration.segments
    chosen = list(effects) or [(builtin_effects()["clean"], {})]
    chosen = [(effect.at(config.sample_rate), fixed) for effect, fixed in chosen]
    paths = find_recordings(inputs)
    rows: list[tuple[int, int, int, dict[str, float]]] = []
    table: list[dict[str, Any]] = []
    skipped: list[tuple[str, str]] = []

    def pairs() -> Iterator[NDArray[np.float32]]:
        heard = threads.map(lambda path: _heard(path, config), paths, ahead=threads.number)
        for path, found in zip(paths, heard, strict=True):
            if isinstance(found, RecordingError):
                if strict:
                    raise found
                skipped.append((str(path), str(found)))
            else:
                segments, info = found
                for segment, (index, (effect, fixed)) in product(segments, enumerate(chosen)):
                    full = effect.complete(fixed)
                    sound, setting = make_pair(segment.audio, effect, full, config)
                    rows.append((len(table), segment.offset, index, setting))
                    yield sound
                table.append(_table_row(path, len(table), config, info))
            progress.advance()

    progress.start("embedding", len(paths), "recording")
    with threads_for(run.device) as threads:
        batches = _stacked(pairs(), _rows_a_batch(run))
        latents = list(threads.map(run.embed_audio, batches, ahead=threads.number))
    progress.finish()
    if not latents:
        raise InputError(f"nothing could be embedded; the first reason: {skipped[0][1]}")
    return Latents(
        np.concatenate(latents),
        labels_of(rows, table, chosen),
        *about(run),
        tuple(skipped),
    )


def _heard(
    path: Path, config: SegmentConfig
) -> tuple[list[Segment], audio.AudioInfo] | RecordingError:
    """A recording cut end to end, or what is wrong with it."""
    try:
        info = audio.probe(path)
        return consecutive_segments(path, config, info), info
    except RecordingError as error:
        return error


def _stacked(arrays: Iterator[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    while part := list(islice(arrays, size)):
        yield np.stack(part)


def about(run: Run) -> tuple[str, int, int, NDArray[np.float32]]:
    """run, n_content, n_style and scale of Latents."""
    model = run.model
    return str(run.path), model.n_content, model.n_style, model.latent_scale.cpu().numpy()


def _table_row(
    path: Path, track: int, config: SegmentConfig, info: audio.AudioInfo
) -> dict[str, Any]:
    return {
        "path": str(path.absolute()),
        "folder": path.absolute().parent.name,
        "split": "test",
        "sample_rate": info.sample_rate,
        "n_channels": info.n_channels,
        "n_samples_native": info.n_samples,
        "n_samples": audio.resampled_length(info, config.sample_rate),
        "track": track,
    }


def labels_of(
    rows: Sequence[tuple[int, int, int, dict[str, float]]],
    table: list[dict[str, Any]],
    chosen: Sequence[Chosen],
) -> Labels:
    """Labels of rows (recording, offset, index of the effect, setting); their split is test."""
    width = max(1, *(len(effect.parameters) for effect, _ in chosen))
    setting = np.full((len(rows), width), np.nan)
    for values, row in zip(setting, rows, strict=True):
        values[: len(row[3])] = list(row[3].values())
    return Labels(
        effect=np.array([row[2] for row in rows]),
        setting=setting,
        setting_text=[chosen[row[2]][0].setting_text(row[3]) for row in rows],
        recording=np.array([row[0] for row in rows]),
        offset=np.array([row[1] for row in rows]),
        split=np.full(len(rows), SPLITS.index("test")),
        effects=[effect.to_dict() for effect, _ in chosen],
        recordings=table,
    )


def write_latents(latents: Latents, output: Path, overwrite: bool = False) -> None:
    """Write HDF5, CSV or NPZ, by the ending of `output`."""
    suffix = output.suffix.lower()
    if suffix not in LATENT_SUFFIXES:
        raise InputError(f"{output} ends in {suffix!r}: use one of {', '.join(LATENT_SUFFIXES)}.")
    if suffix in (".h5", ".hdf5"):
        _write_hdf5(latents, output, overwrite)
        return
    with writing(output, overwrite) as temporary:
        if suffix == ".npz":
            columns: dict[str, Any] = {"latent": latents.latent, **_named_columns(latents)}
            np.savez(temporary, **columns)
        else:
            _write_csv(latents, temporary)


def _write_hdf5(latents: Latents, output: Path, overwrite: bool) -> None:
    labels = latents.labels
    with store.writing_rows(
        output,
        store.LATENTS,
        {"latent": (latents.latent.shape[1:], np.float32)},
        labels.effect,
        {"run": latents.run},
        labels.effects,
        labels.recordings,
        resume=False,
        overwrite=overwrite or not output.exists(),  # remains of a killed one are worth nothing
        rows_a_chunk=256,
        tables={
            "parts": store.make_table("parts", _parts(latents)),
            "scale": latents.scale.astype(np.float32),
        },
    ) as writer:
        writer.put(0, latent=latents.latent, **store.label_rows(labels, slice(None)))


def _parts(latents: Latents) -> list[dict[str, Any]]:
    """Which of the numbers are content, change and style; a model may not divide them."""
    n_latent = latents.latent.shape[1]
    if not latents.n_content and not latents.n_style:
        return [{"name": "undivided", "start": 0, "stop": n_latent}]
    first, last = latents.n_content, n_latent - latents.n_style
    bounds = {"content": (0, first), "change": (first, last), "style": (last, n_latent)}
    return [{"name": name, "start": a, "stop": b} for name, (a, b) in bounds.items()]


def _named_columns(latents: Latents) -> dict[str, NDArray[Any]]:
    """Labels as arrays of numbers and fixed-length text: no pickled objects."""
    labels, n = latents.labels, len(latents)
    return {
        "effect": np.array(latents.effects()),
        "setting_text": np.array(labels.setting_text),
        "setting": labels.setting,
        "recording": np.array([labels.path_of(row) for row in range(n)]),
        "offset": labels.offset,
        "split": np.array([labels.split_of(row) for row in range(n)]),
    }


def _write_csv(latents: Latents, path: Path) -> None:
    columns = _named_columns(latents)
    del columns["setting"]
    names = [f"latent_{i}" for i in range(latents.latent.shape[1])]
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, *names])
        for row, values in enumerate(latents.latent.tolist()):
            writer.writerow([*(column[row] for column in columns.values()), *map(repr, values)])


def read_latents(path: Path) -> Latents:
    """A latents.h5 that `write_latents` wrote."""
    with store.Hdf5Reader(path, store.LATENTS) as reader:
        latent = np.asarray(reader.rows(slice(None)), dtype=np.float32)
        if not np.isfinite(latent).all():
            raise FormatError(f"{path} holds latents that are NaN or infinite. Make it again.")
        size = {
            part["name"]: part["stop"] - part["start"]
            for part in store.read_table("parts", reader.table("parts"))
        }
        return Latents(
            latent,
            reader.labels,
            str(reader.configuration["run"]),
            size.get("content", 0),
            size.get("style", 0),
            reader.table("scale").astype(np.float32),
        )


def held_out(labels: Labels) -> list[str]:
    """The splits that training did not learn from: test, else validation, else everything."""
    for splits in (["test"], ["validation"]):
        if len(labels.rows_of(splits)):
            return splits
    return ["train"]


def are_learnt(labels: Labels, rows: NDArray[np.int64], run: Run) -> NDArray[np.bool_]:
    """(n,) whether the recording of each row is one that the run was trained on or chosen by.

    Recordings are known by their real paths: a copy elsewhere is another one.
    """
    known = {
        os.path.realpath(path)
        for what in ("recordings", "validated_on")
        for path in run.data.get(what, ())
    }
    own = np.array([os.path.realpath(str(r["path"])) in known for r in labels.recordings], bool)
    found: NDArray[np.bool_] = own[labels.recording[rows]]
    return found


def say_if_learnt(labels: Labels, rows: NDArray[np.int64], run: Run, progress: Progress) -> None:
    """A word where what is shown flatters the model."""
    count = int(are_learnt(labels, rows, run).sum())
    if count:
        progress.say(
            f"{count} of {len(rows)} segments are of recordings that the run was trained on, or "
            "chosen by: what is shown of them flatters it"
        )


def held_out_of(path: Path) -> list[str]:
    """The same of a pairs or spectrograms file; recordings are all of the split test."""
    kind = store.kind_of(path) if path.suffix.lower() in (".h5", ".hdf5") else None
    if kind not in (store.PAIRS, store.SPECTROGRAMS):
        return ["test"]
    with store.Reader(path, kind) as reader:
        return held_out(reader.labels)
