"""Define the options that several commands share, each with one name and one help text."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import rich_click as click

from dafxtool.cli import _completion
from dafxtool.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

PRESETS = ("week6", "default", "small")


class PathType(click.Path):
    """A path; an empty name, as an unset shell variable leaves, is a usage error."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "":
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A finite number in a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


PATH = PathType(path_type=Path)
SECONDS = Number(min=0)
FRACTION = Number(min=0, max=1, max_open=True)
TRANSFORM_LENGTH = click.IntRange(min=2, max=1 << 20)
SAMPLE_RATE = click.IntRange(min=8000, max=768_000)


class DeviceType(click.ParamType):
    """auto, cpu, cuda or cuda:N."""

    name = "device"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "[auto|cpu|cuda|cuda:N]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
            self.fail(f"unknown device {value!r} (expected auto, cpu, cuda or cuda:N)", param, ctx)
        return str(value)


def output_option(default: str, what: str = "Output file.") -> Callable[[F], F]:
    """Add -o/--output as `output: Path | None`; `default` describes the value of None."""
    return click.option(
        "-o", "--output", type=PATH, metavar="PATH", help=f"{what}  [default: {default}]"
    )


def seed_option(default: int | None = 0) -> Callable[[F], F]:
    """Add --seed as `seed`; a default of None leaves it to the configuration."""
    shown = "the configuration's" if default is None else str(default)
    return click.option(
        "--seed",
        type=click.IntRange(min=0, max=2**32 - 1),
        default=default,
        help=f"Random seed.  [default: {shown}]",
    )


overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace outputs that exist already."
)
resume_option = click.option(
    "--resume",
    is_flag=True,
    help="Resume an interrupted run; start from scratch if there is none.",
)
strict_option = click.option(
    "--strict",
    is_flag=True,
    help="Stop at a recording that cannot be used, instead of skipping it.",
)


def preset_value_option(name: str, kind: Any, text: str) -> Callable[[F], F]:
    """Add an option for a value of the configuration; None takes the value of the preset."""
    return click.option(name, type=kind, help=f"{text}  [default: the preset's]")


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print the result only.")
_verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Also print what was chosen: configuration, input files, run, effects, device, threads, "
    "workers, and each skipped file with the reason.",
)


def progress_options(command: F) -> F:
    """Add -q/--quiet and -v/--verbose."""
    return _quiet_option(_verbose_option(command))


workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of worker processes.  [default: one for each core]",
)
dask_option = click.option(
    "--dask",
    metavar="ADDRESS",
    help="Address of a Dask scheduler whose workers to use in place of --workers.",
)
device_option = click.option(
    "--device",
    type=DeviceType(),
    default="auto",
    help="Device of the computation; auto is CUDA where there is a GPU, else the CPU.  "
    "[default: auto]",
)
preset_option = click.option(
    "--preset",
    type=click.Choice(PRESETS),
    help="Configuration to start from; --config and single options override it.  "
    "[default: default with a GPU, else small]",
)
config_option = click.option(
    "--config",
    type=PATH,
    metavar="FILE",
    help="TOML file that overrides the preset, such as a run's config.toml.",
)


def _limit_plugins(ctx: click.Context, param: click.Parameter, value: float) -> None:
    from dafxtool.effects.vst3.isolation import limit_time

    limit_time(value)


def _choose_output_channel(ctx: click.Context, param: click.Parameter, value: str) -> None:
    from dafxtool.effects.vst3.output_channel import choose_output_channel

    choose_output_channel(value)


_plugin_channel = click.option(
    "--plugin-channel",
    type=click.Choice(("auto", "left", "right", "mid", "side")),
    callback=_choose_output_channel,
    expose_value=False,
    default="auto",
    show_default=True,
    help="Output channel of stereo plugins to keep; auto is the audited output with the effect.",
)


def plugin_option(command: F) -> F:
    """Add --plugin and --plugin-preset as `plugins: tuple[Path, ...]`, and options of plugins."""

    @functools.wraps(command)
    def with_presets(
        *arguments: Any, plugins: tuple[Path, ...], plugin_presets: tuple[Path, ...], **options: Any
    ) -> Any:
        for path in plugin_presets:
            if path.suffix.lower() != ".vstpreset":
                raise InputError(f"{path}: not named like a preset. Name a .vstpreset file.")
        return command(*arguments, plugins=(*plugins, *plugin_presets), **options)

    preset = click.option(
        "--plugin-preset",
        "plugin_presets",
        type=PATH,
        multiple=True,
        metavar="FILE",
        help="Preset (.vstpreset) of a --plugin. Its values are fixed unless --effect sets others.",
    )
    plugin = click.option(
        "--plugin",
        "plugins",
        type=PATH,
        multiple=True,
        metavar="FILE",
        help="VST3 plugin whose effects to add to the built-in ones; repeat for more.",
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
        help="Time limit in s for loading a plugin, and for each segment.",
    )
    return plugin(preset(_plugin_channel(timeout(cast(F, with_presets)))))


def channel_option(default: str) -> Callable[[F], F]:
    """Add --channel as `channel: str | None`; `default` describes the value of None."""
    return click.option(
        "--channel",
        metavar="first|mean|loudest|N",
        help="Channel of a recording to read: the first, the mean of all, the loudest, or a "
        f"number from 1.  [default: {default}]",
    )


min_mean_square_option = click.option(
    "--min-mean-square",
    type=Number(min=0),
    help="Mean square below which a segment counts as silent and is left out.  "
    "[default: the configuration's, 1e-5]",
)


def reading_options(command: F) -> F:
    """Add --channel and --min-mean-square; None takes the values of the run."""
    return channel_option("the run's, first")(min_mean_square_option(command))


run_option = click.option(
    "--run",
    type=PATH,
    shell_complete=_completion.runs,
    metavar="FOLDER",
    help="Run folder, checkpoint file, or 'pretrained'.  [default: the newest in runs/, else "
    "pretrained]",
)
csv_option = click.option("--csv", type=PATH, metavar="FILE", help="CSV file for the numbers.")
method_option = click.option(
    "--method",
    type=click.Choice(("griffin-lim", "fast", "best")),
    help="Method of phase retrieval.  [default: fast]",
)


def split_option(default: str) -> Callable[[F], F]:
    """Add --split as `split`: a name, or None for the default."""
    return click.option(
        "--split",
        type=click.Choice(("train", "validation", "test", "all")),
        help=f"Split of a pairs, spectrograms or latents file.  [default: {default}]",
    )


def effect_options(command: F) -> F:
    """Add --effect and --plugin as `effects: tuple[str, ...]` and `plugins: tuple[Path, ...]`."""
    effect = click.option(
        "--effect",
        "effects",
        multiple=True,
        metavar="NAME[:PARAMETER=VALUE,...]",
        shell_complete=_completion.effects,
        help="Effect, with parameters to hold at a value in their unit (ms, dB, Hz, %); repeat "
        "for more. 'dafxtool effects' lists effects. With '>' between effects, a chain: "
        "'overdrive:drive=24 > delay', or 'lead=overdrive > delay' to name it.",
    )
    return effect(plugin_option(command))
