"""Save and read checkpoints."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from dafxtool.config import Configuration
from dafxtool.errors import (
    FormatError,
    InputError,
    TrainingError,
)
from dafxtool.utils.files import atomic_write

CHECKPOINT_VERSION = 4


def save_checkpoint(path: Path, contents: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    with atomic_write(path, overwrite=True) as temporary:
        # Into memory first: torch has no words for a disk that is full.
        packed = io.BytesIO()
        torch.save({"checkpoint_version": CHECKPOINT_VERSION, **contents}, packed)
        temporary.write_bytes(packed.getbuffer())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint, on the CPU; no code in it can run."""
    if not path.is_file():
        raise InputError(f"{path} does not exist: make a run with 'dafxtool train'.")
    try:
        with ZipFile(path) as packed:
            damaged = packed.testzip()
        if damaged:
            raise BadZipFile(f"{damaged} is not what was written")
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a file that is no checkpoint
        raise FormatError(
            f"{path} is no checkpoint that can be read, or it is damaged: name a run's folder, or "
            "the other checkpoint of the run."
        ) from error
    if not isinstance(contents, dict) or contents.get("checkpoint_version") != CHECKPOINT_VERSION:
        raise FormatError(
            f"{path} is no checkpoint of this dafxtool (wanted version {CHECKPOINT_VERSION}): "
            "train again."
        )
    return contents


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
