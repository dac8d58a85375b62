"""Render pairs of dry and wet segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.level import (
    factor_db,
    full_scale_factor,
    is_same_audio,
    is_silent,
    normalise_peak,
    peak_factor,
)
from dafxtool.config import SegmentConfig
from dafxtool.dataset.plan import RenderPlan
from dafxtool.dataset.segments import SpanReader, TrackSampler, draw_segment, draw_start
from dafxtool.dataset.span_cache import SpanCache
from dafxtool.effects.apply import apply_resolved
from dafxtool.effects.effect import Effect
from dafxtool.errors import PluginError

ROWS_SORTED_TOGETHER = 8192  # a render of millions of rows starts at once

Unreadable = list[tuple[str, str]]  # (path, reason) of recordings that could not be read


@dataclass(frozen=True)
class Pair:
    """One row of a dataset: audio and labels.

    audio      (2, n_samples), dry first; of a render in stereo (3, n_samples): dry, left, right
    effect     index into the effects of the plan
    setting    effective values, in the parameters' units
    recording  index of the recording
    offset     samples from the start of the recording
    gains_db   (dry, wet) as of `render_with_gains`; NaN for a failed pair
    unchanged  whether the wet segment is the dry one, as of `is_unchanged`
    """

    audio: NDArray[np.float32]
    effect: int
    setting: dict[str, float]
    recording: int
    offset: int
    split: str
    gains_db: tuple[float, float] = (np.nan, np.nan)
    unchanged: bool = False


def is_unchanged(audio: NDArray[np.float32], effect: Effect) -> bool:
    """Return whether wet is dry within -80 dB, apart from level, sign and reported latency.

    audio  (2 or 3, n_samples), dry first
    """
    latencies = {0, sum(file.latency_samples for file in effect.plugins)}
    return all(is_same_audio(audio[0], channel, latencies) for channel in audio[1:])


def render_pair(
    segment: NDArray[np.float32], effect: Effect, setting: dict[str, float], config: SegmentConfig
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """Render dry and wet audio (2, n_samples) at the levels of config, and the effective setting.

    Levels and errors are as of `render_with_gains`.
    """
    audio, effective, _ = render_with_gains(segment, effect, setting, config)
    return audio, effective


def render_with_gains(
    segment: NDArray[np.float32], effect: Effect, setting: dict[str, float], config: SegmentConfig
) -> tuple[NDArray[np.float32], dict[str, float], tuple[float, float]]:
    """Render dry and wet audio (2, n_samples) at the levels of config.

    The dry segment is normalised before the effect, so that a threshold or a drive means the same
    for every recording. The effect has to have the ranges of the sample rate (Effect.at), and the
    setting to be complete.

    Also returns the effective setting, and the gains of dry and wet in dB as of `level_pair`.
    PluginError for silent output.
    """
    factor = peak_factor(segment, config.level_dbfs)
    dry = normalise_peak(segment, config.level_dbfs)
    wet, effective = apply_resolved(effect, dry, config.sample_rate, setting)
    if effect.plugins and is_silent(wet) and not is_silent(dry):
        raise PluginError(
            f"{effect.setting_text(effective)}: the output is silent. Choose another setting or "
            "leave this plugin out."
        )
    audio, gains_db = level_pair(dry, wet, factor, config)
    return audio, effective, gains_db


def level_pair(
    dry: NDArray[np.float32], wet: NDArray[np.float32], factor: np.float32, config: SegmentConfig
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Bring the wet segment of a pair to the level of config.

    With level "match", its peak is that of the dry segment. With "keep", it is not scaled again; a
    wet segment beyond full scale is lowered to full scale, and the dry one by the same factor.

    dry     already scaled by `factor`
    wet     output of the effect for it, (n_samples,) or (2, n_samples)

    Returns the audio (2 or 3, n_samples) and the gains of dry and wet in dB. The wet gain counts
    from the level of the recording, too: the effect's own level is the level of wet over dry minus
    the wet gain plus the dry gain.
    """
    if config.level == "keep":
        common = full_scale_factor(wet)
        audio = np.concatenate([dry[None], np.atleast_2d(wet)])
        if common != 1:
            audio *= common
        gain_db = factor_db(factor) + factor_db(common)
        return audio, (gain_db, gain_db)
    own = peak_factor(wet, config.level_dbfs)
    levelled = normalise_peak(wet, config.level_dbfs)
    dry_gain_db = factor_db(factor)
    audio = np.concatenate([dry[None], np.atleast_2d(levelled)])
    return audio, (dry_gain_db, dry_gain_db + factor_db(own))


def level_recordings(
    dry: NDArray[np.float32], wet: NDArray[np.float32], config: SegmentConfig
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Bring segments of a dry and a wet recording to the levels of config.

    With level "keep", both get the factor of the dry one. Returns audio (2, n_samples) and the
    gains of dry and wet in dB.
    """
    factor = peak_factor(dry, config.level_dbfs)
    levelled = normalise_peak(dry, config.level_dbfs)
    if config.level == "keep":
        return level_pair(levelled, (wet * factor).astype(np.float32), factor, config)
    own = peak_factor(wet, config.level_dbfs)
    audio = np.stack([levelled, normalise_peak(wet, config.level_dbfs)])
    return audio, (factor_db(factor), factor_db(own))


def effect_level_db(
    audio: NDArray[np.float32], gains_db: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Compute the effect's own level: RMS of wet over dry before levelling, in dB.

    audio     (..., 2, n_samples)
    gains_db  (..., 2) of dry and wet, as of `level_pair`
    returns   (...,); NaN where dry or wet is silent, or the gains are unknown
    """
    power = np.mean(np.square(audio, dtype=np.float64), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = 10 * np.log10(power) - gains_db
        difference = level[..., 1] - level[..., 0]
    return np.where(np.isfinite(difference), difference, np.nan)


class PairRenderer:
    """Render the rows of a plan."""

    def __init__(self, plan: RenderPlan) -> None:
        self.plan = plan
        self._samplers = {
            split: TrackSampler.from_split(plan.catalogue, split)
            for split in dict.fromkeys(chain.from_iterable(plan.splits))
        }

    def sort_by_location(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sort rows by track and start of their segments, so that recordings are read least.

        Rows are sorted in blocks of ROWS_SORTED_TOGETHER.
        """
        blocks = []
        for first in range(0, len(rows), ROWS_SORTED_TOGETHER):
            block = rows[first : first + ROWS_SORTED_TOGETHER]
            locations = np.array([self.location(row) for row in block.tolist()]).reshape(-1, 2)
            blocks.append(block[np.lexsort((block, locations[:, 1], locations[:, 0]))])
        return np.concatenate([rows[:0], *blocks])

    def location(self, row: int) -> tuple[int, int]:
        """Return the track and the start (samples) that are tried first for a row.

        A silent segment is drawn again, so the rendered one may lie elsewhere.
        """
        rng = self.plan.segment_rng(row)
        track = self._samplers[self.plan.split_of(row)].sample(rng)
        return track, draw_start(self.plan.catalogue.tracks[track], self.plan.segments, rng)

    def render(self, rows: Sequence[int]) -> Iterator[tuple[Pair, Unreadable]]:
        """Yield the pair of each row, and the recordings that could not be read for it.

        PluginError where a plugin fails; this ends the iterator before the remaining rows.
        """
        locations = [self.location(row) for row in rows]
        tracks = self.plan.catalogue.tracks
        cache = SpanCache(
            self.plan.catalogue,
            self.plan.segments,
            [(tracks[track], start) for track, start in locations],
        )
        for row in rows:
            yield self._render_row(row, cache.read)

    def failed_pair(self, row: int) -> Pair:
        """Return the labels of a row that cannot be rendered: no audio, and no recording."""
        index, setting = self.plan.setting_of(row)
        complete = self.plan.effects[index][0].complete(setting)
        no_audio = np.empty((2, 0), np.float32)
        return Pair(no_audio, index, complete, 0, 0, self.plan.split_of(row))

    def _render_row(self, row: int, read: SpanReader) -> tuple[Pair, Unreadable]:
        plan = self.plan
        index, setting = plan.setting_of(row)
        split = plan.split_of(row)
        segment, unreadable = draw_segment(
            plan.catalogue,
            split,
            plan.segments,
            plan.segment_rng(row),
            plan.strict,
            self._samplers[split],
            read,
        )
        audio, effective, gains_db = render_with_gains(
            segment.audio, plan.effects[index][0], setting, plan.segments
        )
        if plan.stereo and len(audio) == 2:  # an effect with a single output
            audio = np.concatenate([audio, audio[1:]])
        unchanged = is_unchanged(audio, plan.effects[index][0])
        labels = (index, effective, segment.recording, segment.offset, split)
        pair = Pair(audio, *labels, gains_db, unchanged)
        return pair, unreadable


def render_row(plan: RenderPlan, row: int) -> tuple[Pair, Unreadable]:
    """Render the pair of one row; also return the recordings that could not be read for it."""
    return next(PairRenderer(plan).render([row]))
