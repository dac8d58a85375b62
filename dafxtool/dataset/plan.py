"""Plan a render: the effect, setting, split and segment of every row.

Row i belongs to effect i modulo the number of effects. It depends on (seed, i) alone: not on the
number of workers, nor on where an interrupted render was resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SegmentConfig, SplitConfig
from dafxtool.dataset.recordings import RecordingSet, build_catalogue, split_pattern
from dafxtool.effects.effect import (
    Effect,
    EffectChoice,
    grid_settings,
    sample_setting,
    sweep_settings,
)
from dafxtool.effects.vst3.output_channel import with_both_outputs
from dafxtool.errors import ConfigError
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import counted

MAX_PAIRS = 10_000_000  # per effect: years of audio
MOST_REPEATS = 20  # of every second of a split, by the segments of one effect
SEGMENTS_PER_SETTING = 4  # of a grid or sweep without a number of pairs


@dataclass(frozen=True)
class RenderPlan:
    """Everything that a row depends on; small enough to be sent to every worker.

    settings  listed settings of each effect; empty where they are random
    splits    split of pair k of each effect
    stereo    whether both channels of the wet segments are written, for audio files
    """

    catalogue: RecordingSet
    segments: SegmentConfig
    effects: tuple[EffectChoice, ...]
    settings: tuple[tuple[dict[str, float], ...], ...]
    splits: tuple[tuple[str, ...], ...]
    seed: int
    strict: bool = False
    stereo: bool = False

    def in_stereo(self) -> RenderPlan:
        """Return the plan with both outputs of its effects."""
        effects = tuple(
            EffectChoice(with_both_outputs(effect), fixed) for effect, fixed in self.effects
        )
        return replace(self, effects=effects, stereo=True)

    @property
    def n_rows(self) -> int:
        return sum(map(len, self.splits))

    @property
    def pairs_per_effect(self) -> int:
        return len(self.splits[0])

    @property
    def max_parameters(self) -> int:
        return max(1, *(len(effect.parameters) for effect, _ in self.effects))

    @property
    def effect_indices(self) -> NDArray[np.int64]:
        """Return the index of the effect of each row (n_rows,)."""
        return np.arange(self.n_rows) % len(self.effects)

    def effect_of(self, row: int) -> Effect:
        """Return the effect of a row."""
        return self.effects[row % len(self.effects)][0]

    def split_of(self, row: int) -> str:
        """Return the split of a row."""
        return self.splits[row % len(self.effects)][row // len(self.effects)]

    def setting_of(self, row: int) -> tuple[int, dict[str, float]]:
        """Return the index of the effect of a row and its setting."""
        index, k = row % len(self.effects), row // len(self.effects)
        effect, fixed = self.effects[index]
        listed = self.settings[index]
        if listed:
            return index, listed[k % len(listed)]
        return index, sample_setting(effect, np.random.default_rng([self.seed, 2, row]), fixed)

    def segment_rng(self, row: int) -> np.random.Generator:
        """Return the generator that draws the segment of a row.

        All listed settings of an effect get the same segment.
        """
        n_effects = len(self.effects)
        index, k = row % n_effects, row // n_effects
        n_listed = max(1, len(self.settings[index]))
        return np.random.default_rng([self.seed, 3, k // n_listed * n_effects + index])


def make_plan(
    paths: Sequence[Path],
    effects: Sequence[EffectChoice],
    segments: SegmentConfig,
    split: SplitConfig,
    pairs_per_effect: int | None = None,
    settings: str = "random",
    steps: int = 5,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = SILENT,
    exclude: Path | None = None,
) -> RenderPlan:
    """Examine the recordings and plan every row.

    settings  random: one for each pair; static: one for all, the defaults with the fixed values;
              grid: all combinations of `steps` values of every free parameter; sweep: one
              parameter at a time over its range. A grid or a sweep repeats each segment for every
              setting.
    exclude   folder whose files are not used as recordings
    """
    if not effects:
        raise ConfigError("no effect is given. Name at least one with --effect.")
    if seed < 0:
        raise ConfigError(f"the seed is negative (found {seed}). Use 0 or more.")
    names = [effect.name for effect, _ in effects]
    if len(set(names)) < len(names):
        raise ConfigError(f"an effect is named twice: {', '.join(names)}. Name each effect once.")
    catalogue = build_catalogue(paths, segments, split, seed, strict, progress, exclude)
    at_rate = tuple(
        EffectChoice(effect.at(segments.sample_rate), fixed) for effect, fixed in effects
    )
    listed = tuple(tuple(_settings(effect, fixed, settings, steps)) for effect, fixed in at_rate)
    if pairs_per_effect is None:
        pairs_per_effect = max(len(each) for each in listed) * SEGMENTS_PER_SETTING
    if not 1 <= pairs_per_effect <= MAX_PAIRS:
        raise ConfigError(
            f"the number of pairs per effect is out of range (found {pairs_per_effect:,}, expected "
            f"1 to {MAX_PAIRS:,}). Choose another --pairs-per-effect."
        )
    for (effect, _), each in zip(at_rate, listed, strict=True):
        if pairs_per_effect < len(each):
            progress.message(
                f"{effect.name}: only {pairs_per_effect} of {counted(len(each), 'setting')} are "
                "rendered, because --pairs-per-effect is smaller"
            )
        elif each and pairs_per_effect % len(each):
            progress.message(
                f"{effect.name}: the last segment is rendered at {pairs_per_effect % len(each)} of "
                f"{counted(len(each), 'setting')} only, because --pairs-per-effect is no multiple"
            )
    if settings in ("grid", "sweep"):
        for (effect, _), each in zip(at_rate, listed, strict=True):
            if len(each) == 1:
                progress.message(
                    f"{effect.name}: has no free parameter, so the {settings} is one setting"
                )
    pattern = split_pattern(catalogue.splits(), split, pairs_per_effect)
    splits = tuple(
        tuple(pattern[k // max(1, len(each))] for k in range(pairs_per_effect)) for each in listed
    )
    _report_repeated_audio(catalogue, segments, splits, listed, progress)
    return RenderPlan(catalogue, segments, at_rate, listed, splits, seed, strict)


def _report_repeated_audio(
    catalogue: RecordingSet,
    segments: SegmentConfig,
    splits: Sequence[Sequence[str]],
    listed: Sequence[Sequence[dict[str, float]]],
    progress: Progress,
) -> None:
    """Report splits whose segments together are much longer than their recordings.

    Segments are drawn at random positions, so those of an effect then overlap, or are equal.
    """
    for split in catalogue.splits():
        n_segments = max(
            sum(each == split for each in names[:: max(1, len(settings))])
            for names, settings in zip(splits, listed, strict=True)
        )
        lengths = [catalogue.tracks[index].n_samples for index in catalogue.tracks_of(split)]
        if n_segments * segments.n_samples <= MOST_REPEATS * sum(lengths) or n_segments < 2:
            continue
        seconds = sum(lengths) / segments.sample_rate
        cut = n_segments * segments.n_samples / segments.sample_rate
        kind = "are the same" if max(lengths) <= segments.n_samples else "overlap"
        progress.message(
            f"{split}: {n_segments} segments of each effect, {cut:.0f} s, are cut from "
            f"{seconds:.1f} s of recordings, so many {kind}. Give more recordings, or "
            "fewer --pairs-per-effect."
        )


def _settings(
    effect: Effect, fixed: dict[str, float], mode: str, steps: int
) -> list[dict[str, float]]:
    """List the settings of an effect; none where each pair draws its own."""
    if mode == "random":
        return []
    if mode == "static":
        return [effect.complete(fixed)]
    if mode == "grid":
        return grid_settings(effect, steps, fixed)
    if mode == "sweep":
        return sweep_settings(effect, steps, fixed)
    raise ConfigError(f"unknown settings {mode!r}. Use random, static, grid or sweep.")
