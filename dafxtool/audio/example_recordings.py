"""Provide the example recordings that are part of the package.

22 clips of plucked strings, a voice, drums and an organ, synthesised by this project. Each is mono,
6 s at 24 kHz, 16-bit FLAC, peak at -3 dBFS, without room or effect. `render` and the demo use
twenty of them by default. The other two are in no data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool.audio.reader import load_audio
from dafxtool.audio.writer import save_audio
from dafxtool.utils.files import atomic_write

SAMPLE_RATE = 24_000  # Hz


@dataclass(frozen=True)
class Clip:
    """One example recording. The family is the name of its folder."""

    family: str
    title: str

    @property
    def file_name(self) -> str:
        return f"{self.title}.flac"

    @property
    def resource(self) -> Any:
        """Return the FLAC file as an importlib Traversable, because the package may be zipped."""
        return files("dafxtool.audio") / "clips" / self.family / self.file_name

    def read(self) -> NDArray[np.float32]:
        """Read the samples (144000,), full scale 1.0."""
        with as_file(self.resource) as path:
            return load_audio(path)[0]

    def write_wav(self, path: Path, overwrite: bool = False) -> None:
        """Write the samples as a 16-bit WAV file.

        OutputExistsError and DiskError as of atomic_write.
        """
        save_audio(Path(path), self.read(), SAMPLE_RATE, overwrite, bit_depth=16)


TITLES = {
    "strings": ("bass", "guitar", "strummed", "harp", "mandolin"),
    "voice": ("bass", "tenor", "alto", "soprano", "child"),
    "drums": ("rock", "shuffle", "breakbeat", "bossa", "toms"),
    "organ": ("flutes-in-c", "principals-in-d", "full-in-e-flat", "reed-in-f", "gospel-in-g"),
}
CLIPS = tuple(Clip(family, title) for family, titles in TITLES.items() for title in titles)
LUTE, BARITONE = Clip("strings", "lute"), Clip("voice", "baritone")
HELD_OUT = (LUTE, BARITONE)  # in no data set: recordings that a model has not seen


def write_clips(folder: Path, overwrite: bool = False) -> list[Path]:
    """Copy the twenty clips to folder/FAMILY/TITLE.flac and return their paths.

    OutputExistsError and DiskError as of atomic_write.
    """
    paths = []
    for clip in CLIPS:
        paths.append(Path(folder) / clip.family / clip.file_name)
        with atomic_write(paths[-1], overwrite) as temporary:
            temporary.write_bytes(clip.resource.read_bytes())
    return paths
