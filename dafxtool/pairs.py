"""Render pairs: segments of recordings, dry and with an effect.

`plan` says what each row will be, `workers` render, `sinks` keep; here they come together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import audio, interrupts, store
from dafxtool.errors import InputError
from dafxtool.parameters import Effect
from dafxtool.plan import Chosen, Plan, make_pair, make_plan
from dafxtool.progress import SILENT, Progress
from dafxtool.segments import (
    SPLITS,
    Catalogue,
    Recording,
    SegmentConfig,
    SplitConfig,
    Track,
    cut_segment,
)
from dafxtool.sinks import Sink, folder_sink, hdf5_sink, recording_rows
from dafxtool.workers import rendered


@dataclass(frozen=True)
class RenderResult:
    """What a render wrote, and which recordings it could not use."""

    path: Path
    n_pairs: int
    pairs_per_effect: dict[str, int]
    pairs_per_split: dict[str, int]
    seconds: float
    skipped: list[tuple[str, str]] = field(default_factory=list)


def render(
    paths: Sequence[Path],
    output: Path,
    effects: Sequence[Chosen],
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
    progress: Progress = SILENT,
) -> RenderResult:
    """Render a dataset into pairs.h5 or, where output has no .h5 ending, a folder of audio files.

    Raises InputError, RecordingError, EffectError, OutputExistsError, DiskError.
    """
    segments, split = segments or SegmentConfig(), split or SplitConfig()
    to_file = output.suffix.lower() in (".h5", ".hdf5")
    if to_file:
        store.check_output(output, resume, overwrite)
    plan = make_plan(
        paths, effects, segments, split, pairs_per_effect, settings, steps, seed, strict, progress
    )
    described = {
        "seed": seed,
        "settings": settings,
        "steps": steps,
        "pairs_per_effect": len(plan.splits),
        "segments": asdict(segments),
        "split": _listed(asdict(split)),
        "fixed": [fixed for _, fixed in plan.effects],
        "effect_names": [effect.name for effect, _ in plan.effects],
        "versions": audio_versions(),
        "sources": digest_of_sources(plan),
    }
    sink: Sink
    skipped = dict(plan.catalogue.skipped)
    if to_file:
        opened = hdf5_sink(output, plan, described, resume, overwrite)
    else:
        opened = folder_sink(output, plan, described, audio_format, resume, overwrite)
    with opened as sink:
        missing = np.flatnonzero(~sink.done())
        progress.start("rendering", plan.n_rows, "pair", done=plan.n_rows - len(missing))
        with interrupts.deferred():  # `advance` looks: never in the middle of a batch or a callback
            for start, pairs, failures in rendered(plan, missing, workers):
                sink.put(start, pairs)
                skipped.update(failures)
                progress.advance(len(pairs))
        progress.finish()
    names = [effect.name for effect, _ in plan.effects]
    return RenderResult(
        path=output,
        n_pairs=plan.n_rows,
        pairs_per_effect=dict.fromkeys(names, len(plan.splits)),
        pairs_per_split={
            name: plan.splits.count(name) * len(names) for name in SPLITS if name in plan.splits
        },
        seconds=plan.n_rows * segments.n_samples / segments.sample_rate,
        skipped=sorted(skipped.items()),
    )


def digest_of_sources(plan: Plan) -> str:
    """SHA-256 of the recordings (paths, lengths, splits) and of the effects, plugins' hashes too.

    So that rows of other recordings are never taken for these, nor mixed with them by a resume.
    """
    effects = [effect.to_dict() for effect, _ in plan.effects]
    text = json.dumps([recording_rows(plan.catalogue), effects], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def audio_versions() -> dict[str, str]:
    """Versions of what decides the bits of a pair."""
    from importlib.metadata import version

    return {name: version(name) for name in ("dafxtool", "pedalboard", "numpy")}


def render_again(path: Path, row: int) -> NDArray[np.float32]:
    """The pair (2, n_samples) of a row of a pairs file, rendered anew from what its row says.

    Bit-identical to what is stored, as long as the recordings and the plugin are what they were.
    """
    with store.Reader(path, store.PAIRS) as pairs:
        if not 0 <= row < len(pairs):
            raise InputError(f"{path} has rows 0 to {len(pairs) - 1}, not {row}.")
        labels, saved = pairs.labels, pairs.configuration
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
    catalogue = Catalogue(recordings, ())
    track = Track(members, n_samples, "train")
    segment = cut_segment(catalogue, track, before + offset, config)
    effect = Effect.from_dict(labels.effects[labels.effect[row]])
    return make_pair(segment.audio, effect, labels.setting_of(row), config)[0]


def _recording(row: dict[str, Any]) -> Recording:
    info = audio.AudioInfo(row["sample_rate"], row["n_channels"], row["n_samples_native"])
    return Recording(row["path"], row["folder"], row["n_samples"], row["split"], info)


def _listed(values: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
