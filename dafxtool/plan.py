"""What each pair of a dataset will be, laid down before the first is rendered.

Row i belongs to effect i modulo the number of effects and depends on (seed, i) alone: not on the
number of workers, nor on where a killed render took up again. The dry segment is brought to full
level before the effect hears it, so that a threshold or a drive means the same for every
recording, and the wet one after it (both -12 dBFS unless told otherwise).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafxtool import plugins
from dafxtool.errors import ConfigError
from dafxtool.parameters import Effect, draw_setting, grid_settings, sweep_settings
from dafxtool.progress import SILENT, Progress
from dafxtool.segments import (
    Catalogue,
    SegmentConfig,
    SplitConfig,
    build_catalogue,
    draw_segment,
    normalise_peak,
    split_pattern,
)

MOST_PAIRS = 10_000_000  # of an effect: years of sound
SEGMENTS_A_SETTING = 4  # grid and sweep, where no number of pairs is given

Chosen = tuple[Effect, dict[str, float]]  # an effect and the parameters that are held fixed


@dataclass(frozen=True)
class Plan:
    """Everything that a row depends on; small enough to be sent to every worker."""

    catalogue: Catalogue
    segments: SegmentConfig
    effects: tuple[Chosen, ...]
    settings: tuple[tuple[dict[str, float], ...], ...]  # an empty one: drawn at random
    splits: tuple[str, ...]  # of pair k of each effect
    seed: int
    strict: bool = False

    @property
    def n_rows(self) -> int:
        return len(self.splits) * len(self.effects)

    @property
    def max_parameters(self) -> int:
        return max(1, *(len(effect.parameters) for effect, _ in self.effects))


@dataclass(frozen=True)
class Pair:
    """audio (2, n_samples), dry first; the setting is the one that was in force."""

    audio: NDArray[np.float32]
    effect: int
    setting: dict[str, float]
    recording: int
    offset: int
    split: str


def make_plan(
    paths: Sequence[Path],
    effects: Sequence[Chosen],
    segments: SegmentConfig,
    split: SplitConfig,
    pairs_per_effect: int | None = None,
    settings: str = "random",
    steps: int = 5,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = SILENT,
) -> Plan:
    """Look at the recordings and lay down what each row will be.

    settings  random: each pair its own; static: one for all, the default with what is fixed;
              grid: `steps` values of every free parameter, all combinations; sweep: one parameter
              at a time from end to end. In a grid or a sweep each segment meets every setting.
    """
    if not effects:
        raise ConfigError("no effect was chosen: name at least one with --effect.")
    if seed < 0:
        raise ConfigError(f"the seed is {seed}: it has to be 0 or above.")
    names = [effect.name for effect, _ in effects]
    if len(set(names)) < len(names):
        raise ConfigError(f"an effect is named twice in {', '.join(names)}: name each once.")
    catalogue = build_catalogue(paths, segments, split, seed, strict, progress)
    at_rate = tuple((effect.at(segments.sample_rate), fixed) for effect, fixed in effects)
    listed = tuple(tuple(_settings(effect, fixed, settings, steps)) for effect, fixed in at_rate)
    if pairs_per_effect is None:
        pairs_per_effect = max(len(each) for each in listed) * SEGMENTS_A_SETTING
    if pairs_per_effect < 1:
        raise ConfigError(
            f"{pairs_per_effect} pairs per effect were asked for: it takes at least 1."
        )
    if pairs_per_effect > MOST_PAIRS:
        raise ConfigError(
            f"{pairs_per_effect:,} pairs per effect were asked for: {MOST_PAIRS:,} are the most."
        )
    group = max(1, *(len(each) for each in listed)) if settings in ("grid", "sweep") else 1
    n_groups = -(-pairs_per_effect // group)
    pattern = split_pattern(catalogue.splits(), split, n_groups)
    splits = tuple(name for name in pattern for _ in range(group))[:pairs_per_effect]
    return Plan(catalogue, segments, at_rate, listed, splits, seed, strict)


def _settings(
    effect: Effect, fixed: dict[str, float], mode: str, steps: int
) -> list[dict[str, float]]:
    if mode == "random":
        return []
    if mode == "static":
        return [effect.complete(fixed)]
    if mode == "grid":
        return grid_settings(effect, steps, fixed)
    if mode == "sweep":
        return sweep_settings(effect, steps, fixed)
    raise ConfigError(f"settings {mode!r} is unknown: use random, static, grid or sweep.")


def render_row(plan: Plan, row: int) -> tuple[Pair, list[tuple[str, str]]]:
    """The pair of one row, and the recordings that could not be read on the way to it."""
    index, k = row % len(plan.effects), row // len(plan.effects)
    effect, fixed = plan.effects[index]
    listed = plan.settings[index]
    if len(listed) > 1:  # every setting hears the same segment
        setting, segment_key = listed[k % len(listed)], k // len(listed) * len(plan.effects) + index
    else:
        rng = np.random.default_rng([plan.seed, 2, row])
        setting = listed[0] if listed else draw_setting(effect, rng, fixed)
        segment_key = row
    segment, failures = draw_segment(
        plan.catalogue,
        plan.splits[k],
        plan.segments,
        np.random.default_rng([plan.seed, 3, segment_key]),
        plan.strict,
    )
    sound, in_force = make_pair(segment.audio, effect, setting, plan.segments)
    return (
        Pair(sound, index, in_force, segment.recording, segment.offset, plan.splits[k]),
        failures,
    )


def make_pair(
    segment: NDArray[np.float32], effect: Effect, setting: dict[str, float], config: SegmentConfig
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """(2, n_samples), dry and wet at full level, and the setting that was in force."""
    dry = normalise_peak(segment, config.level_dbfs)
    wet, in_force = plugins.apply(effect, dry, config.sample_rate, setting)
    return np.stack([dry, normalise_peak(wet, config.level_dbfs)]), in_force
