"""Check what a user named before a command imports torch or matplotlib, which take seconds.

The check of one value belongs to its option (`checked`), so that every command with the option has
it. Checks of several arguments are called by the commands, before their slow imports. Nothing that
is imported here loads torch, matplotlib or scikit-learn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

F = TypeVar("F", bound=Callable[..., Any])


def is_hdf5(path: Path) -> bool:
    return path.suffix.lower() in (".h5", ".hdf5")


def alone(sources: Sequence[Path]) -> None:
    """A usage error where an HDF5 file does not come alone."""
    if len(sources) > 1:
        raise click.UsageError("name one HDF5 file alone, or recordings and folders.")


def is_one_of_several() -> bool:
    """Whether torchrun started this process with others, which share one check and its error."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


# --- checks of one value ------------------------------------------------------------------------


def checked(
    parameter: Callable[[F], F], name: str, check: Callable[[Any], None]
) -> Callable[[F], F]:
    """An option or argument whose value is checked after parsing and before the command runs.

    parameter  decorator that click.option or click.argument gave
    name       keyword of the value
    """

    def decorate(command: F) -> F:
        @wraps(command)
        def run_checked(*arguments: Any, **options: Any) -> Any:
            check(options[name])
            return command(*arguments, **options)

        return parameter(cast(F, run_checked))

    return decorate


def device(value: str) -> None:
    if not is_one_of_several():
        from dafxtool.utils.device import check_device

        check_device(value)


def config(value: Path | None) -> None:
    if value is not None and not is_one_of_several():
        from dafxtool.presets import configure

        configure(file=value)


def run(value: Path | None) -> None:
    """Refuse a run that is missing or no run; a command says itself whether it needs the newest."""
    if value is not None:
        from dafxtool.models.checkpoint import find_checkpoint

        find_checkpoint(value)


def plugins(value: Sequence[Path]) -> None:
    if value:
        from dafxtool.effects.vst3.files import find_plugin, plugin_binary

        for path in value:
            plugin_binary(find_plugin(path))


def projection(value: str) -> None:
    from dafxtool.latents.projection import check_method

    check_method(value)


def recording(value: Path | None) -> None:
    if value is not None:
        from dafxtool.audio.find_recordings import find_recordings

        find_recordings([value])


# --- checks of several arguments ----------------------------------------------------------------


def effects(names: Sequence[str], plugin_files: Sequence[Path]) -> None:
    """Refuse unknown effects, parameters and values; names may be of plugins where there are any.

    Plugins are loaded later: that takes up to minutes and the sample rate of the run.
    """
    from dafxtool.effects.apply import parse_effect

    if not plugin_files:
        for name in names:
            parse_effect(name)


def file(path: Path, kinds: Sequence[str]) -> None:
    """Refuse an HDF5 file that is missing, damaged or of another kind."""
    from dafxtool import storage

    kind = storage.kind_of(path)
    with storage.Reader(path, kind if kind and kind in kinds else kinds[0]):
        pass


def sources(paths: Sequence[Path], kinds: Sequence[str]) -> None:
    """Refuse inputs that are missing: one HDF5 file of one of these kinds, or recordings."""
    from dafxtool.audio.find_recordings import find_recordings

    if any(map(is_hdf5, paths)):
        alone(paths)
        file(paths[0], kinds)
    else:
        find_recordings(paths)


def need_run(options: dict[str, Any]) -> None:
    """Refuse to continue where no run was named and there is none."""
    if options["run"] is None:
        from dafxtool.models.checkpoint import newest_run

        newest_run()
