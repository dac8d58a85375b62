"""Copies, resampled copies and noise, whose answer is "leave it"."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dafxtool.audio.reader import load_audio
from dafxtool.audio.resample import resample
from dafxtool.audio.writer import save_audio
from dafxtool.matching.objective import rms
from dafxtool.matching.paired import Options, match_pair
from dafxtool.matching.prepare import align
from matching.figures import share
from matching.recordings import RATE, Array, Recordings

LOSSY = {"mp3": ("-b:a", "128k"), "ogg": ("-q:a", "4")}


def no_effect(recordings: Recordings, n_pairs: int) -> None:
    """Measure how often "leave it" is the answer to copies, resampled copies and noise."""
    is_left: dict[str, list[bool]] = {}
    for number in range(recordings.first, recordings.first + n_pairs):
        dry = recordings.dry(number)
        noise = np.random.default_rng(number).standard_normal(dry.size).astype(np.float32)
        lower = resample(resample(dry, RATE, 16_000), 16_000, RATE)[: dry.size]
        kinds = {
            "same file": (dry, 1.0),
            "noise at -50 dB": (dry + np.float32(10**-2.5 * rms(dry)) * noise, 1.0),
            "16 bits": (np.round(dry * 32768).astype(np.float32) / 32768, 1.0),
            "resampled": (np.pad(lower, (0, dry.size - lower.size)), 0.63),
        }
        for name, options in LOSSY.items():
            copy = _lossy_copy(dry, name, options)
            if copy is not None:
                kinds[name] = (copy, 1.0)
        for kind, (wet, highest) in kinds.items():
            # A copy may be early or late by the delay of its encoder.
            pair = align(dry, wet, RATE, highest, ("dry", kind))
            answer = match_pair(pair, Options())
            left = all(stage.effect.name == "gain" for stage in answer.best.stages)
            is_left.setdefault(kind, []).append(left)
            if not left:
                print(f"  {kind}: {answer.best.text} ({answer.verdict})", flush=True)
        print(f"  recording {number}: {len(kinds)} copies", flush=True)
    for kind, values in is_left.items():
        print(f"  {kind}: left {share(values)} of {len(values)}")
    every = [left for values in is_left.values() for left in values]
    print(f"no effect, {len(every)} pairs: left {share(every)}")


def _lossy_copy(dry: Array, suffix: str, options: Sequence[str]) -> Array | None:
    """Return dry after encoding and decoding with ffmpeg; None where it is not installed."""
    if shutil.which("ffmpeg") is None:
        return None
    with TemporaryDirectory() as folder:
        source, copy, back = (Path(folder) / name for name in ("a.wav", f"b.{suffix}", "c.wav"))
        save_audio(source, dry, RATE)
        for arguments in ([source, *options, copy], [copy, "-ar", str(RATE), back]):
            command = ["ffmpeg", "-v", "error", "-y", "-i", *map(str, arguments)]
            subprocess.run(command, check=True)
        samples = load_audio(back, RATE)[0]
    return np.pad(samples[: dry.size], (0, max(0, dry.size - samples.size)))
