"""Sweep each parameter of an effect alone, and embed the results.

All settings are applied to the same segments, so a change along a sweep is caused by the setting.
`latents.sweep_results` measures, draws and writes the latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dafxtool.config import SPLITS, SegmentConfig
from dafxtool.dataset.pair import effect_level_db, render_with_gains
from dafxtool.effects.effect import Effect, EffectChoice
from dafxtool.effects.parameter import Parameter
from dafxtool.errors import ConfigError, EffectError
from dafxtool.latents.embed import ROWS_PER_BATCH
from dafxtool.latents.sweep_segments import SweepSegments, choose_segments
from dafxtool.latents.table import Latents, labels_of, latent_parts
from dafxtool.models.run import Run
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import counted


@dataclass(frozen=True)
class Sweep:
    """Latents of the swept settings of one effect, one parameter after the other.

    latents     (n, n_latent), with setting, recording and offset of each row
    parameter   n names of the parameter that is swept in the row
    value       (n,) value of that parameter, in its unit
    normalised  (n,) the same as normalised value, 0 to 1
    segment     (n,) index of the segment, 0 to n_segments - 1
    default     (n_segments, n_latent) latents of each segment at the default setting
    fixed       parameters with a fixed value in place of the default
    level_db    (n,) the effect's own level: RMS of wet over dry before levelling
    """

    effect: Effect
    latents: Latents
    parameter: list[str]
    value: NDArray[np.float64]
    normalised: NDArray[np.float64]
    segment: NDArray[np.int64]
    default: NDArray[np.float32]
    fixed: dict[str, float]
    level_db: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def parameters(self) -> list[Parameter]:
        """Swept parameters, in the order of the effect."""
        return [self.effect.parameter(name) for name in dict.fromkeys(self.parameter)]

    def rows_of(self, parameter: str) -> NDArray[np.int64]:
        """Return the rows in which a parameter is swept."""
        return np.flatnonzero(np.array(self.parameter) == parameter)


@dataclass(frozen=True)
class _Job:
    """A setting of a segment; `parameter` is the swept one, "" for the default setting."""

    parameter: str
    segment: int
    setting: dict[str, float]


def sweep(
    inputs: Sequence[Path],
    run: Run,
    chosen: Sequence[EffectChoice],
    n_values: int = 16,
    n_segments: int = 8,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = SILENT,
) -> list[Sweep]:
    """Sweep every free parameter of each effect alone, over the same segments.

    inputs      recordings and folders, or one pairs file, of which dry segments of pairs that
                training has not seen are taken
    chosen      effects, with the parameters that stay fixed; training may not know them
    n_segments  from different recordings where possible; fewer if there are not enough

    Errors as in check_effects and choose_segments.
    """
    config = run.configuration.segments
    chosen = check_effects(chosen, n_values, n_segments, config)
    segments = choose_segments(inputs, run, n_segments, seed, strict, progress)
    if len(segments.segments) < n_segments:
        progress.message(
            f"only {counted(len(segments.segments), 'segment')} found, {n_segments} wanted"
        )
    jobs = [_jobs(each, n_values, len(segments.segments)) for each in chosen]
    progress.start("sweeping", sum(map(len, jobs)), "pair")
    sweeps = [
        _sweep_effect(*each, segments, run, progress) for each in zip(chosen, jobs, strict=True)
    ]
    progress.finish()
    return sweeps


def check_effects(
    chosen: Sequence[EffectChoice], n_values: int, n_segments: int, config: SegmentConfig
) -> list[EffectChoice]:
    """Return the effects with their ranges at the sample rate.

    ConfigError for too few values or segments, no effect, or one that is named twice; EffectError
    for an effect without a free parameter.
    """
    if n_values < 2:
        raise ConfigError(
            f"too few values (found {n_values}, expected at least 2). Use more --values."
        )
    if n_segments < 1:
        raise ConfigError(
            f"too few segments (found {n_segments}, expected at least 1). Use more --segments."
        )
    names = [effect.name for effect, _ in chosen]
    if not names:
        raise ConfigError("no effect. Name at least one with --effect.")
    if len(set(names)) < len(names):
        raise ConfigError(f"an effect is named twice (found {', '.join(names)}). Name each once.")
    for effect, fixed in chosen:
        if not effect.parameters:
            raise EffectError(f"{effect.name}: no parameters. Sweep another effect.")
        if not _free_parameters(effect, fixed):
            raise EffectError(f"{effect.name}: every parameter is fixed. Leave at least one free.")
    return [EffectChoice(effect.at(config.sample_rate), dict(fixed)) for effect, fixed in chosen]


def _free_parameters(effect: Effect, fixed: dict[str, float]) -> list[Parameter]:
    return [parameter for parameter in effect.parameters if parameter.name not in fixed]


def _jobs(chosen: EffectChoice, n_values: int, n_segments: int) -> list[_Job]:
    """List the settings: each segment at the default, then by parameter and by segment."""
    effect, fixed = chosen
    base = effect.complete(fixed)
    swept = [
        _Job(parameter.name, segment, base | {parameter.name: value})
        for parameter in _free_parameters(effect, fixed)
        for segment in range(n_segments)
        for value in parameter.linspace(n_values)
    ]
    return [_Job("", segment, base) for segment in range(n_segments)] + swept


def _sweep_effect(
    chosen: EffectChoice,
    jobs: Sequence[_Job],
    segments: SweepSegments,
    run: Run,
    progress: Progress,
) -> Sweep:
    """Render and embed all jobs of one effect."""
    effect, fixed = chosen
    n_default = len(segments.segments)
    latent, settings, level_db = _embed_jobs(effect, jobs, segments, run, progress)
    swept, settings = jobs[n_default:], settings[n_default:]
    names = [job.parameter for job in swept]
    values = [setting[name] for name, setting in zip(names, settings, strict=True)]
    normalised = [
        effect.parameter(name).to_normalised(value)
        for name, value in zip(names, values, strict=True)
    ]
    used = [segments.segments[job.segment] for job in swept]
    rows = [
        (segment.recording, segment.offset, 0, setting)
        for segment, setting in zip(used, settings, strict=True)
    ]
    labels = labels_of(rows, segments.recordings, [chosen])
    splits = [SPLITS.index(segments.splits[job.segment]) for job in swept]
    labels = replace(labels, split=np.array(splits))
    return Sweep(
        effect=effect,
        latents=Latents(latent[n_default:], labels, *latent_parts(run), segments.skipped),
        parameter=names,
        value=np.array(values),
        normalised=np.array(normalised),
        segment=np.array([job.segment for job in swept]),
        default=latent[:n_default],
        fixed=fixed,
        level_db=level_db[n_default:],
    )


def _embed_jobs(
    effect: Effect,
    jobs: Sequence[_Job],
    segments: SweepSegments,
    run: Run,
    progress: Progress,
) -> tuple[NDArray[np.float32], list[dict[str, float]], NDArray[np.float64]]:
    """Return latents (n_jobs, n_latent), effective settings, and own levels in dB (n_jobs,)."""
    config = run.configuration.segments
    latents, settings, levels = [], [], []
    for start in range(0, len(jobs), ROWS_PER_BATCH):
        pairs = [
            render_with_gains(segments.segments[job.segment].audio, effect, job.setting, config)
            for job in jobs[start : start + ROWS_PER_BATCH]
        ]
        audio = np.stack([each for each, _, _ in pairs])
        latents.append(run.embed(run.analyse(audio)[0]))
        settings += [setting for _, setting, _ in pairs]
        levels.append(effect_level_db(audio, np.array([gains_db for _, _, gains_db in pairs])))
        progress.advance(len(pairs))
    return np.concatenate(latents), settings, np.concatenate(levels)
