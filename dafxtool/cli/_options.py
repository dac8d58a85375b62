"""What several commands have in common: options, progress, the printing of results.

An option used twice is a decorator here, so that it has one name, one help text and one meaning.
A missing file is reported in a sentence that names it, with an exit status of 1, before anything
slow is imported (`checks`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from dafxtool.cli._checks import (
    checked,
    config,
    device,
    effects,
    plugins,
    run,
)

F = TypeVar("F", bound=Callable[..., Any])

PRESETS = ("week6", "default", "small")
NAMES_OF_SKIPPED = 3


class PathType(click.Path):
    """A path; what an unset variable of the shell leaves is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "":
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A number in a range; 'nan' and 'inf' are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number that can be used", param, ctx)
        return number


PATH = PathType(path_type=Path)
SECONDS = Number(min=0)
SHARE = Number(min=0, max=1, max_open=True)
TRANSFORM_LENGTH = click.IntRange(min=2, max=1 << 20)
SAMPLE_RATE = click.IntRange(min=8000, max=768_000)


class DeviceType(click.ParamType):
    """auto, cpu, cuda or cuda:N; whether it is there is found out when it is used."""

    name = "device"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "[auto|cpu|cuda|cuda:N]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            self.fail(f"{value!r} is none of auto, cpu, cuda, cuda:0, cuda:1, ...", param, ctx)
        return str(value)


# --- options ----------------------------------------------------------------------------------


def output_option(default: str, what: str = "Where to write it.") -> Callable[[F], F]:
    """-o/--output, as `output: Path | None`; `default` says in words what None becomes."""
    return click.option(
        "-o", "--output", type=PATH, metavar="PATH", help=f"{what}  [default: {default}]"
    )


def seed_option(default: int | None = 0) -> Callable[[F], F]:
    """--seed, as `seed`; a default of None leaves it to the configuration."""
    shown = "the configuration's" if default is None else str(default)
    return click.option(
        "--seed",
        type=click.IntRange(min=0, max=2**32 - 1),
        default=default,
        help=f"Of everything random: the same seed, the same result.  [default: {shown}]",
    )


def _cores(ctx: click.Context, param: click.Parameter, value: int | None) -> int:
    from dafxtool.utils.device import usable_cores

    return value or usable_cores()


overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace the output when it is there already."
)
resume_option = click.option(
    "--resume",
    is_flag=True,
    help="Go on from what the output holds; start where it holds nothing.",
)
strict_option = click.option(
    "--strict", is_flag=True, help="Stop at a recording that cannot be used; else it is skipped."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON, for other programs."
)
quiet_option = click.option(
    "-q", "--quiet", is_flag=True, help="Print no progress and no remarks, only the result."
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    callback=_cores,
    help="Processes that work at the same time.  [default: one for each core]",
)
dask_option = click.option(
    "--dask",
    metavar="ADDRESS",
    help="Work on a Dask cluster, given its scheduler's address, instead of in --workers.",
)
device_option = checked(
    click.option(
        "--device",
        type=DeviceType(),
        default="auto",
        help="Where to compute; auto is CUDA where there is a GPU, else the CPU.  [default: auto]",
    ),
    "device",
    device,
)
preset_option = click.option(
    "--preset",
    type=click.Choice(PRESETS),
    help="Values to start from; --config and single options go over them.  "
    "[default: default with a GPU, else small]",
)
config_option = checked(
    click.option(
        "--config",
        type=PATH,
        metavar="FILE",
        help="TOML file with values over those of the preset, such as a run's config.toml.",
    ),
    "config",
    config,
)


def _limit_plugins(ctx: click.Context, param: click.Parameter, value: float) -> None:
    from dafxtool.effects.vst3.isolation import limit_time

    limit_time(value)


def plugin_option(command: F) -> F:
    """--plugin, as `plugins: tuple[Path, ...]`, and --plugin-timeout, which sees to itself."""
    plugin = click.option(
        "--plugin",
        "plugins",
        type=PATH,
        multiple=True,
        metavar="FILE",
        help="VST3 plugin whose effects to know besides the built-in ones; repeat for more.",
    )
    timeout = click.option(
        "--plugin-timeout",
        type=Number(min=0.1),
        callback=_limit_plugins,
        expose_value=False,
        default=60.0,
        show_default=True,
        envvar="DAFXTOOL_PLUGIN_TIMEOUT",
        metavar="SECONDS",
        help="What a plugin gets for loading, and for each segment; then it is stopped.",
    )
    return checked(plugin, "plugins", plugins)(timeout(command))


run_option = checked(
    click.option(
        "--run",
        type=PATH,
        metavar="FOLDER",
        help="Run to use.  [default: the newest in runs/]",
    ),
    "run",
    run,
)
csv_option = click.option("--csv", type=PATH, metavar="FILE", help="Write the numbers too.")
method_option = click.option(
    "--method",
    type=click.Choice(("griffin-lim", "fast", "best")),
    default="fast",
    show_default=True,
    help="How phases are found for the sound.",
)


def split_option(default: str) -> Callable[[F], F]:
    """--split, as `split`: a tuple of names, or None for the default."""
    return click.option(
        "--split",
        type=click.Choice(("train", "validation", "test", "all")),
        callback=lambda ctx, param, value: _splits(value),
        help=f"Of a pairs, spectrograms or latents file.  [default: {default}]",
    )


def _splits(value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return ("train", "validation", "test") if value == "all" else (value,)


def effect_options(command: F) -> F:
    """--effect and --plugin, as `effects: tuple[str, ...]` and `plugins: tuple[Path, ...]`."""

    @wraps(command)
    def checked(*arguments: Any, **options: Any) -> Any:
        effects(options["effects"], options["plugins"])
        return command(*arguments, **options)

    effect = click.option(
        "--effect",
        "effects",
        multiple=True,
        metavar="NAME[:PARAMETER=VALUE,...]",
        help="Effect, with the parameters to hold at a value (ms, dB, Hz, %); repeat for more. "
        "'dafxtool effects' lists them.",
    )
    return effect(plugin_option(cast(F, checked)))
