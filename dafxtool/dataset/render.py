"""Render pairs: segments of recordings, dry and with an effect.

`plan` says what each row will be, `workers` render, `sinks` keep; here they come together.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import __version__, storage
from dafxtool.audio.find_recordings import SUFFIXES
from dafxtool.audio.io import AudioInfo
from dafxtool.config import SPLITS, SegmentConfig, SplitConfig
from dafxtool.dataset.failures import FailedPair, FailureSummary
from dafxtool.dataset.pair import render_pair
from dafxtool.dataset.plan import PairRenderer, RenderPlan, make_plan
from dafxtool.dataset.recordings import Recording, RecordingSet, Track, recording_rows
from dafxtool.dataset.segments import cut_segment
from dafxtool.dataset.workers import render_batches
from dafxtool.dataset.writers import check_folder, folder_sink, hdf5_sink
from dafxtool.effects.effect import Effect, EffectChoice
from dafxtool.effects.vst3.isolation import PLUGIN_SECONDS
from dafxtool.errors import InputError, PluginError
from dafxtool.utils import files, signals
from dafxtool.utils.child_process import PrintedLog
from dafxtool.utils.dask_cluster import DaskCluster
from dafxtool.utils.progress import SILENT, Progress

# Endings that nobody gives a folder: a slip would fill one with files.
NO_FOLDERS = (".txt", ".csv", ".json", ".png", ".html", ".npz", ".npy", *SUFFIXES)


@dataclass(frozen=True)
class RenderResult:
    """What a render wrote, and which recordings it could not use."""

    path: Path
    n_pairs: int
    pairs_per_effect: dict[str, int]
    pairs_per_split: dict[str, int]
    seconds: float
    skipped: list[tuple[str, str]] = field(default_factory=list)
    lost: list[tuple[int, str, str]] = field(default_factory=list)  # row, effect and setting, why
    printed: Path | None = None  # what plugins printed
    remarks: list[str] = field(default_factory=list)  # what the lost pairs have in common


def render(
    paths: Sequence[Path],
    output: Path,
    effects: Sequence[EffectChoice],
    segments: SegmentConfig | None = None,
    split: SplitConfig | None = None,
    pairs_per_effect: int | None = None,
    settings: str = "random",
    steps: int = 5,
    seed: int = 0,
    workers: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    audio_format: str = "wav",
    plugin_seconds: float = PLUGIN_SECONDS,
    cluster: DaskCluster | None = None,
    progress: Progress = SILENT,
) -> RenderResult:
    """Render a dataset into pairs.h5 or, where output has no .h5 ending, a folder of audio files.

    A pair that a plugin spoils (it crashes, hangs for longer than plugin_seconds, gives what is no
    sound) is tried again by a fresh process and then listed as lost; what plugins print goes to
    log_path(output). With a cluster, its workers render and this process writes.

    Raises InputError, RecordingError, EffectError, OutputExistsError, DiskError; PluginError where
    a plugin spoils a pair and strict is set, or spoils all of them.
    """
    segments, split = segments or SegmentConfig(), split or SplitConfig()
    to_file = _is_pairs_file(output)
    _check_output(output, resume, overwrite)
    plan = make_plan(
        paths,
        effects,
        segments,
        split,
        pairs_per_effect,
        settings,
        steps,
        seed,
        strict,
        progress,
        leave_out=None if to_file else output,  # what it makes is not what it is made of
    )
    described = {
        "seed": seed,
        "settings": settings,
        "steps": steps,
        "pairs_per_effect": plan.pairs_per_effect,
        "segments": asdict(segments),
        "split": _listed(asdict(split)),
        "fixed": [fixed for _, fixed in plan.effects],
        "effect_names": [effect.name for effect, _ in plan.effects],
        "versions": audio_versions(),
        "sources": digest_of_sources(plan),
    }
    if to_file:
        opened = hdf5_sink(output, plan, described, resume, overwrite)
    else:
        opened = folder_sink(output, plan, described, audio_format, resume, overwrite, progress)
    skipped = dict(plan.catalogue.skipped)
    lost: list[FailedPair] = []
    losses = FailureSummary([effect for effect, _ in plan.effects])
    printed = PrintedLog(log_path(output))
    with opened as sink:
        if not resume:
            log_path(output).unlink(missing_ok=True)
        rows = PairRenderer(plan)
        lost.extend(FailedPair(row, rows.unmade(row), why) for row, why in sink.lost().items())
        missing = np.flatnonzero(~sink.done())
        progress.start("rendering", plan.n_rows, "pair", done=plan.n_rows - len(missing))
        with signals.deferred():  # `advance` looks: never in the middle of a batch or a callback
            for batch in render_batches(
                plan, missing, workers, plugin_seconds, printed, progress, cluster
            ):
                if strict and batch.lost:
                    raise PluginError(_lost_sentence(plan, batch.lost[0]))
                sink.put(batch.rows, batch.pairs, batch.lost)
                skipped.update(batch.failures)
                lost.extend(batch.lost)
                losses.count(batch.pairs, [each.pair for each in batch.lost])
                progress.advance(len(batch.pairs) + len(batch.lost))
        progress.finish()
        if len(lost) == plan.n_rows:
            raise PluginError(f"no pair could be made; the first: {_lost_sentence(plan, lost[0])}")
    names = [effect.name for effect, _ in plan.effects]
    rows_lost = {each.row for each in lost}
    kept = [row for row in range(plan.n_rows) if row not in rows_lost]
    splits = Counter(map(plan.split_of, kept))
    per_effect = Counter(names[row % len(names)] for row in kept)
    return RenderResult(
        path=output,
        n_pairs=len(kept),
        pairs_per_effect={name: per_effect[name] for name in names},
        pairs_per_split={name: splits[name] for name in SPLITS if splits[name]},
        seconds=len(kept) * segments.n_samples / segments.sample_rate,
        skipped=sorted(skipped.items()),
        lost=[(each.row, _effect_of(plan, each), each.reason) for each in _by_row(lost)],
        printed=printed.path if printed.written else None,
        remarks=losses.remarks(),
    )


def _is_pairs_file(output: Path) -> bool:
    return output.suffix.lower() in (".h5", ".hdf5")


def _check_output(output: Path, resume: bool, overwrite: bool) -> None:
    """Refuse an output before recordings are read: InputError, OutputExistsError, DiskError."""
    if _is_pairs_file(output):
        storage.check_output(output, resume, overwrite)
    elif output.suffix.lower() in NO_FOLDERS and not output.is_dir():
        raise InputError(
            f"{output} is called like a file of another kind: give --output a name that ends in "
            ".h5, or a folder's name for audio files."
        )
    else:
        check_folder(output, resume, overwrite)


def log_path(output: Path) -> Path:
    """Where what plugins print during a render goes: beside a pairs file, or into the folder."""
    if _is_pairs_file(output):
        return output.with_name(f"{output.stem}.plugins.log")
    return output / "plugins.log"


def _by_row(lost: Sequence[FailedPair]) -> list[FailedPair]:
    return sorted(lost, key=lambda each: each.row)


def _effect_of(plan: RenderPlan, lost: FailedPair) -> str:
    return plan.effects[lost.pair.effect][0].setting_text(lost.pair.setting)


def _lost_sentence(plan: RenderPlan, lost: FailedPair) -> str:
    return f"pair {lost.row} of {_effect_of(plan, lost)} could not be made: {lost.reason}"


def digest_of_sources(plan: RenderPlan) -> str:
    """SHA-256 of the effects and the recordings: paths, lengths, splits, some of their bytes.

    So that rows of other recordings are never taken for these, nor mixed with them by a resume.
    """
    effects = [effect.to_dict() for effect, _ in plan.effects]
    contents = [files.fingerprint(Path(each.path)) for each in plan.catalogue.recordings]
    text = json.dumps([recording_rows(plan.catalogue), contents, effects], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def audio_versions() -> dict[str, str]:
    """Versions of what decides the bits of a pair."""
    from importlib.metadata import version

    packages = ("pedalboard", "soundfile", "soxr", "numpy")
    return {"dafxtool": __version__, **{name: version(name) for name in packages}}


def rerender_row(path: Path, row: int) -> NDArray[np.float32]:
    """The pair (2, n_samples) of a row of a pairs file, rendered anew from what its row says.

    Bit-identical to what is stored, as long as the recordings and the plugin are what they were.
    """
    with storage.Reader(path, storage.PAIRS) as pairs:
        if not 0 <= row < len(pairs):
            raise InputError(f"{path} has rows 0 to {len(pairs) - 1}, not {row}.")
        labels, saved = pairs.labels, pairs.configuration
        if storage.HAND_MADE in saved:
            raise InputError(
                f"{path} was not written by 'dafxtool render': its rows cannot be rendered again."
            )
    config = SegmentConfig(**saved["segments"])
    recordings = tuple(_recording(r) for r in labels.recordings)
    first, offset = int(labels.recording[row]), int(labels.offset[row])
    members = tuple(
        i
        for i, r in enumerate(labels.recordings)
        if r["track"] == labels.recordings[first]["track"]
    )
    n_samples = sum(recordings[i].n_samples for i in members)
    before = sum(recordings[i].n_samples for i in members if i < first)
    catalogue = RecordingSet(recordings, ())
    track = Track(members, n_samples, "train")
    segment = cut_segment(catalogue, track, before + offset, config)
    effect = Effect.from_dict(labels.effects[labels.effect[row]])
    return render_pair(segment.audio, effect, labels.setting_of(row), config)[0]


def _recording(row: dict[str, Any]) -> Recording:
    info = AudioInfo(row["sample_rate"], row["n_channels"], row["n_samples_native"])
    return Recording(row["path"], row["folder"], row["n_samples"], row["split"], info)


def _listed(values: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
