"""Find the recordings that files and folders stand for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dafxtool.errors import InputError

# Files of these kinds are recordings, in any case. Those that cannot be read are reported.
SUFFIXES = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd"),
    *(".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".m4a", ".m4b", ".aac", ".wma", ".ac3"),
    *(".wv", ".ape", ".tta", ".mpc", ".amr", ".spx", ".weba", ".mka", ".dsf", ".dff", ".ra"),
)
COMMON = ("WAV", "AIFF", "FLAC", "Ogg", "Opus", "MP3", "M4A")


def find_recordings(paths: Sequence[Path], leave_out: Path | None = None) -> list[Path]:
    """List recordings, each once, in a fixed order.

    A file is taken whatever its suffix. A folder is searched, with all folders in it, for files
    with one of SUFFIXES. Hidden files (a leading dot) and the folder leave_out are left out. Links
    are followed.

    InputError  a path does not exist or cannot be read, or a folder holds no recording
    """
    found: dict[str, Path] = {}  # by real path, so that nothing comes twice
    for path in map(Path, paths):
        if path.is_dir():
            inside = _walk(path, leave_out)
            if not inside:
                raise InputError(
                    f"{path}: holds no recordings (searched for {', '.join(COMMON)} and others). "
                    "Name another folder."
                )
            for real, each in inside:
                found.setdefault(real, each)
        elif path.is_file():
            found.setdefault(os.path.realpath(path), path)
        elif path.exists():
            raise InputError(f"{path}: neither a file nor a folder. Name a recording.")
        elif path.is_symlink():
            raise InputError(f"{path}: a broken symbolic link. Name a recording.")
        else:
            raise InputError(f"{path}: does not exist. Name a recording, or a folder of them.")
    return list(found.values())


def _walk(folder: Path, leave_out: Path | None = None) -> list[tuple[str, Path]]:
    """List (real path, path) of every recording below a folder."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}).") from error

    found, visited = [], {os.path.realpath(leave_out)} if leave_out else set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        real = os.path.realpath(here)
        if real in visited:  # a link led back here, or it is left out
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or not name.lower().endswith(SUFFIXES):
                continue
            path = os.path.join(here, name)
            own = os.path.realpath(path) if os.path.islink(path) else os.path.join(real, name)
            found.append((own, Path(path)))
    return found
