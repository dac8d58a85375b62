"""?."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import click

from dafxtool.cli._options import NAMES_OF_SKIPPED
from dafxtool.utils.progress import SILENT, Progress, TerminalProgress
from dafxtool.utils.text import printable

MOST_LINES_OF_LOST = 20
WIDE = 10_000  # columns of a table that goes to a file or another program: nothing wraps


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
    from dafxtool.utils.dask_cluster import DaskCluster

    with DaskCluster(address, progress) as cluster:
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
