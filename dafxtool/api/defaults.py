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
from dafxtool.effects.apply import known_effects, parse_effects
from dafxtool.effects.effect import Effect, EffectChoice
from dafxtool.errors import ConfigError, FormatError, InputError
from dafxtool.models.checkpoint import default_run, is_pretrained
from dafxtool.spectrogram.compute import compute_spectrograms
from dafxtool.storage.layout import COMMAND_FOR
from dafxtool.utils.device import n_cuda_devices
from dafxtool.utils.files import disk_errors, unused_name
from dafxtool.utils.progress import SILENT, Progress
from dafxtool.utils.text import counted

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
    """Build the configuration; without a preset and a CUDA device from the preset small."""
    fallback = "default" if n_cuda_devices() else "small"
    configuration = presets.configure(preset, file, overrides, fallback)
    if preset is None and file is None and fallback == "small":
        progress.message("no CUDA device and no --preset: using the preset 'small'")
    by_file = f", overridden by {file}" if file else ""
    by_options = [
        f"{section}.{name} = {value}"
        for section, values in overrides.items()
        for name, value in values.items()
        if value is not None
    ]
    progress.detail(
        f"configuration: preset {configuration.preset}{by_file}; options: "
        f"{', '.join(by_options) or 'none'}"
    )
    return configuration


def chosen_effects(
    names: Sequence[str | EffectChoice],
    plugin_files: Sequence[Path],
    sample_rate: int,
    default: Sequence[str] = DEFAULT_EFFECTS,
    progress: Progress = SILENT,
) -> list[EffectChoice]:
    """Parse effects; without names, all effects of the plugins, else the default ones."""
    known = known_effects(plugin_files, sample_rate, progress)
    if not names and plugin_files:
        names = known.plugin_names()
    if not names:
        names = default
        if default:
            progress.message(f"no --effect: using {' and '.join(default)}")
    chosen = parse_effects(names, known)
    for path in known.unused_files():
        progress.message(f"{path.name}: not used, because --effect names none of its effects.")
    for effect, fixed in chosen:
        values = effect.setting_text(fixed).partition(":")[2] if fixed else ""
        progress.detail(f"effect {effect.name}: {values or 'no parameter'} fixed")
    return chosen


def effects_of_run(
    described: Sequence[Mapping[str, Any]],
    names: Sequence[str | EffectChoice],
    plugin_files: Sequence[Path],
    sample_rate: int,
    progress: Progress = SILENT,
) -> list[EffectChoice]:
    """Return the named effects, else those that a run was trained on, with its plugins.

    described  effects of the run as of Effect.to_dict()
    """
    if names or plugin_files:
        return chosen_effects(names, plugin_files, sample_rate, progress=progress)
    effects = [Effect.from_dict(dict(each)) for each in described]
    progress.message(
        f"no --effect: using {' and '.join(effect.name for effect in effects)}, as in training"
    )
    return [EffectChoice(effect.at(sample_rate), {}) for effect in effects]


def built_in_recordings(progress: Progress = SILENT) -> list[Path]:
    """Copy the example recordings to a folder here; also write a.wav and b.wav to try a model on.

    They are copied because a pairs file refers to its recordings, and an installation may be
    updated or removed.
    """
    folder = BUILT_IN_FOLDER
    if not folder.is_dir():
        _copy_clips(folder)
    message = f"no recordings named: using the built-in ones in {folder}/"
    missing = {name: clip for name, clip in TRY_ON.items() if not Path(name).exists()}
    for name, clip in missing.items():
        clip.write_wav(Path(name))
    if missing:
        message += f"; wrote {' and '.join(missing)} to try a model on"
    progress.message(message)
    return [folder]


def write_named_examples(paths: Sequence[Path], progress: Progress = SILENT) -> None:
    """Write a.wav and b.wav, the example recordings, if they are named and do not exist."""
    missing = [path for path in dict.fromkeys(paths) if str(path) in TRY_ON and not path.exists()]
    for path in missing:
        TRY_ON[str(path)].write_wav(path)
    if missing:
        names = " and ".join(map(str, missing))
        progress.message(f"{names}: not found here, so the example recordings are written")


def _copy_clips(folder: Path) -> None:
    """Write all clips or none, because an incomplete folder would be used the next time."""
    with disk_errors(folder), TemporaryDirectory(prefix=".", dir=folder.absolute().parent) as place:
        write_clips(Path(place) / folder.name)
        (Path(place) / folder.name).rename(folder)


def newest_file(kinds: Sequence[str], folder: Path = Path(), progress: Progress = SILENT) -> Path:
    """Return the newest complete file of these kinds in a folder; InputError if there is none."""
    files = [
        path
        for path in folder.glob("*.h5")
        if not path.name.startswith(".") and path.is_file() and storage.kind_of(path) in kinds
    ]
    if not files:
        others = [path for path in sorted(folder.glob("[!.]*.h5")) if path.is_file()]
        damaged = [path.name for path in others if not storage.kind_of(path)]
        note = (
            f" ({', '.join(damaged)}: damaged, of another version, or not of dafxtool)"
            if damaged
            else ""
        )
        first = storage.PAIRS if storage.PAIRS in kinds else kinds[0]  # others are computed from it
        raise InputError(
            f"no {' or '.join(kinds)} file in this folder{note}. Create one with 'dafxtool "
            f"{COMMAND_FOR[first]}', or name one."
        )
    newest = max(files, key=lambda path: path.stat().st_mtime_ns)
    others_text = f", newest of {len(files)}" if len(files) > 1 else ""
    progress.detail(f"no input named: using {newest} ({' or '.join(kinds)}{others_text})")
    return newest


def newest_with_audio(progress: Progress = SILENT, folder: Path = Path()) -> Path:
    """Return the newest pairs file; if there is none, the newest spectrograms (without audio)."""
    try:
        return newest_file([storage.PAIRS], folder, progress)
    except InputError:
        return newest_file([storage.PAIRS, storage.SPECTROGRAMS], folder, progress)


def pairs_of_run(
    data: Mapping[str, Any], folder: Path = Path(), progress: Progress = SILENT
) -> Path:
    """Find the pairs file that a run was trained on, here or beside its spectrograms.

    If it is missing, the newest pairs file here is returned, with a message.

    data  description of the training data in the run
    """
    folders = dict.fromkeys((folder, Path(data["spectrograms"]).parent))
    for path in sorted(path for each in folders for path in each.glob("*.h5")):
        if (
            path.is_file()
            and not path.name.startswith(".")
            and storage.kind_of(path) == storage.PAIRS
        ):
            with suppress(FormatError), storage.Hdf5Reader(path, storage.PAIRS) as reader:
                if reader.configuration == data["pairs"]:
                    progress.detail(f"no pairs named: using {path}, which the run was trained on")
                    return path
    path = newest_file([storage.PAIRS], folder)
    is_known = bool(data["pairs"])  # the pretrained model stores no description of its pairs
    reason = "the pairs that the run was trained on are missing" if is_known else "no pairs named"
    progress.message(f"{reason}: using {path}")
    return path


def spectrograms_for(
    source: Path,
    configuration: Configuration,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Path:
    """Return the spectrograms of a source, which are computed if they are missing.

    source  a spectrograms or a pairs file
    """
    if storage.kind_of(source) == storage.SPECTROGRAMS:
        return source
    with storage.Hdf5Reader(source, storage.PAIRS) as pairs:
        pairs_configuration = pairs.configuration
        segments = pairs_configuration["segments"]
    config = presets.with_segments_of(
        configuration, segments["sample_rate"], segments["n_samples"]
    ).spectrogram
    for path in source.parent.glob("*.h5"):
        newer = path.is_file() and path.stat().st_mtime_ns >= source.stat().st_mtime_ns
        if newer and storage.kind_of(path) == storage.SPECTROGRAMS:
            with suppress(FormatError), storage.Hdf5Reader(path, storage.SPECTROGRAMS) as reader:
                saved = reader.configuration
                if saved.get("pairs") == pairs_configuration and saved.get("spectrogram") == vars(
                    config
                ):
                    progress.detail(f"using {path}, the spectrograms of {source}")
                    return path
    output = unused_name(source.with_name("spectrograms.h5"))
    progress.message(f"computing the spectrograms of {source} -> {output}")
    arguments: dict[str, Any] = {"device": device, "progress": progress}
    try:
        compute_spectrograms(source, output, config, resume=True, **arguments)
    except ConfigError:  # an interrupted file of other pairs
        compute_spectrograms(source, output, config, overwrite=True, **arguments)
    return output


def loaded_run(
    run: Run | PathLike | None,
    device: str = "auto",
    channel: str | int | None = None,
    min_mean_square: float | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Return a run as it is, or load it; None is the newest in runs/, else the pretrained model.

    channel, min_mean_square  how recordings are read, in place of the run's configuration
    """
    from dafxtool.models.run import load_run

    if run is None or isinstance(run, (str, os.PathLike)):
        import torch

        path = as_path(run) or default_run()
        reason = ", the newest run" if run is None else ""
        if run is None and is_pretrained(path):
            progress.message("no run in runs/: taking the pretrained model")
            reason = ""
        run = load_run(path, device)
        progress.detail(
            f"run {run.path}{reason}, on {run.device}, "
            f"{counted(torch.get_num_threads(), 'thread')} of torch"
        )
    return reading_as(run, channel, min_mean_square)


def reading_as(run: Run, channel: str | int | None, min_mean_square: float | None) -> Run:
    """Return the run with another way to read recordings; None keeps the run's."""
    values = reading_values(channel, min_mean_square)
    if not values:
        return run
    return replace(run, configuration=presets.override(run.configuration, {"segments": values}))


def named_run(run: Run | PathLike | None) -> Run | Path | None:
    """Return a run's path as a Path; a loaded run and None unchanged."""
    return Path(run) if isinstance(run, (str, os.PathLike)) else run
