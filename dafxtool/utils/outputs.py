"""Check the paths of figures, tables, pages and audio before any work, and write tables as CSV.

Nothing here imports a library that takes seconds to load.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dafxtool.errors import InputError, OutputExistsError
from dafxtool.utils.files import atomic_write, check_free
from dafxtool.utils.locks import check_unlocked

FIGURE_SUFFIXES = (".png", ".svg", ".pdf")
PAGE_SUFFIXES = (".html", ".htm")
LATENT_SUFFIXES = (".h5", ".hdf5", ".csv", ".npz")


def check_outputs(
    figure: Path | None,
    table: Path | None = None,
    audio_folder: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Refuse unusable paths of a figure, a table and a folder of audio files."""
    if figure:
        check_figure_path(figure)
        check_file(figure, overwrite)
    if table:
        check_table_path(table)
        check_file(table, overwrite)
    if audio_folder:
        check_folder(audio_folder, overwrite)


def check_figure_path(path: Path) -> None:
    """Refuse a suffix that no figure can have (InputError)."""
    if path.suffix.lower() not in FIGURE_SUFFIXES:
        raise InputError(
            f"{path}: unknown suffix of a figure (found {path.suffix!r}, expected .png, .svg or "
            ".pdf). Choose another --output."
        )


def check_table_path(path: Path) -> None:
    """Refuse a suffix that no table can have (InputError)."""
    if path.suffix.lower() != ".csv":
        raise InputError(
            f"{path}: unknown suffix of a table (found {path.suffix!r}, expected .csv). Choose "
            "another --csv."
        )


def check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder of audio files that is a file, or is not empty without overwrite."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file (expected a folder). Choose another name.")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise OutputExistsError(
            f"{folder}: is not empty. Use --overwrite or choose another folder."
        )


def is_page(path: Path) -> bool:
    """Return whether a path has the suffix of a web page."""
    return path.suffix.lower() in PAGE_SUFFIXES


def check_page_path(path: Path, overwrite: bool) -> None:
    """Refuse an unusable path of a web page."""
    if not is_page(path):
        raise InputError(
            f"{path}: unknown suffix of a page (found {path.suffix!r}, expected .html). Choose "
            "another --output."
        )
    check_file(path, overwrite)


def check_latents_path(path: Path, inputs: Sequence[Path], overwrite: bool) -> None:
    """Refuse an unusable path of a latents file, and a path that is one of the inputs."""
    if path.suffix.lower() not in LATENT_SUFFIXES:
        raise InputError(
            f"{path}: unknown suffix of a latents file (found {path.suffix!r}, expected one of "
            f"{', '.join(LATENT_SUFFIXES)}). Choose another --output."
        )
    if path.exists() and any(each.exists() and path.samefile(each) for each in inputs):
        raise InputError(f"{path}: is an input of this command. Choose another --output.")
    check_unlocked(path)
    check_file(path, overwrite)


def write_table(path: Path, columns: Mapping[str, Sequence[Any]], overwrite: bool = False) -> None:
    """Write equally long columns as CSV with a header.

    Floats have as many digits as are needed to read the same value back in their precision.

    InputError  the columns differ in length, or the suffix is not .csv
    """
    check_table_path(path)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{path}: columns differ in length (found {lengths}). Make them equal.")
    # newline="" and the line terminator give the same bytes on every system.
    with (
        atomic_write(path, overwrite) as unfinished,
        open(unfinished, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow([str(value) for value in row])  # str of a float is its shortest repr


def check_file(path: Path, overwrite: bool) -> None:
    """Refuse a folder, and an existing file without overwrite."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder (expected a file). Choose another name.")
    check_free(path, overwrite)
