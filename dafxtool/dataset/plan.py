"""What each pair of a dataset will be, laid down before the first is rendered.

Row i belongs to effect i modulo the number of effects and depends on (seed, i) alone: not on the
number of workers, nor on where a killed render took up again. The dry segment is brought to full
level before the effect hears it, so that a threshold or a drive means the same for every
recording, and the wet one after it (both -12 dBFS unless told otherwise).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SegmentConfig, SplitConfig
from dafxtool.dataset.pair import Pair, render_pair
from dafxtool.dataset.recordings import RecordingSet, build_catalogue, split_pattern
from dafxtool.dataset.segments import (
    Read,
    TrackSampler,
    draw_segment,
    draw_start,
)
from dafxtool.dataset.span_cache import SpanCache
from dafxtool.effects.effect import (
    Effect,
    EffectChoice,
    draw_setting,
    grid_settings,
    sweep_settings,
)
from dafxtool.errors import ConfigError
from dafxtool.utils.progress import SILENT, Progress

MOST_PAIRS = 10_000_000  # of an effect: years of sound
ROWS_IN_ORDER = 8192  # that are looked at together for what they share
SEGMENTS_A_SETTING = 4  # grid and sweep, where no number of pairs is given


@dataclass(frozen=True)
class RenderPlan:
    """Everything that a row depends on; small enough to be sent to every worker."""

    catalogue: RecordingSet
    segments: SegmentConfig
    effects: tuple[EffectChoice, ...]
    settings: tuple[tuple[dict[str, float], ...], ...]  # an empty one: drawn at random
    splits: tuple[tuple[str, ...], ...]  # of each effect's pair k
    seed: int
    strict: bool = False

    @property
    def n_rows(self) -> int:
        return sum(map(len, self.splits))

    @property
    def pairs_per_effect(self) -> int:
        return len(self.splits[0])

    def split_of(self, row: int) -> str:
        return self.splits[row % len(self.effects)][row // len(self.effects)]

    @property
    def max_parameters(self) -> int:
        return max(1, *(len(effect.parameters) for effect, _ in self.effects))


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
    leave_out: Path | None = None,
) -> RenderPlan:
    """Look at the recordings and lay down what each row will be.

    settings  random: each pair its own; static: one for all, the default with what is fixed;
              grid: `steps` values of every free parameter, all combinations; sweep: one parameter
              at a time from end to end. In a grid or a sweep each segment meets every setting.
    leave_out  a folder whose files are no recordings
    """
    if not effects:
        raise ConfigError("no effect was chosen: name at least one with --effect.")
    if seed < 0:
        raise ConfigError(f"the seed is {seed}: it has to be 0 or above.")
    names = [effect.name for effect, _ in effects]
    if len(set(names)) < len(names):
        raise ConfigError(f"an effect is named twice in {', '.join(names)}: name each once.")
    catalogue = build_catalogue(paths, segments, split, seed, strict, progress, leave_out)
    at_rate = tuple(
        EffectChoice(effect.at(segments.sample_rate), fixed) for effect, fixed in effects
    )
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
    pattern = split_pattern(catalogue.splits(), split, pairs_per_effect)
    splits = tuple(
        tuple(pattern[k // max(1, len(each))] for k in range(pairs_per_effect)) for each in listed
    )
    return RenderPlan(catalogue, segments, at_rate, listed, splits, seed, strict)


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


class PairRenderer:
    """Makes rows of a plan."""

    def __init__(self, plan: RenderPlan) -> None:
        self.plan = plan
        self._places = {
            split: TrackSampler.of(plan.catalogue, split)
            for split in dict.fromkeys(chain.from_iterable(plan.splits))
        }

    def in_order(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows in the order that reads recordings least: by where their segments lie.

        Block by block, so that a render of millions begins at once.
        """
        ordered = []
        for first in range(0, len(rows), ROWS_IN_ORDER):
            block = rows[first : first + ROWS_IN_ORDER]
            places = np.array([self._place(row) for row in block.tolist()]).reshape(-1, 2)
            ordered.append(block[np.lexsort((block, places[:, 1], places[:, 0]))])
        return np.concatenate([rows[:0], *ordered])

    def render(self, rows: Sequence[int]) -> Iterator[tuple[Pair, list[tuple[str, str]]]]:
        """The pair of each row, and the recordings that could not be read on the way to it.

        Raises PluginError where the row's plugin fails; the rows after it are lost to this
        iterator then.
        """
        places = [self._place(row) for row in rows]
        tracks = self.plan.catalogue.tracks
        stretches = SpanCache(
            self.plan.catalogue,
            self.plan.segments,
            [(tracks[track], start) for track, start in places],
        )
        for row in rows:
            yield self._pair(row, stretches.read)

    def unmade(self, row: int) -> Pair:
        """What is known of a row whose pair cannot be made: no sound, and no recording."""
        index, setting = self._drawn(row)
        complete = self.plan.effects[index][0].complete(setting)
        nothing = np.empty((2, 0), np.float32)
        return Pair(nothing, index, complete, 0, 0, self.plan.split_of(row))

    def _drawn(self, row: int) -> tuple[int, dict[str, float]]:
        """The effect's index and the setting."""
        plan = self.plan
        index, k = row % len(plan.effects), row // len(plan.effects)
        effect, fixed = plan.effects[index]
        listed = plan.settings[index]
        if listed:
            return index, listed[k % len(listed)]
        return index, draw_setting(effect, np.random.default_rng([plan.seed, 2, row]), fixed)

    def _dice(self, row: int) -> np.random.Generator:
        """What the segment is drawn with. Where settings are listed each meets the same segment."""
        n_effects = len(self.plan.effects)
        index, k = row % n_effects, row // n_effects
        n_listed = max(1, len(self.plan.settings[index]))
        return np.random.default_rng([self.plan.seed, 3, k // n_listed * n_effects + index])

    def _place(self, row: int) -> tuple[int, int]:
        """The track and the start that are tried first; a silent segment is drawn again."""
        rng = self._dice(row)
        track = self._places[self.plan.split_of(row)].draw(rng)
        return track, draw_start(self.plan.catalogue.tracks[track], self.plan.segments, rng)

    def _pair(self, row: int, read: Read) -> tuple[Pair, list[tuple[str, str]]]:
        plan = self.plan
        index, setting = self._drawn(row)
        split = plan.split_of(row)
        segment, failures = draw_segment(
            plan.catalogue,
            split,
            plan.segments,
            self._dice(row),
            plan.strict,
            self._places[split],
            read,
        )
        sound, in_force = render_pair(segment.audio, plan.effects[index][0], setting, plan.segments)
        return Pair(sound, index, in_force, segment.recording, segment.offset, split), failures


def render_row(plan: RenderPlan, row: int) -> tuple[Pair, list[tuple[str, str]]]:
    """The pair of one row, and the recordings that could not be read on the way to it."""
    return next(PairRenderer(plan).render([row]))
