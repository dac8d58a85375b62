"""Prepare the recordings that the pretrained model is trained on.

Three parts of similar length: excerpts of the recordings as they are; copies of them, played faster
or slower and with a random equaliser, which stand for other speakers and instruments; and synthetic
voices of espeak-ng and flite in many languages.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import fft

SECONDS_PER_FOLDER = 600.0  # one long voice does not outweigh everything else
SECONDS_PER_RECORDING = 120.0
MOST_OCTAVES = 0.5  # of the copies' speed, both ways
EQUALISER_DB = 4.0  # standard deviation of a copy's gain at each of EQUALISER_POINTS
EQUALISER_POINTS = 7  # from 50 Hz, evenly over nine octaves
COPY_PEAK = 0.5
AUDIO_SUFFIXES = (".wav", ".ogg", ".flac")

SENTENCES = (
    "The harbour was quiet this morning, and only two small boats came back before noon.",
    "How many apples did you put into the basket? I counted eleven, perhaps twelve.",
    "Thunder rolled over the valley while the children ran home along the river.",
    "Please close the window, switch off the light, and leave the key under the mat.",
    "A violin, three drums and an old piano stood in the corner of the empty hall.",
    "She laughed, shook her head, and said that nobody had ever asked her such a thing.",
    "Yesterday we walked for seventeen kilometres through fog, sand and wet grass.",
    "Zinc, copper, iron and tin are heavier than wood, but lighter than gold.",
)
# Each language reads the sentences with its own sounds; each variant has a timbre of its own.
LANGUAGES = tuple(
    "en-gb de fr-fr it es pt-br nl sv da fi pl cs sk hu ro el ru uk bg tr hi cmn ko sw vi id eu "  # noqa: SIM905
    "lt lv hr".split()
)
VARIANTS = tuple(
    "f1 f2 f3 f4 f5 m1 m2 m3 m4 m5 m6 m7 klatt klatt2 klatt3 whisper croak".split()  # noqa: SIM905
)
FLITE_VOICES = ("kal16", "awb", "rms", "slt")


def prepare(source: Path, folders: list[str], target: Path, seed: int = 0) -> list[Path]:
    """Write excerpts, copies and voices below target, a folder each; return their files."""
    if target.exists():
        shutil.rmtree(target)
    rng = np.random.default_rng(seed)
    for name in folders:
        seconds = 0.0
        paths = sorted(
            path
            for path in source.rglob("*.*")
            if path.parent.name == name and path.suffix in AUDIO_SUFFIXES
        )
        for path in rng.permutation(np.array(paths, dtype=object)):
            if seconds >= SECONDS_PER_FOLDER:
                break
            seconds += _write_excerpts(path, target / name, rng)
    _write_voices(target)
    return sorted(target.rglob("*.wav"))


def _write_excerpts(path: Path, folder: Path, rng: np.random.Generator) -> float:
    """Write the start of a recording, and a changed copy of it; return its length in s."""
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        audio = file.read(int(SECONDS_PER_RECORDING * rate), dtype="float32", always_2d=True)[:, 0]
    for place, samples in ((folder, audio), (Path(f"{folder}-copies"), _copy(audio, rate, rng))):
        place.mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"{path.stem}.wav", samples, rate, subtype="FLOAT")
    return len(audio) / rate


def _copy(audio: NDArray[np.float32], rate: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Change the speed of a recording and equalise it, both at random."""
    speed = 2 ** rng.uniform(-MOST_OCTAVES, MOST_OCTAVES)
    changed = soxr.resample(audio, rate * speed, rate)[: 10 * len(audio)]
    size = fft.next_fast_len(len(changed), real=True)
    octaves = np.log2(np.maximum(fft.rfftfreq(size, 1 / rate), 50) / 50)
    gains_db = rng.normal(0, EQUALISER_DB, EQUALISER_POINTS)
    gains = 10 ** (np.interp(octaves, np.linspace(0, 9, EQUALISER_POINTS), gains_db) / 20)
    changed = fft.irfft(fft.rfft(changed, size) * gains, size)[: len(changed)]
    return (COPY_PEAK * changed / max(1e-6, np.abs(changed).max())).astype(np.float32)


def _write_voices(target: Path) -> None:
    """Synthesise each voice into a folder of its own."""
    for index, language in enumerate(LANGUAGES):
        variant = VARIANTS[index % len(VARIANTS)]
        folder = target / f"espeak-{language}-{variant}"
        folder.mkdir(parents=True)
        for part in range(2):
            first = index + 4 * part
            text = " ".join(SENTENCES[(first + k) % len(SENTENCES)] for k in range(4))
            words_a_minute, pitch = 120 + 7 * (first % 11), 25 + 6 * (first % 9)
            voice = ["-v", f"{language}+{variant}", "-s", str(words_a_minute), "-p", str(pitch)]
            output = ["-w", str(folder / f"{part}.wav")]
            subprocess.run(["espeak-ng", *voice, *output, text], check=True)
    for voice in FLITE_VOICES:
        folder = target / f"flite-{voice}"
        folder.mkdir(parents=True)
        text = " ".join(SENTENCES)
        subprocess.run(
            ["flite", "-voice", voice, "-t", text, "-o", str(folder / "0.wav")], check=True
        )
