"""Choose defaults for omitted arguments: newest file, preset, effects, run.

Every choice is reported in one line. Nothing imported here at the top loads torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dafxtool import presets, storage
from dafxtool.api.arguments import PathLike, as_path, reading_values
from dafxtool.audio.example_recordings import HELD_OUT, write_clips
from dafxtool.config import Configuration
from dafxtool.effects.apply import known_effects, parse_effect
from dafxtool.effects.effect import Effect, EffectChoice
from dafxtool.errors import ConfigError, FormatError, InputError
from dafxtool.spectrogram.compute import compute_spectrograms
from dafxtool.utils.device import n_cuda_devices
from dafxtool.utils.files import disk_errors, unused_name
from dafxtool.utils.progress import SILENT, Progress

if TYPE_CHECKING:
    from dafxtool.models.run import Run

DEFAULT_EFFECTS = ("overdrive", "delay")  # the report's first two
BUILT_IN_FOLDER = Path("built-in-recordings")
TRY_ON = dict(zip(("a.wav", "b.wav"), HELD_OUT, strict=True))


def configuration_for(
    preset: str | None,
    file: Path | None,
    overrides: Mapping[str, Mapping[str, Any]],
    progress: Progress = SILENT,
) -> Configuration:
    """The configuration; without a preset and without CUDA the small one."""
    fallback = "default" if n_cuda_devices() else "small"
    made = presets.configure(preset, file, overrides, fallback)
    if preset is None and file is None and fallback == "small":
        progress.message("no CUDA device and no --preset: taking the preset 'small'")
    over = f", {file} over it" if file else ""
    progress.detail(f"configuration: preset {made.preset}{over}, then single options")
    return made


def chosen_effects(
    names: Sequence[str | EffectChoice],
    plugin_files: Sequence[Path],
    sample_rate: int,
    default: Sequence[str] = DEFAULT_EFFECTS,
    progress: Progress = SILENT,
) -> list[EffectChoice]:
    """Parse effects; plugins without a named effect stand for all of their effects."""
    known = known_effects(plugin_files, sample_rate, progress)
    if not names and plugin_files:
        names = known.plugin_names()
    if not names:
        names = default
        progress.message(f"no --effect: taking {' and '.join(default)}")
    chosen = [
        each if isinstance(each, EffectChoice) else parse_effect(each, known) for each in names
    ]
    known.check_presets()
    for path in known.unused_files():
        progress.message(f"{path.name}: not used, because --effect names none of its effects.")
    return chosen


def effects_of_run(
    described: Sequence[Mapping[str, Any]],
    names: Sequence[str | EffectChoice],
    plugin_files: Sequence[Path],
    sample_rate: int,
    progress: Progress = SILENT,
) -> list[EffectChoice]:
    """The effects named, else those described: what a run was trained on, plugins too."""
    if names or plugin_files:
        return chosen_effects(names, plugin_files, sample_rate, progress=progress)
    effects = [Effect.from_dict(dict(each)) for each in described]
    progress.message(f"no --effect: taking {' and '.join(effect.name for effect in effects)}")
    return [EffectChoice(effect.at(sample_rate), {}) for effect in effects]


def built_in_recordings(progress: Progress = SILENT) -> list[Path]:
    """Copy the example recordings into a folder here, and a.wav and b.wav to try a model on.

    A copy, because a pairs file refers to its recordings: the folder moves with it, and an
    installation may be updated or removed.
    """
    folder = BUILT_IN_FOLDER
    if not folder.is_dir():
        _copy_clips(folder)
    message = f"no recordings named: taking the built-in ones, {folder}/"
    missing = {name: clip for name, clip in TRY_ON.items() if not Path(name).exists()}
    for name, clip in missing.items():
        clip.write_wav(Path(name))
    if missing:
        message += f"; {' and '.join(missing)}, written too, are there to try a model on"
    progress.message(message)
    return [folder]


def _copy_clips(folder: Path) -> None:
    """Write all clips or none: an incomplete folder would be used as it is the next time."""
    with disk_errors(folder), TemporaryDirectory(prefix=".", dir=folder.absolute().parent) as place:
        write_clips(Path(place) / folder.name)
        (Path(place) / folder.name).rename(folder)


def newest_file(kinds: Sequence[str], folder: Path = Path()) -> Path:
    """The newest complete file of these kinds in a folder."""
    found = [
        path
        for path in folder.glob("*.h5")
        if not path.name.startswith(".") and path.is_file() and storage.kind_of(path) in kinds
    ]
    if not found:
        others = [path for path in sorted(folder.glob("[!.]*.h5")) if path.is_file()]
        damaged = [path.name for path in others if not storage.kind_of(path)]
        but = (
            f" ({', '.join(damaged)}: damaged, of another version, or not of dafxtool)"
            if damaged
            else ""
        )
        first = (
            storage.PAIRS if storage.PAIRS in kinds else kinds[0]
        )  # the others are made of those
        made_by = {
            storage.PAIRS: "render",
            storage.SPECTROGRAMS: "spectrogram",
            storage.LATENTS: "embed",
        }
        raise InputError(
            f"there is no {' or '.join(kinds)} file in this folder{but}: make one with 'dafxtool "
            f"{made_by[first]}', or name one."
        )
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def newest_with_sound(folder: Path = Path()) -> Path:
    """The newest pairs file; where there is none the newest spectrograms, which are silent."""
    try:
        return newest_file([storage.PAIRS], folder)
    except InputError:
        return newest_file([storage.PAIRS, storage.SPECTROGRAMS], folder)


def pairs_of_run(
    data: Mapping[str, Any], folder: Path = Path(), progress: Progress = SILENT
) -> Path:
    """The pairs file that a run was trained on, here or beside its spectrograms; else the newest.

    data  what the run tells of its data
    """
    places = dict.fromkeys((folder, Path(data["spectrograms"]).parent))
    for path in sorted(path for place in places for path in place.glob("*.h5")):
        if (
            path.is_file()
            and not path.name.startswith(".")
            and storage.kind_of(path) == storage.PAIRS
        ):
            with suppress(FormatError), storage.Hdf5Reader(path, storage.PAIRS) as reader:
                if reader.configuration == data["pairs"]:
                    return path
    path = newest_file([storage.PAIRS], folder)
    progress.message(f"the pairs that the run was trained on are not here: taking {path}")
    return path


def spectrograms_for(
    source: Path,
    configuration: Configuration,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Path:
    """`source` itself where it holds spectrograms; of pairs, those made of them, or made now."""
    if storage.kind_of(source) == storage.SPECTROGRAMS:
        return source
    with storage.Hdf5Reader(source, storage.PAIRS) as pairs:
        made_of = pairs.configuration
        segments = made_of["segments"]
    wanted = presets.with_segments_of(
        configuration, segments["sample_rate"], segments["n_samples"]
    ).spectrogram
    for path in source.parent.glob("*.h5"):
        newer = path.is_file() and path.stat().st_mtime_ns >= source.stat().st_mtime_ns
        if newer and storage.kind_of(path) == storage.SPECTROGRAMS:
            with suppress(FormatError), storage.Hdf5Reader(path, storage.SPECTROGRAMS) as reader:
                saved = reader.configuration
                if saved.get("pairs") == made_of and saved.get("spectrogram") == vars(wanted):
                    return path
    output = unused_name(source.with_name("spectrograms.h5"))
    progress.message(f"analysing {source} into {output}")
    arguments: dict[str, Any] = {"device": device, "progress": progress}
    try:
        compute_spectrograms(source, output, wanted, resume=True, **arguments)
    except ConfigError:  # what an earlier analysis left belongs to other pairs
        compute_spectrograms(source, output, wanted, overwrite=True, **arguments)
    return output


def loaded_run(
    run: Run | PathLike | None,
    device: str = "auto",
    channel: str | int | None = None,
    min_mean_square: float | None = None,
) -> Run:
    """Return a run as it is, or load it; None is the newest run in runs/.

    channel, min_mean_square  how recordings are read, in place of the run's configuration
    """
    from dafxtool.models.run import load_run

    if run is None or isinstance(run, (str, os.PathLike)):
        run = load_run(as_path(run), device)
    return reading_as(run, channel, min_mean_square)


def reading_as(run: Run, channel: str | int | None, min_mean_square: float | None) -> Run:
    """Return the run with another way to read recordings; None keeps the run's."""
    values = reading_values(channel, min_mean_square)
    if not values:
        return run
    return replace(run, configuration=presets.override(run.configuration, {"segments": values}))


def named_run(run: Run | PathLike | None) -> Run | Path | None:
    """Return a run's path as a Path; a loaded run and None as they are."""
    return Path(run) if isinstance(run, (str, os.PathLike)) else run
