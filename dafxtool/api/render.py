"""Render recordings through effects into pairs of dry and wet segments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dafxtool.api import checks, defaults
from dafxtool.api.arguments import (
    SILENT,
    Effects,
    PathLike,
    Paths,
    Progress,
    as_effects,
    as_path,
    as_paths,
    is_hdf5,
)
from dafxtool.config import SegmentConfig
from dafxtool.dataset.render import RenderResult
from dafxtool.dataset.render import render as render_pairs
from dafxtool.effects.vst3.isolation import time_limit_s
from dafxtool.presets import override
from dafxtool.utils.dask_cluster import cluster_at
from dafxtool.utils.device import usable_cores


def render(
    recordings: Paths = None,
    *,
    output: PathLike = "pairs.h5",
    effects: Effects = None,
    plugins: Paths = None,
    pairs_per_effect: int | None = None,
    settings: str = "random",
    steps: int | None = None,
    segment_seconds: float | None = None,
    segments: Mapping[str, Any] | None = None,
    split: Mapping[str, Any] | None = None,
    audio_format: str | None = None,
    channels: str | None = None,
    preset: str | None = None,
    config: PathLike | None = None,
    seed: int = 0,
    workers: int | None = None,
    dask: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    progress: Progress = SILENT,
) -> RenderResult:
    """Render recordings into pairs of dry and wet segments.

    recordings        files and folders; None takes the built-in recordings
    output            a file ending in .h5, or a folder for audio files and a table
    effects           None takes overdrive and delay, or all effects of the plugins
    pairs_per_effect  None takes the preset's; in a grid or sweep, all settings on 4 segments
    settings          "random" per pair, one "static" setting, a full "grid", or a "sweep"
    steps             values of each parameter in a grid or sweep; None takes 5
    segment_seconds   length of a segment in s
    segments, split   values over those of the preset, as in a configuration file: sample_rate
                      (Hz), channel, short, min_mean_square, level ("match" or "keep" the level that
                      the effect gives the wet segment); by, validation, test (fractions),
                      validation_match, test_match, copies ("together" in one split or "ignore")
    audio_format      "wav" or "flac", of an output folder; None takes "wav"
    channels          "mono" or "stereo" wet files of an output folder: both outputs of plugins;
                      None takes "mono"
    preset, config    values to start from, and a TOML file over them
    seed              pair i depends on (seed, i) alone, not on the number of workers
    workers           processes; None takes one for each core
    dask              address of a Dask scheduler, in place of workers
    resume            continue an interrupted render
    strict            raise for a recording that cannot be used, instead of skipping it

    InputError, RecordingError, EffectError, ConfigError, OutputExistsError, DiskError.
    """
    names, plugin_files = as_effects(effects), as_paths(plugins)
    checks.check_resume(resume, overwrite)
    if settings not in ("grid", "sweep"):
        checks.check_unused(f"with {settings} settings", steps=steps)
    if is_hdf5(Path(output)):
        checks.check_unused("in a pairs file", audio_format=audio_format, channels=channels)
    if dask:
        checks.check_unused("with a Dask cluster", workers=workers)
    checks.check_settings(config=as_path(config))
    checks.check_effects(names, plugin_files)
    overrides = {"segments": dict(segments or {}), "split": dict(split or {})}
    configuration = defaults.configuration_for(preset, as_path(config), overrides, progress)
    rate = configuration.segments.sample_rate
    if segment_seconds:  # at the rate that preset, file and options have led to
        length = {"n_samples": round(segment_seconds * rate)}
        configuration = override(configuration, {"segments": length})
    elif rate != SegmentConfig().sample_rate:
        n_samples = configuration.segments.n_samples
        progress.message(
            f"segments of {n_samples:,} samples last {n_samples / rate:.2f} s at {rate} Hz. Choose "
            "another length with --segment-seconds"
        )
    for folder in checks.folders_of_pairs(as_paths(recordings)):
        progress.message(
            f"{folder}: holds dry and wet recordings, and all are taken as dry ones. To make pairs "
            "of them, use 'dafxtool import'."
        )
    paths = as_paths(recordings) or defaults.built_in_recordings(progress)
    chosen = defaults.chosen_effects(names, plugin_files, rate, progress=progress)
    if pairs_per_effect is None and settings in ("random", "static"):
        pairs_per_effect = configuration.pairs_per_effect
    workers = workers or usable_cores()
    progress.detail(
        f"rendering with {f'the cluster at {dask}' if dask else f'--workers {workers}'}"
    )
    with cluster_at(dask, progress) as cluster:
        return render_pairs(
            paths,
            Path(output),
            chosen,
            configuration.segments,
            configuration.split,
            pairs_per_effect,
            settings,
            steps or 5,
            seed,
            workers,
            resume,
            overwrite,
            strict,
            audio_format or "wav",
            channels or "mono",
            time_limit_s(),
            cluster,
            progress,
        )
