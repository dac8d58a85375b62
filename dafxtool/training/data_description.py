"""Describe the data of a run, as its checkpoints store it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dafxtool import storage
from dafxtool.dataset.copies import content_of


def describe_data(reader: storage.Hdf5Reader, path: Path) -> dict[str, Any]:
    """Return what a checkpoint states of its data: standardisation, effects and recordings.

    The best checkpoint is chosen on `validated_on`. `contents` are the fingerprints of both lists
    of recordings, to recognise copies.
    """
    return {
        "mean": float(reader.configuration["mean"]),
        "deviation": float(reader.configuration["std"]),
        "effects": reader.labels.effects,
        "data": {
            "spectrograms": str(path.absolute()),
            "pairs": reader.configuration["pairs"],
            "recordings": _paths(reader, "train"),
            "validated_on": _paths(reader, "validation"),
            "contents": _contents(reader),
        },
    }


def _paths(reader: storage.Hdf5Reader, split: str) -> list[str]:
    return [each["path"] for each in reader.labels.recordings if each["split"] == split]


def _contents(reader: storage.Hdf5Reader) -> list[dict[str, Any]]:
    """Return path and fingerprint of training and validation recordings that have one."""
    contents = [content_of(row) for row in reader.labels.recordings if row["split"] != "test"]
    return [
        {"path": each.path, **asdict(each.fingerprint)}
        for each in contents
        if each.fingerprint.digest
    ]


def validation_note(labels: storage.Labels) -> list[str]:
    """Return a note if there are no validation rows, so that training rows replace them."""
    if len(labels.rows_of(("validation",))):
        return []
    return [
        "no validation rows: the validation error is that of training rows. Render with "
        "--validation above 0."
    ]
