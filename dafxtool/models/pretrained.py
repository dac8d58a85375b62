"""Write the best checkpoint of a run as the pretrained model of the package.

The file is a checkpoint in float16, without the optimiser's state and without paths. `load_run`
reads it like any other checkpoint; PyTorch copies its values into float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dafxtool.errors import InputError
from dafxtool.models.checkpoint import PRETRAINED_FILE, read_checkpoint, save_checkpoint

LARGEST_BYTES = 6_000_000


def pack(contents: Mapping[str, Any], sources: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Convert the contents of a checkpoint to float16, without local paths.

    sources  training data: name, licence and attribution of each source
    """
    copied = ("configuration", "shape", "mean", "deviation", "effects", "step")
    weights = {name: _narrow(values) for name, values in contents["weights"].items()}
    data = {
        "spectrograms": "",
        "pairs": "",
        "recordings": [],
        "validated_on": [],
        "contents": [
            {**each, "path": Path(each["path"]).name}
            for each in contents.get("data", {}).get("contents", ())
        ],
        "sources": [dict(source) for source in sources],
    }
    return {**{key: contents[key] for key in copied}, "weights": weights, "data": data}


def _narrow(values: torch.Tensor) -> torch.Tensor:
    """Convert floating-point values to float16, and indices to int32."""
    narrowed = values.half() if values.is_floating_point() else values.int()
    if not bool(narrowed.isfinite().all()):
        raise InputError("a weight is too large for float16. Train again with another seed.")
    return narrowed


def write_pretrained(
    run: Path, sources: Sequence[Mapping[str, str]], file: Path = PRETRAINED_FILE
) -> int:
    """Write the best checkpoint of a run as the pretrained model; return its size in bytes.

    InputError if it is larger than LARGEST_BYTES.
    """
    contents = pack(read_checkpoint(run / "checkpoints" / "best.pt"), sources)
    save_checkpoint(file, contents)
    size = file.stat().st_size
    if size > LARGEST_BYTES:
        file.unlink()
        raise InputError(
            f"{file.name}: the model takes {size:,} bytes (limit {LARGEST_BYTES:,}). Use fewer "
            "channels or components."
        )
    return size
