"""Check arguments before anything slow is imported.

Every function of the interface calls these first, so that a missing file is reported at once.
Nothing imported here loads torch, matplotlib or scikit-learn.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dafxtool import presets, storage
from dafxtool.api.arguments import EffectLike, is_hdf5, reading_values
from dafxtool.api.defaults import newest_file
from dafxtool.audio.find_recordings import find_recordings
from dafxtool.config import SegmentConfig
from dafxtool.dataset.pair_files import TABLE_SUFFIXES, holds_pairs
from dafxtool.dataset.rendered_folder import is_rendered_folder
from dafxtool.effects.apply import parse_effect
from dafxtool.effects.vst3.files import find_plugin, plugin_binary
from dafxtool.effects.vst3.preset import class_id, is_preset
from dafxtool.errors import ArgumentError, InputError
from dafxtool.models.checkpoint import find_checkpoint, is_pretrained
from dafxtool.utils.device import check_device

if TYPE_CHECKING:
    from dafxtool.models.run import Run


def is_one_of_several() -> bool:
    """Return whether torchrun started this process with others; only the first one checks."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def check_resume(resume: bool, overwrite: bool) -> None:
    """Refuse to continue and to replace at once."""
    if resume and overwrite:
        raise ArgumentError("resume and overwrite exclude each other. Use one of them.")


def check_unused(reason: str, **options: Any) -> None:
    """Refuse options that would have no effect.

    reason   when they have none, as the end of a sentence: "with random settings"
    options  name -> value; None, False and an empty sequence are not given
    """
    values = [
        name.replace("_", "-")
        for name, value in options.items()
        if value is not None and value is not False and value not in ((), [], {})
    ]
    if values:
        verb = "has" if len(values) == 1 else "have"
        raise ArgumentError(f"{' and '.join(values)} {verb} no effect {reason}. Leave it out.")


def check_settings(device: str = "auto", config: Path | None = None) -> None:
    """Refuse a device that is not there and an unusable configuration file."""
    if is_one_of_several():
        return
    check_device(device)
    if config is not None:
        presets.configure(file=config)


def check_run(run: Run | Path | None) -> None:
    """Refuse a path that is no run, and None where there is none to take."""
    if run is None or isinstance(run, Path):
        find_checkpoint(run)


def check_pairs(run: Run | Path | None, pairs: Path | None) -> None:
    """Refuse a missing or wrong pairs file. None stands for that of the run, or the newest here."""
    if pairs is not None:
        check_file(pairs, (storage.PAIRS,))
    elif run is None or isinstance(run, Path):
        path, _ = find_checkpoint(run)
        if is_pretrained(path):  # it was trained on no pairs of this machine
            newest_file((storage.PAIRS,))


def check_effects(effects: Sequence[EffectLike], plugins: Sequence[Path]) -> None:
    """Refuse missing plugins and presets, and unknown effects, parameters and values.

    Effects of plugins are checked later: loading a plugin takes up to minutes.
    """
    presets = [path for path in plugins if is_preset(path)]
    for path in plugins:
        if path in presets:
            class_id(path)
        else:
            plugin_binary(find_plugin(path))
    if presets and len(presets) == len(plugins):
        raise ArgumentError(f"{presets[0]} is a preset. Name its plugin, too, with --plugin.")
    if not plugins:
        for effect in effects:
            if isinstance(effect, str):
                parse_effect(effect)


def check_reading(channel: str | int | None, min_mean_square: float | None) -> None:
    """Refuse an unknown channel and a negative threshold of silence."""
    SegmentConfig(**reading_values(channel, min_mean_square))


def check_recordings(*paths: Path | None) -> None:
    """Refuse recordings that are missing."""
    named = [path for path in paths if path is not None]
    if named:
        find_recordings(named)


def folders_of_pairs(paths: Sequence[Path]) -> list[Path]:
    """Return the folders that hold dry and wet recordings."""
    return [path for path in paths if is_rendered_folder(path) or holds_pairs(path)]


def check_no_pairs(paths: Sequence[Path]) -> None:
    """Refuse folders of dry and wet recordings: wet ones would be taken for dry ones."""
    for path in folders_of_pairs(paths):
        raise InputError(
            f"{path}: holds pairs of dry and wet recordings. Import them first with 'dafxtool "
            "import', and give the pairs file. To use a side as it is, name its files."
        )


def check_file(path: Path, kinds: Sequence[str]) -> None:
    """Refuse an HDF5 file that is missing, damaged or of another kind."""
    check_no_folder(path)
    kind = storage.kind_of(path)
    with storage.Hdf5Reader(path, kind if kind and kind in kinds else kinds[0]):
        pass


def check_no_folder(path: Path) -> None:
    """Refuse a folder in place of a pairs file, and a table of pairs; say how to make the file."""
    if path.is_dir():
        check_no_pairs([path])
        raise InputError(
            f"{path}: a folder, expected a file. Make it with 'dafxtool render', or with "
            "'dafxtool import' from recordings of dry and wet."
        )
    if path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
        raise InputError(
            f"{path}: a table, expected a pairs file. Import the recordings that it lists with "
            "'dafxtool import'."
        )


def check_sources(paths: Sequence[Path], kinds: Sequence[str]) -> None:
    """Refuse inputs that are missing: one HDF5 file of one of these kinds, or recordings."""
    if not any(map(is_hdf5, paths)):
        find_recordings(paths)
        check_no_pairs(paths)
    elif len(paths) > 1:
        raise ArgumentError(
            f"{len(paths)} inputs, one of them an HDF5 file. Name one HDF5 file alone, or "
            "recordings and folders."
        )
    else:
        check_file(paths[0], kinds)
