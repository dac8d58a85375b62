"""Render a dataset: plan the rows, render them in workers and write the pairs.

The parts are `plan`, `workers` (which use `pair`) and `writers`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import __version__, storage
from dafxtool.audio.find_recordings import SUFFIXES
from dafxtool.audio.reader import AudioInfo
from dafxtool.config import SPLITS, SegmentConfig, SplitConfig
from dafxtool.dataset.failures import FailedPair, FailureSummary, unchanged_warnings
from dafxtool.dataset.pair import PairRenderer, render_pair
from dafxtool.dataset.plan import RenderPlan, make_plan
from dafxtool.dataset.recordings import Recording, RecordingSet, Track, recording_rows
from dafxtool.dataset.segments import cut_segment
from dafxtool.dataset.silence import silence_reason
from dafxtool.dataset.workers import Batch, render_batches
from dafxtool.dataset.writers import (
    PairWriter,
    check_folder,
    open_folder_writer,
    open_hdf5_writer,
)
from dafxtool.effects.effect import Effect, EffectChoice
from dafxtool.effects.vst3.isolation import PLUGIN_SECONDS
from dafxtool.errors import ArgumentError, InputError, PluginError
from dafxtool.utils import files, notebook, signals
from dafxtool.utils.child_process import PrintedLog
from dafxtool.utils.dask_cluster import DaskCluster
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import counted

# A name with such an ending is a slip: refuse it instead of making a folder of that name.
NOT_FOLDER_SUFFIXES = (".txt", ".csv", ".json", ".png", ".html", ".npz", ".npy", *SUFFIXES)


@dataclass(frozen=True, repr=False)
class RenderResult(notebook.Displayed):
    """Summary of a render.

    seconds   of dry audio
    unchanged_per_effect  pairs whose wet segment is the dry one within -80 dB, apart from level
    skipped   (path, reason) of recordings that could not be used
    silent    (path, reason) of recordings that were tried and gave no segment
    copies    (path, path of the original) of recordings that are in the split of their original
    failed    (row, effect and setting, reason) of failed pairs
    printed   log of what plugins printed, None where they printed nothing
    warnings  settings that the failed pairs share
    """

    path: Path
    n_pairs: int
    pairs_per_effect: dict[str, int]
    pairs_per_split: dict[str, int]
    seconds: float
    unchanged_per_effect: dict[str, int] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    silent: list[tuple[str, str]] = field(default_factory=list)
    copies: list[tuple[str, str]] = field(default_factory=list)
    failed: list[tuple[int, str, str]] = field(default_factory=list)
    printed: Path | None = None
    warnings: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"RenderResult({str(self.path)!r}, {counted(self.n_pairs, 'pair')}{failed})"

    def _parts(self) -> Iterator[str]:
        yield notebook.paragraph(f"{counted(self.n_pairs, 'pair')} in {self.path}")
        yield notebook.table(("effect", "pairs"), list(self.pairs_per_effect.items()))
        yield notebook.table(("split", "pairs"), list(self.pairs_per_split.items()))
        for title, each in (("skipped", self.skipped), ("gave no segment", self.silent)):
            if each:
                yield notebook.table((title, "reason"), each)


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
    channels: str = "mono",
    plugin_seconds: float = PLUGIN_SECONDS,
    cluster: DaskCluster | None = None,
    progress: Progress = SILENT,
) -> RenderResult:
    """Render a dataset into a pairs file or, without an .h5 ending, a folder of audio files.

    A pair fails where its plugin crashes, takes longer than plugin_seconds, or gives silence, NaN
    or infinity. A fresh process tries it again; if that fails too, it is listed as failed. The
    output of plugins goes to log_path(output). With a cluster, its workers render and this process
    writes. With channels "stereo", the wet files of a folder have both outputs of stereo plugins.

    InputError, RecordingError, EffectError, OutputExistsError, DiskError; PluginError for the first
    failed pair if strict, or where all pairs fail.
    """
    segments, split = segments or SegmentConfig(), split or SplitConfig()
    _check_output(output, resume, overwrite)
    is_file = _is_pairs_file(output)
    if channels == "stereo" and is_file:
        raise ArgumentError(
            f"{output}: a pairs file is mono. Name a folder as --output, or leave --channels out."
        )
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
        exclude=None if is_file else output,  # older audio in it is not a recording
    )
    plan = plan.in_stereo() if channels == "stereo" else plan
    configuration = _configuration(plan, split, settings, steps)
    if is_file:
        opened = open_hdf5_writer(output, plan, configuration, resume, overwrite)
    else:
        opened = open_folder_writer(
            output, plan, configuration, audio_format, resume, overwrite, progress
        )
    printed = PrintedLog(log_path(output))
    with opened as writer:
        if not resume:
            log_path(output).unlink(missing_ok=True)
        missing = np.flatnonzero(~writer.done())
        batches = render_batches(plan, missing, workers, plugin_seconds, printed, progress, cluster)
        outcome = _write_batches(plan, batches, writer, len(missing), strict, progress)
        if len(outcome.failed) == plan.n_rows:
            sentence = _failure_sentence(plan, outcome.failed[0])
            raise PluginError(f"all pairs failed. The first: {sentence}")
        silent = silent_recordings(plan, writer.recordings(), set(outcome.skipped))
    return _result(output, plan, outcome, silent, printed)


def _configuration(
    plan: RenderPlan, split: SplitConfig, settings: str, steps: int
) -> dict[str, Any]:
    """Describe everything that decides the pairs, as it is stored in the output."""
    return {
        "seed": plan.seed,
        "settings": settings,
        "steps": steps,
        "pairs_per_effect": plan.pairs_per_effect,
        "segments": asdict(plan.segments),
        "split": _tuples_as_lists(asdict(split)),
        "fixed": [fixed for _, fixed in plan.effects],
        "effect_names": [effect.name for effect, _ in plan.effects],
        "versions": audio_versions(),
        "sources": digest_of_sources(plan),
        **({"channels": "stereo"} if plan.stereo else {}),
    }


@dataclass
class _Outcome:
    """Failed pairs, unusable recordings (path -> reason), and counts for the warnings."""

    failed: list[FailedPair]
    skipped: dict[str, str]
    summary: FailureSummary
    unchanged: dict[str, int] = field(default_factory=dict)  # pairs by effect


def _write_batches(
    plan: RenderPlan,
    batches: Generator[Batch, None, None],
    writer: PairWriter,
    n_missing: int,
    strict: bool,
    progress: Progress,
) -> _Outcome:
    """Write batches as they are rendered. PluginError for the first failed pair if strict."""
    renderer = PairRenderer(plan)
    outcome = _Outcome(
        [FailedPair(row, renderer.failed_pair(row), why) for row, why in writer.failed().items()],
        dict(plan.catalogue.skipped),
        FailureSummary([effect for effect, _ in plan.effects]),
    )
    progress.start("rendering", plan.n_rows, "pair", done=plan.n_rows - n_missing)
    # Ctrl-C takes effect at `advance`, never in the middle of a batch or a callback.
    with signals.deferred(), closing(batches):  # which ends the workers
        for batch in batches:
            if strict and batch.failed:
                raise PluginError(_failure_sentence(plan, batch.failed[0]))
            writer.put(batch.rows, batch.pairs, batch.failed)
            outcome.skipped.update(batch.unreadable)
            outcome.failed.extend(batch.failed)
            outcome.summary.count(batch.pairs, [each.pair for each in batch.failed])
            progress.advance(len(batch.pairs) + len(batch.failed))
    progress.finish()
    counts = Counter(
        plan.effect_of(row).name for row in np.flatnonzero(writer.unchanged()).tolist()
    )
    outcome.unchanged = {effect.name: counts[effect.name] for effect, _ in plan.effects}
    return outcome


def _result(
    output: Path,
    plan: RenderPlan,
    outcome: _Outcome,
    silent: list[tuple[str, str]],
    printed: PrintedLog,
) -> RenderResult:
    failed = sorted(outcome.failed, key=lambda each: each.row)
    failed_rows = {each.row for each in failed}
    rendered = [row for row in range(plan.n_rows) if row not in failed_rows]
    per_split = Counter(map(plan.split_of, rendered))
    per_effect = Counter(plan.effect_of(row).name for row in rendered)
    return RenderResult(
        path=output,
        n_pairs=len(rendered),
        pairs_per_effect={effect.name: per_effect[effect.name] for effect, _ in plan.effects},
        pairs_per_split={split: per_split[split] for split in SPLITS if per_split[split]},
        seconds=len(rendered) * plan.segments.n_samples / plan.segments.sample_rate,
        unchanged_per_effect=outcome.unchanged,
        skipped=sorted(outcome.skipped.items()),
        silent=silent,
        copies=sorted(plan.catalogue.copies),
        failed=[(each.row, _setting_text(plan, each), each.reason) for each in failed],
        printed=printed.path if printed.written else None,
        warnings=outcome.summary.warnings()
        + unchanged_warnings([effect for effect, _ in plan.effects], outcome.unchanged, per_effect),
    )


def silent_recordings(
    plan: RenderPlan, recording: NDArray[np.int64], skipped: set[str]
) -> list[tuple[str, str]]:
    """List (path, reason) of the recordings that were tried and gave no pair.

    A recording that was never drawn is not among them. Nothing is stored for this: the track that
    is tried first for a row follows from the plan, and if no pair is of it, it gave no segment.

    recording  index of the recording of each row (n_rows,), -1 for a failed one
    skipped    paths that have a reason already
    """
    tracks = plan.catalogue.tracks
    track_of = {i: t for t, track in enumerate(tracks) for i in track.recordings}
    used = {track_of[i] for i in np.unique(recording).tolist() if i >= 0}
    unused = [t for t in range(len(tracks)) if t not in used]
    if not unused:
        return []
    renderer = PairRenderer(plan)
    tried = {renderer.location(row)[0] for row in np.flatnonzero(recording >= 0).tolist()}
    quiet = [
        plan.catalogue.recordings[i] for t in unused if t in tried for i in tracks[t].recordings
    ]
    return [
        (each.path, silence_reason(Path(each.path), plan.segments, each.channel))
        for each in quiet
        if each.path not in skipped
    ]


def _is_pairs_file(output: Path) -> bool:
    return output.suffix.lower() in (".h5", ".hdf5")


def _check_output(output: Path, resume: bool, overwrite: bool) -> None:
    """Raise InputError, OutputExistsError or DiskError before recordings are read."""
    if _is_pairs_file(output):
        storage.check_output(output, resume, overwrite)
    elif output.suffix.lower() in NOT_FOLDER_SUFFIXES and not output.is_dir():
        raise InputError(
            f"{output}: is named like another kind of file. Give --output a name ending in .h5, or "
            "the name of a folder for audio files."
        )
    else:
        check_folder(output, resume, overwrite)


def log_path(output: Path) -> Path:
    """Return the path of the log of plugins: beside a pairs file, or in the folder."""
    if _is_pairs_file(output):
        return output.with_name(f"{output.stem}.plugins.log")
    return output / "plugins.log"


def _setting_text(plan: RenderPlan, failed: FailedPair) -> str:
    return plan.effects[failed.pair.effect][0].setting_text(failed.pair.setting)


def _failure_sentence(plan: RenderPlan, failed: FailedPair) -> str:
    return f"pair {failed.row} of {_setting_text(plan, failed)} failed: {failed.reason}"


def digest_of_sources(plan: RenderPlan) -> str:
    """Compute the SHA-256 of effects and recordings (paths, lengths, splits, some of the bytes).

    A resumed render compares it, so that pairs of different recordings are never mixed.
    """
    effects = [effect.to_dict() for effect, _ in plan.effects]
    contents = [files.fingerprint(Path(each.path)) for each in plan.catalogue.recordings]
    text = json.dumps([recording_rows(plan.catalogue), contents, effects], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def audio_versions() -> dict[str, str]:
    """Return the versions of the packages that decide the bits of a pair."""
    from importlib.metadata import version

    packages = ("pedalboard", "soundfile", "soxr", "numpy")
    return {"dafxtool": __version__, **{name: version(name) for name in packages}}


def rerender_row(path: Path, row: int) -> NDArray[np.float32]:
    """Render the pair (2, n_samples) of a row of a pairs file again, from its labels.

    It is bit-identical to the stored one while the recordings and the plugin are unchanged.
    InputError for a row that does not exist or whose pair failed, or a file that `render` did not
    write.
    """
    with storage.Hdf5Reader(path, storage.PAIRS) as pairs:
        (index,) = pairs.indices_of([row])
        labels, saved = pairs.labels, pairs.configuration
        if storage.WRITTEN_BY_HAND in saved:
            raise InputError(
                f"{path}: was not written by 'dafxtool render'. Its rows cannot be rendered again."
            )
        if saved.get("settings") == storage.IMPORTED:
            raise InputError(
                f"{path}: its pairs were imported, so they cannot be rendered again. Import them "
                "again with 'dafxtool import'."
            )
    config = SegmentConfig(**saved["segments"])
    recordings = tuple(_recording(r) for r in labels.recordings)
    first, offset = int(labels.recording[index]), int(labels.offset[index])
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
    effect = Effect.from_dict(labels.effects[labels.effect[index]]).at(config.sample_rate)
    setting = effect.complete(labels.setting_of(index))
    return render_pair(segment.audio, effect, setting, config)[0]


def _recording(row: dict[str, Any]) -> Recording:
    info = AudioInfo(row["sample_rate"], row["n_channels"], row["n_samples_native"])
    path, folder, split = row["path"], row["folder"], row["split"]
    return Recording(path, folder, row["n_samples"], split, info, row["channel"])


def _tuples_as_lists(values: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
