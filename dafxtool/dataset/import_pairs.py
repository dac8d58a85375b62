"""Import existing dry and wet recordings into a pairs file.

Each wet recording is aligned to its dry one, then both are cut into consecutive segments. Silent
ones are dropped, by the rule of `render`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.audio.alignment import Alignment, align, is_consistent, shifted, undo_drift
from dafxtool.audio.level import is_same_audio, is_silent
from dafxtool.audio.reader import load_audio
from dafxtool.audio.resample import resample
from dafxtool.config import SPLITS, SegmentConfig, SplitConfig
from dafxtool.dataset.import_result import ImportedPair, ImportResult
from dafxtool.dataset.pair import Pair, level_recordings
from dafxtool.dataset.pair_files import PairFiles
from dafxtool.dataset.recorded_effects import RecordedEffect, recorded_effects
from dafxtool.dataset.recordings import RecordingSet, build_catalogue
from dafxtool.dataset.writers import open_hdf5_writer
from dafxtool.effects.effect import Effect, EffectChoice
from dafxtool.errors import InputError, RecordingError
from dafxtool.utils import files
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import counted

SEGMENTS_WRITTEN_TOGETHER = 64
LITTLE_SECONDS = 1.0
LITTLE_OVERLAP = 0.8  # of the shorter recording
Samples = NDArray[np.float32]


@dataclass(frozen=True)
class ImportPlan:
    """Rows of an import, with all that the writer of a pairs file needs."""

    catalogue: RecordingSet
    segments: SegmentConfig
    effects: tuple[EffectChoice, ...]
    effect_indices: NDArray[np.int64]
    stereo: bool = False

    @property
    def n_rows(self) -> int:
        return len(self.effect_indices)

    @property
    def max_parameters(self) -> int:
        return max(1, *(len(effect.parameters) for effect, _ in self.effects))


@dataclass(frozen=True)
class _Source:
    """A pair of recordings that can be imported, and the starts of its segments in samples."""

    files: PairFiles
    effect: int
    setting: dict[str, float]
    recording: int
    split: str
    alignment: Alignment
    starts: tuple[int, ...]


def import_pairs(
    pairs: Sequence[PairFiles],
    output: Path,
    effect: RecordedEffect | None = None,
    segments: SegmentConfig | None = None,
    split: SplitConfig | None = None,
    latency: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    strict: bool = False,
    unmatched: Sequence[tuple[str, str]] = (),
    progress: Progress = SILENT,
) -> ImportResult:
    """Import pairs of recordings into a pairs file.

    effect     of the pairs that name none, and settings of all
    latency    samples at the dry recording's rate by which the wet ones are late; None finds it
    seed       of the split
    unmatched  (path, reason) of recordings without a partner, for the result

    A pair that cannot be read or aligned is skipped, with the reason. InputError where none is
    left, for a pair without an effect, and for contradictory settings; RecordingError for the first
    bad pair if strict; OutputExistsError, DiskError.
    """
    segments, split = segments or SegmentConfig(), split or SplitConfig()
    if segments.short == "join":  # a joined pair would have the latency of two
        segments = replace(segments, short="pad")
    storage.check_output(output, False, overwrite)
    effects, choices = recorded_effects([_named(each, effect) for each in pairs])
    catalogue = _catalogue(pairs, segments, split, seed, strict, progress)
    skipped = [*unmatched, *catalogue.skipped]
    sources, imported = _examine(
        pairs, choices, effects, catalogue, segments, latency, strict, skipped, progress
    )
    if not sources:
        raise InputError(f"no pair could be imported. First error: {skipped[0][1]}")
    indices = np.array([s.effect for s in sources for _ in s.starts], dtype=np.int64)
    plan = ImportPlan(
        catalogue, segments, tuple(EffectChoice(each, {}) for each in effects), indices
    )
    configuration = _configuration(pairs, effects, segments, split, latency, seed)
    with open_hdf5_writer(output, plan, configuration, False, overwrite) as writer:
        progress.start("importing", plan.n_rows, "pair")
        row = 0
        for source in sources:
            for batch in _batches(source, segments):
                rows = np.arange(row, row + len(batch))
                writer.put(rows, batch, [])
                row += len(batch)
                progress.advance(len(batch))
        progress.finish()
    return summary(output, plan, [s.split for s in sources for _ in s.starts], imported, skipped)


def summary(
    output: Path,
    plan: ImportPlan,
    splits: Sequence[str],
    imported: list[ImportedPair],
    skipped: list[tuple[str, str]],
) -> ImportResult:
    """Summarise an import; splits has the split of each row."""
    per_effect = Counter(plan.effects[index].effect.name for index in plan.effect_indices.tolist())
    per_split = Counter(splits)
    return ImportResult(
        output,
        plan.n_rows,
        dict(per_effect),
        {name: per_split[name] for name in SPLITS if per_split[name]},
        plan.n_rows * plan.segments.n_samples / plan.segments.sample_rate,
        imported,
        skipped,
    )


def _named(pair: PairFiles, effect: RecordedEffect | None) -> RecordedEffect:
    """Return the effect of a pair, from the table or else from the option, with its settings."""
    if not pair.effect and effect is None:
        raise InputError(
            f"{pair.wet}: its effect has no name. Name it with --effect, or in a column 'effect' "
            "of the table."
        )
    values = dict(effect.values) if effect is not None else {}
    return RecordedEffect(pair.effect or effect.name, values | pair.values)  # type: ignore[union-attr]


def _catalogue(
    pairs: Sequence[PairFiles],
    segments: SegmentConfig,
    split: SplitConfig,
    seed: int,
    strict: bool,
    progress: Progress,
) -> RecordingSet:
    """Catalogue the dry recordings; a split in the table overrides the random one."""
    dry = list(dict.fromkeys(pair.dry for pair in pairs))
    catalogue = build_catalogue(dry, replace(segments, short="pad"), split, seed, strict, progress)
    splits: dict[str, str] = {}
    for pair in pairs:
        path = str(pair.dry.absolute())
        if pair.split and pair.split not in SPLITS:
            raise InputError(f"{pair.wet}: unknown split {pair.split!r}. Use {', '.join(SPLITS)}.")
        if pair.split and splits.setdefault(path, pair.split) != pair.split:
            raise InputError(f"{pair.dry}: in two splits. Put all of its pairs into one.")
    if not splits:
        return catalogue
    recordings = tuple(
        replace(each, split=splits.get(each.path, each.split)) for each in catalogue.recordings
    )
    tracks = tuple(
        replace(track, split=recordings[track.recordings[0]].split) for track in catalogue.tracks
    )
    return replace(catalogue, recordings=recordings, tracks=tracks)


def _configuration(
    pairs: Sequence[PairFiles],
    effects: Sequence[Effect],
    segments: SegmentConfig,
    split: SplitConfig,
    latency: int | None,
    seed: int,
) -> dict[str, Any]:
    """Describe everything that decides the rows, as it is stored in the file."""
    described = [each.to_dict() for each in effects]
    sources = [
        [str(path.absolute()), files.fingerprint(path)]
        for pair in pairs
        for path in (pair.dry, pair.wet)
    ]
    text = json.dumps([described, sources], sort_keys=True)
    return {
        "seed": seed,
        "settings": storage.IMPORTED,
        "latency": latency,
        "segments": asdict(segments),
        "split": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(split).items()},
        "fixed": [{} for _ in effects],
        "effect_names": [each.name for each in effects],
        "sources": hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest(),
    }


# Examination


def _examine(
    pairs: Sequence[PairFiles],
    choices: Sequence[tuple[int, dict[str, float]]],
    effects: Sequence[Effect],
    catalogue: RecordingSet,
    config: SegmentConfig,
    latency: int | None,
    strict: bool,
    skipped: list[tuple[str, str]],
    progress: Progress,
) -> tuple[list[_Source], list[ImportedPair]]:
    """Align each pair and choose its segments; add those that cannot be used to `skipped`."""
    index_of = {each.path: i for i, each in enumerate(catalogue.recordings)}
    sources, imported = [], []
    progress.start("aligning", len(pairs), "recording")
    for pair, (effect, setting) in zip(pairs, choices, strict=True):
        index = index_of.get(str(pair.dry.absolute()))
        if index is not None:
            recording = catalogue.recordings[index]
            try:
                alignment, remarks = _align_pair(pair, config, latency)
                starts, n_silent = _segments(pair, alignment, config)
            except RecordingError as error:
                if strict:
                    raise
                skipped.append((str(pair.wet), str(error)))
            else:
                sources.append(
                    _Source(pair, effect, setting, index, recording.split, alignment, starts)
                )
                imported.append(
                    ImportedPair(
                        pair.dry,
                        pair.wet,
                        effects[effect].setting_text(setting),
                        recording.split,
                        alignment.latency,
                        1000 * alignment.latency / recording.info.sample_rate,
                        1e6 * alignment.drift,
                        alignment.is_inverted,
                        len(starts),
                        n_silent,
                        tuple(remarks),
                    )
                )
        progress.advance()
    progress.finish()
    return sources, imported


def _align_pair(
    pair: PairFiles, config: SegmentConfig, latency: int | None
) -> tuple[Alignment, list[str]]:
    """Find the alignment of a pair at the dry recording's rate, with remarks."""
    dry, rate = load_audio(pair.dry, None, config.channel)
    wet, _ = load_audio(pair.wet, rate, config.channel)
    for path, samples in ((pair.dry, dry), (pair.wet, wet)):
        if is_silent(samples):
            raise RecordingError(
                f"{path}: digital silence. Use another --channel, or leave it out."
            )
    found = align(dry, wet, rate)
    remarks = []
    if latency is not None:
        if found is not None and found.is_sharp and abs(found.latency - latency) > 1e-3 * rate:
            remarks.append(
                f"{latency} samples late as --latency says, but it seems to be {found.latency}"
            )
        found = replace(found or Alignment(0), latency=latency, drift=0.0)
    if found is None:
        raise RecordingError(
            f"{pair.wet}: not the same performance as {pair.dry.name}. Check that they belong "
            "together, or give the latency with --latency."
        )
    if not found.is_sharp and latency is None:
        remarks.append("its waveform differs: aligned by its level over time, to about 10 ms")
    if found.is_inverted:
        remarks.append("inverted polarity, which is kept")
    if found.drift:
        ms = 1000 * found.drift * dry.size / rate
        remarks.append(
            f"its clock differs by {1e6 * found.drift:.0f} ppm, {ms:.1f} ms over the recording: "
            "corrected by resampling"
        )
    elif found.jump and latency is None:
        remarks.append(
            f"its latency changes by {found.jump} samples ({1000 * found.jump / rate:.1f} ms) "
            "within the recording, as if samples were lost. Record it again, or cut it there"
        )
    is_checked = latency is None and found.is_sharp and not found.jump
    if is_checked and not is_consistent(dry, wet, found, rate):
        remarks.append(
            "parts of it have another latency, so its alignment is uncertain. Check whether it "
            "runs at another speed, as from tape, or give --latency"
        )
    first, last = _covered(dry.size, wet.size, found.latency)
    if last - first < LITTLE_OVERLAP * min(dry.size, wet.size):
        remarks.append(
            f"only {max(0, last - first) / rate:.1f} s of both recordings overlap (dry "
            f"{dry.size / rate:.1f} s, wet {wet.size / rate:.1f} s)"
        )
    elif last - first < LITTLE_SECONDS * rate:
        seconds = (last - first) / rate
        remarks.append(f"only {seconds:.2f} s long, so its latency is uncertain")
    if np.array_equal(dry[first:last], wet[first + found.latency : last + found.latency]):
        remarks.append("identical to the dry recording")
    return found, remarks


def _covered(n_dry: int, n_wet: int, latency: int) -> tuple[int, int]:
    """Return the span of the dry recording that the wet one covers."""
    return max(0, -latency), min(n_dry, n_wet - latency)


def _aligned(
    pair: PairFiles, alignment: Alignment, config: SegmentConfig
) -> tuple[Samples, Samples, int, int]:
    """Read dry and wet audio of equal length at the segments' rate, and the span of both."""
    dry, rate = load_audio(pair.dry, None, config.channel)
    wet, _ = load_audio(pair.wet, rate, config.channel)
    if alignment.drift:
        wet = undo_drift(wet, alignment.drift)
    moved, first, last = shifted(wet, alignment.latency, dry.size)
    ratio = config.sample_rate / rate
    dry, moved = (resample(each, rate, config.sample_rate) for each in (dry, moved))
    return dry, moved, int(np.ceil(first * ratio)), int(last * ratio)


def _segments(
    pair: PairFiles, alignment: Alignment, config: SegmentConfig
) -> tuple[tuple[int, ...], int]:
    """Choose the starts of consecutive segments that are not silent; also count the silent ones."""
    dry, wet, first, last = _aligned(pair, alignment, config)
    starts = list(range(first, last - config.n_samples + 1, config.n_samples))
    if not starts and last > first and config.short == "pad":
        starts = [first]
    if not starts:
        raise RecordingError(
            f"{pair.wet}: too short ({max(0, last - first) / config.sample_rate:.2f} s in common "
            f"with {pair.dry.name}). Use --short pad, or --segment-seconds."
        )
    loud = []
    for start in starts:
        stop = min(start + config.n_samples, last)
        mean_square = float(np.mean(np.square(dry[start:stop], dtype=np.float64)))
        if mean_square >= config.min_mean_square and not is_silent(wet[start:stop]):
            loud.append(start)
    if not loud:
        raise RecordingError(
            f"{pair.dry}: silent in each of {counted(len(starts), 'segment')} (mean square below "
            f"{config.min_mean_square:g}), or its wet recording is. Lower --min-mean-square, or "
            "leave it out."
        )
    return tuple(loud), len(starts) - len(loud)


def _batches(source: _Source, config: SegmentConfig) -> Iterator[list[Pair]]:
    """Cut the segments of a pair of recordings."""
    dry, wet, _, last = _aligned(source.files, source.alignment, config)
    batch: list[Pair] = []
    for start in source.starts:
        stop = min(start + config.n_samples, last)
        cut = np.zeros((2, config.n_samples), np.float32)
        cut[:, : stop - start] = dry[start:stop], wet[start:stop]
        audio, gains_db = level_recordings(cut[0], cut[1], config)
        labels = (source.effect, source.setting, source.recording, start, source.split)
        batch.append(Pair(audio, *labels, gains_db, is_same_audio(audio[0], audio[1], {0})))
        if len(batch) == SEGMENTS_WRITTEN_TOGETHER:
            yield batch
            batch = []
    if batch:
        yield batch
