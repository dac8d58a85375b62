"""Find recordings in files and folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dafxtool.errors import InputError

# A file in a folder is a recording if its suffix is one of these, in lower or upper case.
SUFFIXES = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd"),
    *(".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".m4a", ".m4b", ".aac", ".wma", ".ac3"),
    *(".wv", ".ape", ".tta", ".mpc", ".amr", ".spx", ".weba", ".mka", ".dsf", ".dff", ".ra"),
)
COMMON = ("WAV", "AIFF", "FLAC", "Ogg", "Opus", "MP3", "M4A")


def find_recordings(paths: Sequence[Path], leave_out: Path | None = None) -> list[Path]:
    """List recordings, each once, in a fixed order.

    paths      files, with any suffix, and folders, which are searched recursively for SUFFIXES
    leave_out  folder that is not searched

    Hidden files (a leading dot) are left out. Links are followed. InputError if a path does not
    exist or cannot be read, or if a folder contains no recording.
    """
    recordings: dict[str, Path] = {}  # by real path, so that each is listed once
    for path in map(Path, paths):
        if path.is_dir():
            inside = _walk(path, leave_out)
            if not inside:
                raise InputError(
                    f"{path}: holds no recordings (expected {', '.join(COMMON)} or others). "
                    "Name another folder."
                )
            for real, each in inside:
                recordings.setdefault(real, each)
        elif path.is_file():
            recordings.setdefault(os.path.realpath(path), path)
        elif path.exists():
            raise InputError(f"{path}: neither a file nor a folder. Name a recording.")
        elif path.is_symlink():
            raise InputError(f"{path}: a broken symbolic link. Name a recording.")
        else:
            raise InputError(f"{path}: does not exist. Name a recording, or a folder of them.")
    return list(recordings.values())


def _walk(folder: Path, leave_out: Path | None = None) -> list[tuple[str, Path]]:
    """List (real path, path) of every recording below a folder; visit each folder once."""

    def raise_error(error: OSError) -> None:
        raise InputError(
            f"{error.filename}: cannot be read ({error.strerror}). Check its permissions, "
            "or name another folder."
        ) from error

    recordings, visited = [], {os.path.realpath(leave_out)} if leave_out else set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=raise_error):
        real = os.path.realpath(here)
        if real in visited:  # reached again by a link, or left out
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or not name.lower().endswith(SUFFIXES):
                continue
            path = os.path.join(here, name)
            is_link = os.path.islink(path)
            real_path = os.path.realpath(path) if is_link else os.path.join(real, name)
            recordings.append((real_path, Path(path)))
    return recordings
