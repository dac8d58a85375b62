"""Find pairs of dry and wet recordings: by name in folders, or by a table.

The names of a pair are equal, apart from the suffix and the words in WORDS. A wet name may have a
number or a setting after the dry name. If several dry files fit, the longest name is chosen.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dafxtool.audio.find_recordings import find_recordings
from dafxtool.errors import InputError
from dafxtool.utils.text import counted, near_names, slug

# Words in names that tell the sides apart.
DRY_WORDS = frozenset({"dry", "clean", "di", "raw", "in", "input", "source", "unprocessed"})
WET_WORDS = frozenset({"wet", "out", "output", "fx", "effect", "processed", "target", "amped"})
WORDS = DRY_WORDS | WET_WORDS
SUBFOLDERS = {
    "dry": ("dry", "clean", "di", "input", "inputs", "source"),
    "wet": ("wet", "output", "outputs", "fx", "processed", "target", "targets"),
}
TABLE_SUFFIXES = (".csv", ".tsv")
# Columns of a table that are no settings.
DRY, WET, EFFECT, SPLIT = "dry", "wet", "effect", "split"
REMARKS = ("note", "notes", "remark", "remarks", "comment", "comments")

Unmatched = list[tuple[str, str]]  # (path, reason)


@dataclass(frozen=True)
class PairFiles:
    """A dry and a wet recording.

    effect  name; empty where the table has none
    values  settings as they are written, by "name [unit]"
    split   of the table; empty where it has none
    """

    dry: Path
    wet: Path
    effect: str = ""
    values: dict[str, str] = field(default_factory=dict)
    split: str = ""


def find_pair_files(dry: Path, wet: Path | None) -> tuple[list[PairFiles], Unmatched]:
    """Find the pairs of two files or folders, of a table, or of one folder with both sides.

    dry  a file (for every wet one) or a folder; without wet, a table with the columns dry and wet,
         or a folder: of subfolders dry and wet, or of files with those words in their names

    Also returns the recordings without a partner. InputError if no pair is left.
    """
    if wet is None and dry.suffix.lower() in TABLE_SUFFIXES:
        return read_pair_table(dry), []
    if wet is None and not dry.is_dir():
        find_recordings([dry])
        raise InputError(
            f"{dry}: a recording without a partner. Name the wet recording or folder, too, or a "
            "table (.csv) of pairs."
        )
    if wet is None:
        sides = _sides(dry)
        roots = (dry, dry)
    else:
        sides = (find_recordings([dry]), find_recordings([wet]))
        roots = (dry, wet)
    if len(sides[0]) == 1 and not (wet is None or dry.is_dir()):
        return [PairFiles(sides[0][0], each) for each in sides[1]], []
    if len(sides[0]) == len(sides[1]) == 1:
        return [PairFiles(sides[0][0], sides[1][0])], []
    pairs, unmatched = _match(sides[0], sides[1], roots)
    if not pairs:
        raise InputError(
            f"{roots[1]}: no wet recording has the name of a dry one (found "
            f"{sides[1][0].name}, dry {sides[0][0].name}). Rename them, or name a table (.csv) "
            "with the columns dry and wet."
        )
    return pairs, unmatched


def holds_pairs(folder: Path) -> bool:
    """Return whether a folder holds dry and wet recordings, all of them with a partner."""
    if not folder.is_dir():
        return False
    try:
        return not find_pair_files(folder, None)[1]
    except InputError:
        return False


def _sides(folder: Path) -> tuple[list[Path], list[Path]]:
    """Divide the recordings of a folder into dry and wet, by subfolder or by words in names."""
    inside = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    found = [
        next((inside[name] for name in SUBFOLDERS[side] if name in inside), None)
        for side in ("dry", "wet")
    ]
    if found[0] is not None and found[1] is not None:
        return find_recordings([found[0]]), find_recordings([found[1]])
    files = find_recordings([folder])
    dry = [path for path in files if DRY_WORDS & _words(path.stem) and not _is_wet(path)]
    wet = [path for path in files if _is_wet(path)]
    if not dry or not wet:
        raise InputError(
            f"{folder}: unclear which recordings are dry and which wet. Put them into folders "
            "named dry and wet, put these words into the names, or name a table (.csv) with the "
            "columns dry and wet."
        )
    return dry, wet


def _is_wet(path: Path) -> bool:
    return bool(WET_WORDS & _words(path.stem))


def _match(
    dry: Sequence[Path], wet: Sequence[Path], roots: tuple[Path, Path]
) -> tuple[list[PairFiles], Unmatched]:
    """Match each wet recording to the dry one with the same name, or with its beginning."""
    by_name: dict[str, list[Path]] = {}
    for path in dry:
        by_name.setdefault(_key(path, roots[0]), []).append(path)
    pairs: list[PairFiles] = []
    unmatched: Unmatched = []
    for path in wet:
        key = _key(path, roots[1])
        starts = [name for name in by_name if name and key.startswith(f"{name}-")]
        name = key if key in by_name else max(starts, key=len, default=None)
        if name is None:
            known = [_key(each, roots[0]) for each in dry]
            unmatched.append((str(path), f"no dry recording of its name. {near_names(key, known)}"))
        elif len(by_name[name]) > 1:
            names = " and ".join(str(each) for each in by_name[name][:2])
            unmatched.append((str(path), f"several dry recordings of its name: {names}"))
        else:
            pairs.append(PairFiles(by_name[name][0], path))
    used = {pair.dry for pair in pairs}
    unmatched += [(str(path), "no wet recording of its name") for path in dry if path not in used]
    return pairs, unmatched


def _words(stem: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", stem.lower()))


def _key(path: Path, root: Path) -> str:
    """Return the name by which a recording is matched: below its root, without WORDS."""
    below = (
        path.relative_to(root) if root.is_dir() and path.is_relative_to(root) else Path(path.name)
    )
    parts = re.split(r"[^a-z0-9]+", below.with_suffix("").as_posix().lower())
    return "-".join(part for part in parts if part and part not in WORDS)


# Tables


def read_pair_table(path: Path) -> list[PairFiles]:
    """Read a table of pairs: columns dry and wet, further effect and split, and settings.

    A setting's column is named "gain" or "gain [dB]". Paths are relative to the table. An empty
    cell is no setting. InputError for a missing column or file, and for two equal columns.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            text = file.read()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}). Name another table."
        ) from error
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    lines = [line for line in csv.reader(text.splitlines(), delimiter=delimiter)]
    numbered = [(i, line) for i, line in enumerate(lines, 1) if any(cell.strip() for cell in line)]
    if not numbered:
        raise InputError(
            f"{path}: the table is empty. Write a heading with the columns dry and wet, "
            "and a line for each pair."
        )
    header = [cell.strip() for cell in numbered[0][1]]
    names = [cell.lower() for cell in header]
    for needed in (DRY, WET):
        if needed not in names:
            raise InputError(
                f"{path}: no column {needed!r} (found {', '.join(header)}). Name the columns of "
                "the two recordings dry and wet."
            )
    twice = [header[i] for i, name in enumerate(names) if names.count(name) > 1]
    if twice:
        raise InputError(f"{path}: two columns are named {twice[0]!r}. Rename one.")
    pairs = []
    for number, line in numbered[1:]:
        if len(line) > len(header):
            raise InputError(
                f"{path}: line {number} has {counted(len(line), 'cell')}, the heading "
                f"{len(header)}. Quote cells that contain a comma."
            )
        cells = dict(zip(names, [cell.strip() for cell in line], strict=False))
        files = [path.parent / cells.get(side, "") for side in (DRY, WET)]
        for side, recording in zip((DRY, WET), files, strict=True):
            if not cells.get(side) or not recording.is_file():
                raise InputError(
                    f"{path}: line {number}: the {side} recording does not exist (found "
                    f"{cells.get(side, '')!r}). Paths are relative to the table."
                )
        settings = {
            header[i]: cells[name]
            for i, name in enumerate(names)
            if name not in (DRY, WET, EFFECT, SPLIT, *REMARKS) and cells.get(name)
        }
        effect = slug(cells[EFFECT]) if cells.get(EFFECT) else ""
        pairs.append(PairFiles(files[0], files[1], effect, settings, cells.get(SPLIT, "").lower()))
    if not pairs:
        raise InputError(
            f"{path}: the table has a heading but no pairs. Write a line for each pair."
        )
    return pairs


def _delimiter(text: str) -> str:
    """Return the delimiter of the heading: a comma, or a semicolon or tab where it has more."""
    heading = next((line for line in text.splitlines() if line.strip()), "")
    return max(",;\t", key=heading.count)
