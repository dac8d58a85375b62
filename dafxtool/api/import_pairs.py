"""Import dry and wet recordings that exist already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dafxtool import storage
from dafxtool.api import checks, defaults
from dafxtool.api.arguments import SILENT, PathLike, Progress, as_path, is_hdf5
from dafxtool.dataset.import_pairs import import_pairs as import_recordings
from dafxtool.dataset.pair_files import find_pair_files
from dafxtool.dataset.recorded_effects import parse_recorded
from dafxtool.dataset.rendered_folder import import_rendered_folder, is_rendered_folder
from dafxtool.errors import ArgumentError, InputError
from dafxtool.presets import override

if TYPE_CHECKING:
    from dafxtool.dataset.import_result import ImportResult


def import_pairs(
    dry: PathLike,
    wet: PathLike | None = None,
    *,
    effect: str | None = None,
    output: PathLike = "pairs.h5",
    latency: int | str = "auto",
    segment_seconds: float | None = None,
    segments: Mapping[str, Any] | None = None,
    split: Mapping[str, Any] | None = None,
    preset: str | None = None,
    config: PathLike | None = None,
    seed: int = 0,
    overwrite: bool = False,
    strict: bool = False,
    progress: Progress = SILENT,
) -> ImportResult:
    """Import pairs of dry and wet recordings into a pairs file.

    dry, wet         two files, one dry file and a folder of wet ones, or two folders, matched by
                     name; without wet a table (.csv) with the columns dry, wet, effect and
                     settings, a folder with both sides, or one that render wrote
    effect           its name and the settings of all recordings: "my-amp:gain=5 dB,channel=lead"
    latency          samples at the dry recording's rate by which the wet ones are late; "auto"
                     finds it for each pair
    segment_seconds  length of a segment in s
    segments, split  values over those of the preset, as in a configuration file: sample_rate (Hz),
                     channel, short, min_mean_square; by, validation, test (fractions),
                     validation_match, test_match
    preset, config   values to start from, and a TOML file over them
    seed             of the split
    strict           raise for a recording that cannot be used, instead of skipping it

    InputError, RecordingError, ConfigError, OutputExistsError, DiskError.
    """
    dry, wet, output = Path(dry), as_path(wet), Path(output)
    if not is_hdf5(output):
        raise InputError(f"{output}: not named like a pairs file. Give a name ending in .h5.")
    storage.check_output(output, False, overwrite)
    checks.check_settings(config=as_path(config))
    if wet is None and is_rendered_folder(dry):
        if effect is not None:
            raise ArgumentError(f"{dry}: its table names the effects. Leave out effect.")
        return import_rendered_folder(dry, output, overwrite, strict, progress)
    named = parse_recorded(effect) if effect is not None else None
    if latency != "auto" and not isinstance(latency, int):
        raise ArgumentError(f"the latency is {latency!r}. Use auto or a number of samples.")
    overrides = {"segments": dict(segments or {}), "split": dict(split or {})}
    configuration = defaults.configuration_for(preset, as_path(config), overrides, progress)
    if segment_seconds:
        n_samples = round(segment_seconds * configuration.segments.sample_rate)
        configuration = override(configuration, {"segments": {"n_samples": n_samples}})
    pairs, unmatched = find_pair_files(dry, wet)
    return import_recordings(
        pairs,
        output,
        named,
        configuration.segments,
        configuration.split,
        None if latency == "auto" else int(latency),
        seed,
        overwrite,
        strict,
        unmatched,
        progress,
    )
