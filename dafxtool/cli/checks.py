"""Check what a user named before a command imports torch or matplotlib, which take seconds.

Checks of one option are callbacks of that option, so that every command with the option has them.
Checks of several arguments are called by the commands, before their slow imports. Nothing that is
imported here loads torch, matplotlib or scikit-learn.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click


def is_hdf5(path: Path) -> bool:
    return path.suffix.lower() in (".h5", ".hdf5")


def alone(sources: Sequence[Path]) -> None:
    """A usage error where an HDF5 file does not come alone."""
    if len(sources) > 1:
        raise click.UsageError("name one HDF5 file alone, or recordings and folders.")


def is_one_of_several() -> bool:
    """Whether torchrun started this process with others, which share one check and its error."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


# --- callbacks of options -----------------------------------------------------------------------


def device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not is_one_of_several():
        from dafxtool.devices import check_device

        check_device(value)
    return value


def config(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and not is_one_of_several():
        from dafxtool.presets import configure

        configure(file=value)
    return value


def run(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        from dafxtool.checkpoint import find_checkpoint

        find_checkpoint(value)
    return value


def plugins(
    ctx: click.Context, param: click.Parameter, value: tuple[Path, ...]
) -> tuple[Path, ...]:
    if value:
        from dafxtool.plugins import find_plugin, plugin_binary

        for path in value:
            plugin_binary(find_plugin(path))
    return value


def projection(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from dafxtool.projection import check_method

    check_method(value)
    return value


def recording(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        from dafxtool.audio import find_recordings

        find_recordings([value])
    return value


# --- checks of several arguments ----------------------------------------------------------------


def effects(names: Sequence[str], plugin_files: Sequence[Path]) -> None:
    """Refuse unknown effects, parameters and values; names may be of plugins where there are any.

    Plugins are loaded later: that takes up to minutes and the sample rate of the run.
    """
    from dafxtool.effects import parse_effect

    if not plugin_files:
        for name in names:
            parse_effect(name)


def file(path: Path, kinds: Sequence[str]) -> None:
    """Refuse an HDF5 file that is missing, damaged or of another kind."""
    from dafxtool import store

    kind = store.kind_of(path)
    with store.Reader(path, kind if kind and kind in kinds else kinds[0]):
        pass


def sources(paths: Sequence[Path], kinds: Sequence[str]) -> None:
    """Refuse inputs that are missing: one HDF5 file of one of these kinds, or recordings."""
    from dafxtool.audio import find_recordings

    if any(map(is_hdf5, paths)):
        alone(paths)
        file(paths[0], kinds)
    else:
        find_recordings(paths)


def need_run(options: dict[str, Any]) -> None:
    """Refuse to continue where no run was named and there is none."""
    if options["run"] is None:
        from dafxtool.checkpoint import newest_run

        newest_run()
