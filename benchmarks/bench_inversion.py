"""How near, and how quickly, magnitudes are inverted, beside torchaudio's Griffin-Lim.

    python benchmarks/bench_inversion.py                          # the built-in corpus
    python benchmarks/bench_inversion.py --recordings FOLDER      # 20 of the recordings in FOLDER
    python benchmarks/bench_inversion.py --recordings FOLDER --limit 100 --seconds 5.5

Prints a Markdown table: spectral convergence in dB (lower is better), how much better than
torchaudio's GriffinLim(n_iter=32) with its default momentum 0.99, and the time relative to that, in
the same run on one thread, all methods on a clip before the next clip. "from dry" inverts the clip
distorted and echoed, from the phase of the clip as it was; its gain is over torchaudio on that same
sound.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from common import check, print_header

from dafxtool.inversion import METHODS, invert, spectral_convergence_db
from dafxtool.stft import SpectrogramConfig, magnitude

SAMPLE_RATE = 24_000
SIZES = ((2048, 512, 2048), (4096, 2048, 4096), (4096, 1024, 2048))  # n_fft, hop, window
REFERENCE = "torchaudio GriffinLim, 32"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "--recordings", type=Path, help="folder of recordings; else the built-in corpus"
    )
    options.add_argument("--limit", type=int, default=20, help="how many clips, evenly picked")
    options.add_argument("--seconds", type=float, default=5.5, help="of each clip, at most")
    options.add_argument("--quick", action="store_true", help="4 clips of 2 seconds")
    chosen = options.parse_args()
    if chosen.quick or chosen.recordings is None:
        chosen.limit, chosen.seconds = min(chosen.limit, 4), min(chosen.seconds, 2.0)
    torch.set_num_threads(1)
    print_header("inversion", "torch", "torchaudio", "scipy")
    found = synthetic() if chosen.recordings is None else recorded(chosen.recordings, chosen.limit)
    n_samples = round(chosen.seconds * SAMPLE_RATE)
    clips = [clip[:n_samples] for clip in evenly(found, chosen.limit)]
    total = sum(map(len, clips)) / SAMPLE_RATE
    print(f"{len(clips)} clips, {total:.0f} s in all, {SAMPLE_RATE} Hz, one thread\n")
    print("| n_fft / hop / window | method, iterations | dB | gain, dB | time |")
    print("|---|---|---|---|---|")
    for sizes in SIZES:
        print_sizes(sizes, clips)


def evenly(items: list, limit: int) -> list:
    chosen = np.unique(np.linspace(0, len(items) - 1, min(limit, len(items))).astype(int))
    return [items[index] for index in chosen]


def recorded(folder: Path, limit: int) -> list[np.ndarray]:
    """Recordings of a second or more, picked evenly from the folder."""
    from dafxtool import audio

    paths = evenly(audio.find_recordings([folder]), 2 * limit)
    sounds = [audio.read(path, SAMPLE_RATE)[0] for path in paths]
    return [sound for sound in sounds if len(sound) >= SAMPLE_RATE and np.abs(sound).max() > 1e-3]


def synthetic() -> list[np.ndarray]:
    """One recording of each family of the built-in corpus."""
    from dafxtool.synthesis import corpus

    return list({family: sound for family, _, sound in corpus(0, SAMPLE_RATE)}.values())


def print_sizes(sizes: tuple[int, int, int], clips: list[np.ndarray]) -> None:
    n_fft, hop_length, window_length = sizes
    config = SpectrogramConfig(
        n_fft=n_fft, hop_length=hop_length, window_length=window_length, sample_rate=SAMPLE_RATE
    )
    check_convergence(clips[0], config)
    list(measure(clips[0][: SAMPLE_RATE // 2], config))  # what is done once is not timed
    measured: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for clip in clips:
        for name, *found in measure(clip, config):
            measured[name].append((found[0], found[1], found[2]))
    seconds = sum(each[2] for each in measured[REFERENCE])
    for name, values in measured.items():
        convergence, gain, _ = np.mean(values, axis=0)
        relative = sum(each[2] for each in values) / seconds
        row = f"{convergence:.1f} | {gain:+.1f} | {relative:.2f}"
        print(f"| {n_fft} / {hop_length} / {window_length} | {name} | {row} |", flush=True)


def measure(
    clip: np.ndarray, config: SpectrogramConfig
) -> Iterator[tuple[str, float, float, float]]:
    """Name, convergence in dB, gain over the reference in dB, seconds."""
    from torchaudio.transforms import GriffinLim

    torch.manual_seed(0)
    theirs = GriffinLim(
        config.n_fft, 32, config.window_length, config.hop_length, power=1, length=len(clip)
    )
    target = magnitude(clip, config).contiguous()
    sound, seconds = timed(lambda: theirs(target))
    reference = spectral_convergence_db(sound, target, config)
    yield REFERENCE, reference, 0.0, seconds
    for name, method in METHODS.items():
        found, seconds = timed(lambda name=name: invert(target, config, len(clip), name))
        gain = reference - found.convergence_db
        yield f"{name}, {method.iterations}", found.convergence_db, gain, seconds
    wet = magnitude(distorted(clip), config).contiguous()
    reference = spectral_convergence_db(theirs(wet), wet, config)
    found, seconds = timed(lambda: invert(wet, config, len(clip), phase_from=clip))
    gain = reference - found.convergence_db
    yield f"fast, {found.iterations}, from dry", found.convergence_db, gain, seconds


def check_convergence(clip: np.ndarray, config: SpectrogramConfig) -> None:
    """What is reported is what plain torch finds: 20 lg of the relative error of magnitudes."""
    window = torch.hann_window(config.window_length)
    sizes = (config.n_fft, config.hop_length, config.window_length, window)
    found = invert(magnitude(clip, config), config, len(clip))
    target, reached = (
        torch.stft(torch.as_tensor(sound), *sizes, return_complex=True).abs()
        for sound in (clip, found.audio)
    )
    wanted = 20 * float(torch.log10((reached - target).norm() / target.norm()))
    check(abs(found.convergence_db - wanted) < 0.1, "the convergence is not torch's")


def distorted(clip: np.ndarray) -> np.ndarray:
    """The clip overdriven, with an echo after 0.2 s."""
    driven = np.tanh(5 * clip / np.abs(clip).max())
    delay = round(0.2 * SAMPLE_RATE)
    echo = np.pad(driven, (delay, 0))[: len(clip)]
    return (0.3 * driven + 0.15 * echo).astype(np.float32)


def timed(work: Callable) -> tuple:
    began = time.perf_counter()
    result = work()
    return result, time.perf_counter() - began


if __name__ == "__main__":
    main()
