"""Build the pretrained model of the package from recordings that may be redistributed.

    python scripts/build_pretrained.py RECORDINGS --minutes 8

RECORDINGS holds folders named as in SOURCES below; anything else is refused, since the licence of
what it holds is unknown. Writes dafxtool/pretrained.pt. Folders of one recording each belong to one
split; a tenth is validated on and nothing is tested on: figures come from other corpora.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from dafxtool.config import Configuration, SplitConfig
from dafxtool.dataset.render import render
from dafxtool.effects.builtin import builtin_effects
from dafxtool.models.pretrained import PRETRAINED_FILE, write_pretrained
from dafxtool.presets import PRESETS
from dafxtool.spectrogram.compute import compute_spectrograms
from dafxtool.training.train import train
from dafxtool.utils.progress import TerminalProgress

LAST_EFFECT = "clean"  # the first effects are the defaults of 'interpolate'

# Folder, its name, licence and attribution.
SOURCES = {
    "festvox-ru_nsh": (
        "Russian voice of the Festival project (festvox-ru)",
        "BSD-like",
        "Copyright 2005 Nickolay V. Shmyrev. Modified: cut, resampled and processed by effects.",
    ),
    "fretsonfire-guitar": (
        "Sectoid's songs for Frets on Fire, guitar stems",
        "MIT",
        "Copyright 2006, 2007 Carlos Viola Iborra",
    ),
    "fretsonfire-band": (
        "Sectoid's songs for Frets on Fire, bands",
        "MIT",
        "Copyright 2006, 2007 Carlos Viola Iborra",
    ),
    "sonic-pi": ("Samples of Sonic Pi", "CC0 and MIT", "Samuel Aaron and others, Sonic Pi"),
    "pocketsphinx_cards": (
        "Test data of PocketSphinx",
        "BSD-2-Clause",
        "Copyright 1995-2014 Carnegie Mellon University, 2014-2015 Alpha Cephei Inc.",
    ),
    "pocketsphinx_librivox": (
        "Test data of PocketSphinx, from LibriVox",
        "BSD-2-Clause",
        "Copyright 1995-2014 Carnegie Mellon University, 2014-2015 Alpha Cephei Inc.",
    ),
}


def configuration(minutes: float) -> Configuration:
    """The preset small, narrower, so that float16 weights stay below the size limit."""
    small = PRESETS["small"]
    return replace(
        small,
        split=SplitConfig(by="recording", validation=0.1, test=0.0),
        model=replace(small.model, channels=(128,), n_blocks=5),
        training=replace(small.training, max_minutes=minutes, max_steps=100_000),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--minutes", type=float, default=8.0, help="of training [8]")
    parser.add_argument("--pairs-per-effect", type=int, default=60, help="[60]")
    parser.add_argument("--workers", type=int, default=2, help="[2]")
    parser.add_argument("--folder", type=Path, help="keep pairs and run here")
    parser.add_argument("--output", type=Path, default=PRETRAINED_FILE)
    given = parser.parse_args()
    folders = sorted({path.parent.name for path in given.recordings.rglob("*.*") if path.is_file()})
    folders = [name for name in folders if name not in ("licenses", ".done")]
    unknown = [name for name in folders if name not in SOURCES]
    if unknown or not folders:
        sys.exit(
            f"{given.recordings}: folders without a known licence: {', '.join(unknown) or 'none'}. "
            "Remove them, or add them to SOURCES."
        )
    with tempfile.TemporaryDirectory() as scratch:
        size = build(given.folder or Path(scratch), folders, given)
    print(f"{given.output}: {size:,} bytes, from {', '.join(folders)}")


def build(work: Path, folders: list[str], given: argparse.Namespace) -> int:
    """Render, analyse, train and write; return the size of the model in bytes."""
    work.mkdir(parents=True, exist_ok=True)
    made, progress = configuration(given.minutes), TerminalProgress()
    known = builtin_effects()
    names = [*(name for name in known if name != LAST_EFFECT), LAST_EFFECT]
    effects = [(known[name].at(made.segments.sample_rate), {}) for name in names]
    pairs, spectrograms, run = work / "pairs.h5", work / "spectrograms.h5", work / "run"
    paths = sorted(
        path
        for path in given.recordings.rglob("*.*")
        if path.is_file() and path.parent.name in folders
    )
    render(
        paths,
        pairs,
        effects,
        made.segments,
        made.split,
        given.pairs_per_effect,
        workers=given.workers,
        overwrite=True,
        progress=progress,
    )
    compute_spectrograms(pairs, spectrograms, made.spectrogram, overwrite=True, progress=progress)
    train(spectrograms, run, made, overwrite=True, progress=progress)
    sources = [
        dict(zip(("name", "licence", "attribution"), SOURCES[name], strict=True))
        for name in folders
    ]
    return write_pretrained(run, sources, given.output)


if __name__ == "__main__":
    main()
