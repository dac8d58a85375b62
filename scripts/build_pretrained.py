"""Build the pretrained model of the package from recordings that may be redistributed.

    python scripts/build_pretrained.py RECORDINGS

RECORDINGS holds folders named as in SOURCES below; anything else is refused, since the licence of
what it holds is unknown. Needs espeak-ng and flite for synthetic voices. Writes
dafxtool/models/pretrained.pt. A tenth of the recordings is for validation and none for testing:
figures come from other corpora.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from pretraining_recordings import AUDIO_SUFFIXES, prepare

from dafxtool.config import Configuration, SplitConfig
from dafxtool.dataset.render import render
from dafxtool.effects.apply import parse_effect
from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.effect import EffectChoice
from dafxtool.models.pretrained import PRETRAINED_FILE, write_pretrained
from dafxtool.presets import PRESETS
from dafxtool.spectrogram.compute import compute_spectrograms
from dafxtool.training.train import train
from dafxtool.utils.progress import TerminalProgress

LAST_EFFECT = "clean"  # the first effects are the defaults of 'interpolate'
LEFT_OUT = "gain"  # both segments have the same peak: there it is the same as clean
CHAINS = (
    "overdrive > delay",
    "distortion > reverb",
    "compressor > chorus",
    "phaser > delay",
)
VOICES = ("espeak-ng", "flite")

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
    "espeak-ng": (
        "Voices synthesised by eSpeak NG in 30 languages, sentences written for this purpose",
        "audio: no rights claimed (the program: GPL-3)",
        "eSpeak NG contributors",
    ),
    "flite": (
        "Voices synthesised by Flite (kal16, awb, rms, slt), the same sentences",
        "BSD-like",
        "Copyright 1999-2017 Carnegie Mellon University",
    ),
}


def configuration(steps: int) -> Configuration:
    """Return the preset small, narrower, so that float16 weights stay below the size limit."""
    small = PRESETS["small"]
    return replace(
        small,
        split=SplitConfig(by="recording", validation=0.1, test=0.0),
        model=replace(small.model, channels=(128,), n_blocks=5),
        training=replace(
            small.training,
            max_steps=steps,
            validate_every=1000,
            label_steps=5000,
            setting_weight=2.0,
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--steps", type=int, default=2000, help="of training [2000]")
    parser.add_argument("--pairs-per-effect", type=int, default=260, help="[260]")
    parser.add_argument("--workers", type=int, default=2, help="[2]")
    parser.add_argument("--folder", type=Path, help="keep pairs and run here")
    parser.add_argument("--output", type=Path, default=PRETRAINED_FILE)
    given = parser.parse_args()
    paths = [path for path in given.recordings.rglob("*.*") if path.suffix in AUDIO_SUFFIXES]
    folders = sorted({path.parent.name for path in paths})
    unknown = [name for name in folders if name not in SOURCES]
    if unknown or not folders:
        sys.exit(
            f"{given.recordings}: folders without a known licence: {', '.join(unknown) or 'none'}. "
            "Remove them, or add them to SOURCES."
        )
    missing = [program for program in VOICES if shutil.which(program) is None]
    if missing:
        sys.exit(f"{' and '.join(missing)}: not found. Install it (Debian: apt install ...).")
    with tempfile.TemporaryDirectory() as scratch:
        size = build(given.folder or Path(scratch), folders, given)
    print(f"{given.output}: {size:,} bytes, from {', '.join(folders)} and {', '.join(VOICES)}")


def build(work: Path, folders: list[str], given: argparse.Namespace) -> int:
    """Render, analyse, train and write; return the size of the model in bytes."""
    work.mkdir(parents=True, exist_ok=True)
    config, progress = configuration(given.steps), TerminalProgress()
    others = [name for name in builtin_effects() if name not in (LAST_EFFECT, LEFT_OUT)]
    chosen = [parse_effect(text).effect for text in (*others, *CHAINS, LAST_EFFECT)]
    effects = [EffectChoice(effect.at(config.segments.sample_rate), {}) for effect in chosen]
    pairs, spectrograms, run = work / "pairs.h5", work / "spectrograms.h5", work / "run"
    paths = prepare(given.recordings, folders, work / "recordings")
    render(
        paths,
        pairs,
        effects,
        config.segments,
        config.split,
        given.pairs_per_effect,
        workers=given.workers,
        overwrite=True,
        progress=progress,
    )
    compute_spectrograms(pairs, spectrograms, config.spectrogram, overwrite=True, progress=progress)
    train(spectrograms, run, config, overwrite=True, progress=progress)
    sources = [
        dict(zip(("name", "licence", "attribution"), SOURCES[name], strict=True))
        for name in (*folders, *VOICES)
    ]
    return write_pretrained(run, sources, given.output)


if __name__ == "__main__":
    main()
