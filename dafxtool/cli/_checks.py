"""Check what a user named while options are parsed, before anything slow is imported.

These are callbacks of options and arguments, so that every command that has an option checks it.
Nothing imported here loads torch, matplotlib or scikit-learn.
"""

from __future__ import annotations

import os
from pathlib import Path

import rich_click as click


def is_one_of_several() -> bool:
    """Whether torchrun started this process with others, which share one check and its error."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not is_one_of_several():
        from dafxtool.utils.device import check_device

        check_device(value)
    return value


def config(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and not is_one_of_several():
        from dafxtool.presets import configure

        configure(file=value)
    return value


def run(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        from dafxtool.models.checkpoint import find_checkpoint

        find_checkpoint(value)
    return value


def plugins(
    ctx: click.Context, param: click.Parameter, value: tuple[Path, ...]
) -> tuple[Path, ...]:
    if value:
        from dafxtool.effects.vst3.files import find_plugin, plugin_binary

        for path in value:
            plugin_binary(find_plugin(path))
    return value


def projection(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from dafxtool.latents.projection import check_method

    check_method(value)
    return value


def recording(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        from dafxtool.audio.find_recordings import find_recordings

        find_recordings([value])
    return value
