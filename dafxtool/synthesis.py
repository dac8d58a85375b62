"""The built-in recordings: plucked strings, a voice, drums and an organ, all made by formulas.

They stand in where somebody has no recordings at hand. A recording is mono float32 (n_samples,),
full scale 1.0, dry: whatever room or echo is heard later, an effect has put there. Everything is
a function of (seed, family, number) and comes out the same in every run.

Each family is a module with its recipes and a function play(recipe, n_samples, sample_rate, rng),
which returns a sound (n_samples,) of any level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dafxtool import (
    drums,
    organ,
    strings,
    voice,
)
from dafxtool.audio.io import save_audio
from dafxtool.errors import InputError
from dafxtool.partials import SECONDS, Array, edges

SAMPLE_RATE = 24_000  # Hz
PER_FAMILY = 5  # each family has one recipe more, for write_example
PEAK_DBFS = -3.0

Player = Callable[..., Array]
FAMILIES: dict[str, tuple[Player, Sequence[Any]]] = {
    "strings": (strings.play, strings.INSTRUMENTS),
    "voice": (voice.play, voice.SPEAKERS),
    "drums": (drums.play, drums.GROOVES),
    "organ": (organ.play, organ.REGISTRATIONS),
}


def corpus(
    seed: int = 0, sample_rate: int = SAMPLE_RATE
) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """(family, name, audio) of the 20 recordings, five of each family, 6 s each."""
    for family, (_, recipes) in FAMILIES.items():
        for number in range(PER_FAMILY):
            yield family, recipes[number].name, recording(family, number, seed, sample_rate)


def recording(
    family: str, number: int, seed: int = 0, sample_rate: int = SAMPLE_RATE
) -> NDArray[np.float32]:
    """One recording, (6 s,), its peak at -3 dBFS.

    number  0 to 4: those of the corpus; 5: the one that is kept out of it
    """
    if family not in FAMILIES:
        raise InputError(f"the family {family!r} is unknown: take one of {', '.join(FAMILIES)}.")
    play, recipes = FAMILIES[family]
    rng = np.random.default_rng((seed, list(FAMILIES).index(family), number))
    sound = play(recipes[number], round(SECONDS * sample_rate), sample_rate, rng)
    sound = edges(sound, 0.005, 0.02, sample_rate)
    return (sound * (10 ** (PEAK_DBFS / 20) / np.abs(sound).max())).astype(np.float32)


def write_corpus(folder: Path, seed: int = 0) -> list[Path]:
    """The corpus as folder/FAMILY/NAME.wav, 16 bits, 24 kHz; returns the paths.

    OutputExistsError, DiskError  as of files.writing
    """
    paths = []
    for family, name, sound in corpus(seed):
        paths.append(Path(folder) / family / f"{name}.wav")
        save_audio(paths[-1], sound, SAMPLE_RATE, bit_depth=16)
    return paths


def write_example(path: Path, family: str, seed: int = 0, overwrite: bool = False) -> None:
    """One more recording of a family, which is not in the corpus, to try a model on."""
    sound = recording(family, PER_FAMILY, seed)
    save_audio(Path(path), sound, SAMPLE_RATE, overwrite, bit_depth=16)
