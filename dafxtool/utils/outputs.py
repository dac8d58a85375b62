"""?."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dafxtool.errors import InputError, OutputExistsError
from dafxtool.utils.files import atomic_write, check_free

SUFFIXES = (".png", ".svg", ".pdf")


# --- files --------------------------------------------------------------------------------------


def check_figure_path(path: Path) -> None:
    """Refuse a suffix that no figure can have, before the work and not after it (InputError)."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path} has the suffix {path.suffix!r}: give a figure .png, .svg or .pdf."
        )


def check_outputs(
    figure: Path | None,
    table: Path | None = None,
    sounds: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Refuse names of a figure, a table and a folder before the work that leads to them."""
    if figure:
        check_figure_path(figure)
        check_free(figure, overwrite)
    if table:
        check_table_path(table)
        check_free(table, overwrite)
    if sounds and sounds.exists() and not sounds.is_dir():
        raise InputError(f"{sounds} is a file: name a folder for the sounds.")
    if sounds and sounds.exists() and any(sounds.iterdir()) and not overwrite:
        raise OutputExistsError(
            f"{sounds} is not empty: choose another folder for the sounds, or replace what is "
            "there with --overwrite."
        )


def check_table_path(path: Path) -> None:
    """Refuse a suffix that no table can have (InputError)."""
    if path.suffix.lower() != ".csv":
        raise InputError(f"{path} has the suffix {path.suffix!r}: give a table .csv as its suffix.")


def write_table(path: Path, columns: Mapping[str, Sequence[Any]], overwrite: bool = False) -> None:
    """Write equally long columns as CSV with a header.

    Floats have as many digits as it takes to read the same float back in their own precision.
    InputError where the columns differ in length or the suffix is not .csv.
    """
    check_table_path(path)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"the columns of {path} differ in length ({lengths}): make them equal.")
    # newline="" and the explicit terminator give the same bytes on every system.
    with (
        atomic_write(path, overwrite) as unfinished,
        open(unfinished, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([str(value) for value in row])  # str of a float is its shortest repr
