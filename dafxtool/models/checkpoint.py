"""Find, read and write checkpoints of run folders.

A run folder holds `checkpoints/best.pt`, the model of the lowest validation loss, and
`checkpoints/last.pt`, the newest one with everything that training needs to resume. Checkpoints are
plain tensors and builtins, loaded with `weights_only=True`. torch is imported only to read or write
one, so that a missing run is reported at once.
"""

from __future__ import annotations

import io
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
                f"{path}: this installation holds no pretrained model. Install dafxtool again, or "
                "name a run."
            )
    elif path.is_dir():
        file = path / "checkpoints" / f"{name}.pt"
        if not file.is_file():
            file = path / "checkpoints" / "last.pt"
        if not file.is_file():
            raise InputError(
                f"{path} holds no checkpoint: name a folder that 'dafxtool train' made, such as "
                "runs/NAME."
            )
    elif not path.exists():
        raise InputError(f"{path} does not exist: name a run that 'dafxtool train' made.")
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
    """Whether a run's path is the name of the model in the package."""
    return path == PRETRAINED and not path.exists()


def newest_run(folder: Path = RUNS_FOLDER) -> Path:
    """Run of ./runs whose checkpoint is the newest."""
    found = sorted(
        (file.stat().st_mtime_ns, str(file.parent.parent))
        for file in folder.glob("*/checkpoints/last.pt")
    )
    if not found:
        raise InputError(
            f"there is no run in {folder}: make one with 'dafxtool train', or name one with --run."
        )
    return Path(found[-1][1])


def new_run_path(preset: str, folder: Path = RUNS_FOLDER) -> Path:
    """Unused name for a run: small-1, small-2, ..."""
    taken = {path.name for path in folder.glob(f"{preset}-*")}
    number = next(n for n in range(1, len(taken) + 2) if f"{preset}-{n}" not in taken)
    return folder / f"{preset}-{number}"


def check_run_is_free(path: Path, resume: bool, overwrite: bool) -> None:
    """Refuse the folder of another run, unless that is resumed or replaced."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file (expected a folder). Choose another --output.")
    if not overwrite and not resume and list((path / "checkpoints").glob("*.pt")):
        raise OutputExistsError(
            f"{path} holds a run already: choose another --output, go on with --resume, or "
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
    """Read a checkpoint onto the CPU; no code in it can run."""
    if not path.is_file():
        raise InputError(f"{path} does not exist: make a run with 'dafxtool train'.")
    try:
        with ZipFile(path) as packed:
            damaged = packed.testzip()
        if damaged:
            raise BadZipFile(f"{damaged} is not what was written")
        import torch

        contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a file that is no checkpoint
        raise _unreadable(path) from error
    if not isinstance(contents, dict) or contents.get("checkpoint_version") != CHECKPOINT_VERSION:
        raise FormatError(
            f"{path} is no checkpoint of this dafxtool (wanted version {CHECKPOINT_VERSION}): "
            "train again."
        )
    return contents


def _unreadable(path: Path) -> FormatError:
    return FormatError(
        f"{path} is no checkpoint that can be read, or it is damaged: name a run's folder, or the "
        "other checkpoint of the run."
    )


def check_same_model(saved: Configuration, asked: Configuration, path: Path) -> None:
    """A run is resumed with the model and the analysis that it was begun with."""
    for section in ("model", "spectrogram"):
        before, after = getattr(saved, section), getattr(asked, section)
        if before != after:
            raise TrainingError(
                f"{path} was trained with another {section} ({before}): resume with the same, or "
                "begin a new run."
            )


def check_same_data(saved: dict[str, Any], about: dict[str, Any], path: Path) -> None:
    """A run is resumed on the data that it was begun with: its linear part was measured there."""
    before = [saved["mean"], saved["deviation"], saved["data"]["pairs"]]
    if before != [about["mean"], about["deviation"], about["data"]["pairs"]]:
        raise TrainingError(
            f"{path} was trained on other data than {about['data']['spectrograms']}: resume on the "
            "same, or begin a new run."
        )
