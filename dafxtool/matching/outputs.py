"""Check the output files of a match, before anything slow is imported."""

from __future__ import annotations

from pathlib import Path

from dafxtool.audio.writer import BIT_DEPTHS
from dafxtool.errors import InputError
from dafxtool.utils.files import check_free
from dafxtool.utils.outputs import check_outputs

MATCHER_FILE = "matcher.pt"  # in a run's folder


def check_match_outputs(output: Path, overwrite: bool) -> tuple[Path, Path, Path]:
    """Return the paths of recording, sheet and JSON file, after checking them.

    InputError for another suffix; OutputExistsError.
    """
    if output.suffix.lower() not in BIT_DEPTHS:
        raise InputError(
            f"{output}: unknown suffix of a recording (found {output.suffix!r}, expected .wav or "
            ".flac). Choose another --output."
        )
    paths = (output, output.with_suffix(".png"), output.with_suffix(".json"))
    check_outputs(paths[1], overwrite=overwrite)
    for path in paths:
        check_free(path, overwrite)
    return paths
