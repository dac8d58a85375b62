"""Print results: tables, lines and JSON on standard output, progress on standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import rich_click as click
from click import get_current_context

from dafxtool.utils.progress import SILENT, Progress, TerminalProgress
from dafxtool.utils.text import counted, printable

MAX_FAILURE_LINES = 20
MAX_SKIPPED_NAMES = 3
MAX_COPY_LINES = 5
WIDE = 10_000  # columns of a table that goes to a file or another program: nothing wraps


def progress_from(options: dict[str, Any]) -> Progress:
    """Remove quiet and verbose from options, and return the progress that they ask for."""
    quiet, verbose = options.pop("quiet"), options.pop("verbose")
    if quiet:
        return SILENT
    progress = TerminalProgress(verbose=verbose)
    get_current_context().call_on_close(progress.finish)
    return progress


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; `right` names the columns that are aligned to the right.

    On a narrow terminal the last column wraps.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[str] = ()


def report(result: Mapping[str, Any], as_json: bool, shown: Iterable[str | Table]) -> None:
    """Print a command's result: as JSON, or as lines and tables to read."""
    if as_json:
        text = json.dumps(plain(result), indent=2, ensure_ascii=False, allow_nan=False)
        if not _can_be_encoded(text) or _printable_lines(text) != text:
            text = json.dumps(plain(result), indent=2, allow_nan=False)
        click.echo(text)
        return
    for item in shown:
        if isinstance(item, Table):
            _print_table(item)
        else:
            _print_line(_printable_lines(item))


def audio_entries(files: Sequence[tuple[Path, float | None]]) -> list[dict[str, Any]]:
    """Return audio files and their spectral convergence in dB for JSON."""
    return [{"path": path, "convergence_db": convergence_db} for path, convergence_db in files]


def skipped_entries(skipped: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Return skipped recordings and the reasons for JSON."""
    return [{"path": path, "reason": reason} for path, reason in skipped]


def audio_line(files: Sequence[object], folder: Path | None) -> list[str]:
    """Return how many audio files were written beside a figure, if any."""
    return [f"{counted(len(files), 'audio file')} -> {folder}"] if files else []


def skipped_lines(skipped: Sequence[tuple[str, str]], what: str = "skipped") -> list[str]:
    """List skipped recordings: one line for each reason, with the first files."""
    if not skipped:
        return []
    by_reason: dict[str, list[tuple[str, str]]] = {}
    for path, text in skipped:
        by_reason.setdefault(text.removeprefix(path), []).append((path, text))
    lines = [f"{counted(len(skipped), 'recording')} {what}:"]
    for reason, files in by_reason.items():
        text = files[0][1]
        if len(files) > 1:
            names = ", ".join(Path(path).name for path, _ in files[:MAX_SKIPPED_NAMES])
            more = ", ..." if len(files) > MAX_SKIPPED_NAMES else ""
            text = f"{len(files)} files: {reason.removeprefix(':').strip()} ({names}{more})"
        lines.append(f"  {printable(text)}")
    return lines


def copy_lines(copies: Sequence[tuple[str, str]]) -> list[str]:
    """List copies of recordings with their originals, the first ones of many."""
    if not copies:
        return []
    n_hidden = len(copies) - MAX_COPY_LINES
    return [
        f"{counted(len(copies), 'recording')} with the content of another one, kept in its split:",
        *(f"  {printable(path)} = {printable(first)}" for path, first in copies[:MAX_COPY_LINES]),
        *([f"  and {n_hidden} more"] if n_hidden > 0 else []),
    ]


def failure_lines(failed: Sequence[tuple[int, str, str]]) -> list[str]:
    """List pairs that failed: for each reason the first one and how many more there are."""
    if not failed:
        return []
    by_reason: dict[str, list[tuple[int, str]]] = {}
    for row, setting, reason in failed:
        by_reason.setdefault(reason, []).append((row, setting))
    lines = [f"{counted(len(failed), 'pair')} failed:"]
    for reason, which in by_reason.items():
        row, setting = which[0]
        others = f" and {len(which) - 1} more" if len(which) > 1 else ""
        lines.append(f"  row {row}, {printable(setting)}{others}: {printable(reason)}")
    hidden = len(lines) - 1 - MAX_FAILURE_LINES
    return lines[: MAX_FAILURE_LINES + 1] + ([f"  and {hidden} more"] if hidden > 0 else [])


def plain(value: Any) -> Any:
    """Convert to JSON types: paths to text, arrays to lists, NaN and infinity to null."""
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
    if hasattr(value, "tolist"):  # arrays and numbers of numpy and torch
        return plain(value.tolist())
    return str(value)


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def _can_be_encoded(text: str) -> bool:
    """Return whether standard output can encode every character."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _print_line(text: str) -> None:
    click.echo(text if _can_be_encoded(text) else text.encode("ascii", "backslashreplace"))


def _print_table(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    rich_table = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns:  # as Text, so that rich interprets no markup in [brackets]
        justify: Any = "right" if column in table.right else "left"
        last = column == table.columns[-1]
        rich_table.add_column(Text(column), justify=justify, no_wrap=not last, overflow="fold")
    for row in table.rows:
        rich_table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDE)
    with console.capture() as capture:
        console.print(rich_table)
    for line in capture.get().splitlines():
        _print_line(line.rstrip())
