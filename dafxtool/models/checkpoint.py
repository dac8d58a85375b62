"""Find, read and write checkpoints of run folders.

A run folder holds `checkpoints/best.pt`, the model of the lowest validation loss, and
`checkpoints/last.pt`, the newest one with everything that training needs to resume. Checkpoints are
plain tensors and builtins, loaded with `weights_only=True`. torch is imported only to read or write
one, so that a missing run is reported at once.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

from dafxtool.config import Configuration
from dafxtool.errors import (
    FormatError,
    InputError,
    OutputExistsError,
    TrainingError,
)
from dafxtool.utils.files import atomic_write

CHECKPOINT_VERSION = 5
RUNS_FOLDER = Path("runs")
PRETRAINED_FILE = Path(__file__).with_name("pretrained.pt")
PRETRAINED = Path("pretrained")  # names the model in the package where no such file exists


def find_checkpoint(path: Path | None = None, name: str = "best") -> tuple[Path, Path]:
    """Find the run and the checkpoint file of a run folder or of a checkpoint.

    path  None takes the newest run of ./runs, else the pretrained model; "pretrained" names it
    name  checkpoint of a run folder to prefer: best or last
    """
    path = path or default_run()
    file = path
    if is_pretrained(path):
        file = PRETRAINED_FILE
        if not file.is_file():
            raise InputError(
                f"{path}: this installation has no pretrained model. Install dafxtool again, or "
                "name a run."
            )
    elif path.is_dir():
        file = path / "checkpoints" / f"{name}.pt"
        if not file.is_file():
            file = path / "checkpoints" / "last.pt"
        if not file.is_file():
            raise InputError(
                f"{path}: contains no checkpoint. Name a folder that 'dafxtool train' created, "
                "such as runs/NAME."
            )
    elif not path.exists():
        raise InputError(f"{path}: does not exist. Name a run that 'dafxtool train' created.")
    if not is_zipfile(file):
        raise _unreadable(file)
    return path, file


def default_run(folder: Path = RUNS_FOLDER) -> Path:
    """Return the newest run of ./runs, or the pretrained model where there is none.

    Raises InputError where there is neither.
    """
    try:
        return newest_run(folder)
    except InputError:
        if not PRETRAINED_FILE.is_file():
            raise
        return PRETRAINED


def is_pretrained(path: Path) -> bool:
    """Return whether a run's path is the name of the model in the package."""
    return path == PRETRAINED and not path.exists()


def newest_run(folder: Path = RUNS_FOLDER) -> Path:
    """Return the run of ./runs whose checkpoint is the newest."""
    runs = sorted(
        (file.stat().st_mtime_ns, str(file.parent.parent))
        for file in folder.glob("*/checkpoints/last.pt")
    )
    if not runs:
        raise InputError(
            f"{folder}: contains no run. Train one with 'dafxtool train', or name one with --run."
        )
    return Path(runs[-1][1])


def new_run_path(preset: str, folder: Path = RUNS_FOLDER) -> Path:
    """Return an unused name for a run: small-1, small-2, ..."""
    used = {path.name for path in folder.glob(f"{preset}-*")}
    number = next(n for n in range(1, len(used) + 2) if f"{preset}-{n}" not in used)
    return folder / f"{preset}-{number}"


def check_run_is_free(path: Path, resume: bool, overwrite: bool) -> None:
    """Refuse the folder of another run, unless that is resumed or replaced."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file (expected a folder). Choose another --output.")
    if not overwrite and not resume and list((path / "checkpoints").glob("*.pt")):
        raise OutputExistsError(
            f"{path}: contains a run already. Choose another --output, continue with --resume, or "
            "replace it with --overwrite."
        )


def save_checkpoint(path: Path, contents: dict[str, Any]) -> None:
    """Write a checkpoint completely or not at all."""
    with atomic_write(path, overwrite=True) as temporary:
        import torch

        # Into memory first: torch does not report a full disk.
        packed = io.BytesIO()
        torch.save({"checkpoint_version": CHECKPOINT_VERSION, **contents}, packed)
        temporary.write_bytes(packed.getbuffer())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without running any code in it."""
    if not path.is_file():
        raise InputError(f"{path}: does not exist. Train a run with 'dafxtool train'.")
    try:
        with ZipFile(path) as packed:
            damaged = packed.testzip()
        if damaged:
            raise BadZipFile(f"{damaged} is damaged")
        import torch

        contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a file that is no checkpoint
        raise _unreadable(path) from error
    if not isinstance(contents, dict) or contents.get("checkpoint_version") != CHECKPOINT_VERSION:
        raise FormatError(
            f"{path}: not a checkpoint of this version of dafxtool (expected checkpoint version "
            f"{CHECKPOINT_VERSION}). Train again."
        )
    configuration = contents.get("configuration")  # a matcher has none
    if isinstance(configuration, dict) and isinstance(configuration.get("model"), dict):
        # Checkpoints from before these existed have none.
        configuration["model"].setdefault("descriptor_floor_db", 0.0)
        configuration["model"].setdefault("setting_descriptors", False)
    return contents


def mentions(path: Path, texts: Iterable[str]) -> bool:
    """Whether a checkpoint can contain one of these texts; found out without importing torch."""
    try:
        with ZipFile(path) as packed:
            (name,) = [each for each in packed.namelist() if each.endswith("/data.pkl")]
            contents = packed.read(name)
    except (OSError, ValueError, BadZipFile) as error:
        raise _unreadable(path) from error
    return any(text.encode() in contents for text in texts)


def _unreadable(path: Path) -> FormatError:
    return FormatError(
        f"{path}: not a checkpoint, or damaged. Name the folder of a run, or the other checkpoint "
        "of the run."
    )


def check_same_model(saved: Configuration, asked: Configuration, path: Path) -> None:
    """Raise TrainingError unless a resumed run has the model and analysis it started with."""
    for section in ("model", "spectrogram"):
        before, after = getattr(saved, section), getattr(asked, section)
        if before != after:
            raise TrainingError(
                f"{path}: was trained with another {section} (found {after}, expected {before}). "
                "Resume with the same options, or start a new run."
            )


def check_same_data(saved: dict[str, Any], about: dict[str, Any], path: Path) -> None:
    """Raise TrainingError unless a run is resumed on the data its basis was fitted to."""
    before = [saved["mean"], saved["deviation"], saved["data"]["pairs"]]
    if before != [about["mean"], about["deviation"], about["data"]["pairs"]]:
        raise TrainingError(
            f"{path}: was trained on other data than {about['data']['spectrograms']}. Resume on "
            "the same data, or start a new run."
        )
