"""What several commands have in common: options, progress, the printing of results.

An option used twice is a decorator here, so that it has one name, one help text and one meaning.
A missing file is reported in a sentence that names it, with an exit status of 1, before anything
slow is imported (`checks`).
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from dafxtool.cli import checks
from dafxtool.progress import SILENT, Progress, TerminalProgress, printable

F = TypeVar("F", bound=Callable[..., Any])

PRESETS = ("week6", "default", "small")
MOST_LINES_OF_LOST = 20
NAMES_OF_SKIPPED = 3
WIDE = 10_000  # columns of a table that goes to a file or another program: nothing wraps


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
    from dafxtool.doctor import usable_cores

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
device_option = checks.checked(
    click.option(
        "--device",
        type=DeviceType(),
        default="auto",
        help="Where to compute; auto is CUDA where there is a GPU, else the CPU.  [default: auto]",
    ),
    "device",
    checks.device,
)
preset_option = click.option(
    "--preset",
    type=click.Choice(PRESETS),
    help="Values to start from; --config and single options go over them.  "
    "[default: default with a GPU, else small]",
)
config_option = checks.checked(
    click.option(
        "--config",
        type=PATH,
        metavar="FILE",
        help="TOML file with values over those of the preset, such as a run's config.toml.",
    ),
    "config",
    checks.config,
)


def _limit_plugins(ctx: click.Context, param: click.Parameter, value: float) -> None:
    from dafxtool.plugins import limit_time

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
    return checks.checked(plugin, "plugins", checks.plugins)(timeout(command))


run_option = checks.checked(
    click.option(
        "--run",
        type=PATH,
        metavar="FOLDER",
        help="Run to use.  [default: the newest in runs/]",
    ),
    "run",
    checks.run,
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
        checks.effects(options["effects"], options["plugins"])
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


# --- reporting --------------------------------------------------------------------------------


def progress_from(quiet: bool) -> Progress:
    """What a command hands to the library: silent, or a bar that ends when the command does."""
    if quiet:
        return SILENT
    progress = TerminalProgress()
    click.get_current_context().call_on_close(progress.finish)
    return progress


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; `right` names the columns of numbers, set flush right.

    On a narrow terminal the last column is the one that wraps.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[str] = ()


def report(result: Mapping[str, Any], as_json: bool, shown: Iterable[str | Table]) -> None:
    """Print a command's result on standard output: as JSON, or as lines and tables to read."""
    if as_json:
        text = json.dumps(plain(result), indent=2, ensure_ascii=False, allow_nan=False)
        if not _can_be_written(text) or _harmless(text) != text:
            text = json.dumps(plain(result), indent=2, allow_nan=False)
        click.echo(text)
        return
    for item in shown:
        if isinstance(item, Table):
            _print_table(item)
        else:
            item = _harmless(item)
            click.echo(item if _can_be_written(item) else item.encode("ascii", "backslashreplace"))


def sounds_line(sounds: Sequence[object], folder: Path | None) -> list[str]:
    """How many sounds were written beside a figure, if any."""
    return [f"{len(sounds)} sounds -> {folder}"] if sounds else []


def skipped_lines(skipped: Sequence[tuple[str, str]]) -> list[str]:
    """List what was skipped and why: one line for each reason, with the first files."""
    if not skipped:
        return []
    by_reason: dict[str, list[tuple[str, str]]] = {}
    for path, text in skipped:
        by_reason.setdefault(text.removeprefix(path), []).append((path, text))
    lines = [f"{len(skipped)} recording{'s'[: len(skipped) - 1]} skipped:"]
    for reason, files in by_reason.items():
        text = files[0][1]
        if len(files) > 1:
            names = ", ".join(Path(path).name for path, _ in files[:NAMES_OF_SKIPPED])
            more = ", ..." if len(files) > NAMES_OF_SKIPPED else ""
            text = f"{len(files)} files: {reason.removeprefix(':').strip()} ({names}{more})"
        lines.append(f"  {printable(text)}")
    return lines


@contextmanager
def cluster_at(address: str | None, progress: Progress) -> Iterator[Any]:
    """The Cluster at an address; None where no address was given."""
    if address is None:
        yield None
        return
    from dafxtool.cluster import Cluster

    with Cluster(address, progress) as cluster:
        yield cluster


def lost_lines(lost: Sequence[tuple[int, str, str]]) -> list[str]:
    """Pairs that could not be made and why, to be listed at the end: by reason, the first few."""
    if not lost:
        return []
    by_reason: dict[str, list[tuple[int, str]]] = {}
    for row, setting, reason in lost:
        by_reason.setdefault(reason, []).append((row, setting))
    lines = [f"{len(lost)} pair{'s'[: len(lost) - 1]} lost:"]
    for reason, which in by_reason.items():
        row, setting = which[0]
        others = f" and {len(which) - 1} more" if len(which) > 1 else ""
        lines.append(f"  row {row}, {printable(setting)}{others}: {printable(reason)}")
    most = MOST_LINES_OF_LOST
    return lines[: most + 1] + ([f"  and {len(lines) - 1 - most} more"] * (len(lines) > most + 1))


def _harmless(text: str) -> str:
    """Printable line by line."""
    return "\n".join(map(printable, text.split("\n")))


def _can_be_written(text: str) -> bool:
    """Does standard output take all of its letters?"""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def plain(value: Any) -> Any:
    """value in JSON's types: paths as text, arrays as lists, what is not finite as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if hasattr(value, "tolist"):  # numpy's and torch's arrays and numbers
        return plain(value.tolist())
    return str(value)


def _print_table(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns:  # as Text, so that rich reads no markup in [brackets]
        justify: Any = "right" if column in table.right else "left"
        last = column == table.columns[-1]
        drawn.add_column(Text(column), justify=justify, no_wrap=not last, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDE)
    with console.capture() as capture:
        console.print(drawn)
    for line in capture.get().splitlines():
        line = line.rstrip()
        click.echo(line if _can_be_written(line) else line.encode("ascii", "backslashreplace"))
