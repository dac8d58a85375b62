"""Measure quality and speed of phase retrieval, beside torchaudio and librosa.

    python benchmarks/bench_inversion.py                          # the built-in recordings
    python benchmarks/bench_inversion.py --speech FOLDER --recordings FOLDER --limit 40
    python benchmarks/bench_inversion.py --recordings FOLDER --limit 6 --seconds 3

Prints a Markdown table: spectral convergence in dB (lower is better); the mean and the least gain
over torchaudio's GriffinLim(n_iter=32) with its default momentum 0.99, and on how many clips it is
worse; processor time relative to torchaudio, in the same run on one thread, with all methods on a
clip before the next clip. "from dry" inverts the clip with distortion and echo, from the phase of
the dry clip; its gain is over torchaudio on the same audio. PESQ (wide band, at 16 kHz, at most
4.64) is computed for the clips of --speech if the package pesq is installed
(pip install "dafxtool[bench]"), against the audio whose magnitudes were inverted.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from common import check, print_header

from dafxtool.audio.find_recordings import find_recordings
from dafxtool.config import SpectrogramConfig
from dafxtool.spectrogram.phase_retrieval import METHODS, invert, spectral_convergence_db
from dafxtool.spectrogram.stft import magnitude

SAMPLE_RATE = 24_000
SIZES = ((2048, 512, 2048), (4096, 2048, 4096), (4096, 1024, 2048))  # n_fft, hop, window
REFERENCE = "torchaudio GriffinLim, 32"
PESQ_RATE = 16_000


class Clip(NamedTuple):
    sound: np.ndarray
    is_speech: bool


class Found(NamedTuple):
    """Scores of one clip inverted by one method."""

    convergence_db: float
    gain_db: float
    seconds: float
    pesq: float = np.nan


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "--recordings", type=Path, help="folder of recordings; else the built-in ones"
    )
    options.add_argument("--speech", type=Path, help="folder of recordings of speech, for PESQ")
    options.add_argument("--limit", type=int, default=20, help="number of clips, evenly spaced")
    options.add_argument(
        "--seconds", type=float, default=5.5, help="length of a clip in s, at most"
    )
    options.add_argument("--quick", action="store_true", help="4 clips of 2 seconds")
    chosen = options.parse_args()
    folders = [(chosen.speech, True), (chosen.recordings, False)]
    named = [(folder, is_speech) for folder, is_speech in folders if folder is not None]
    if chosen.quick or not named:
        chosen.limit, chosen.seconds = min(chosen.limit, 4), min(chosen.seconds, 2.0)
    torch.set_num_threads(1)
    print_header("inversion", "torch", "torchaudio", "librosa", "scipy")
    n_samples, share = round(chosen.seconds * SAMPLE_RATE), chosen.limit // max(1, len(named))
    clips = [
        Clip(sound[:n_samples], is_speech)
        for folder, is_speech in named
        for sound in evenly(recorded(folder, share), share)
    ] or [Clip(sound[:n_samples], False) for sound in evenly(built_in(), chosen.limit)]
    total = sum(len(clip.sound) for clip in clips) / SAMPLE_RATE
    n_speech = sum(clip.is_speech for clip in clips)
    print(
        f"{len(clips)} clips, {n_speech} of them speech, {total:.0f} s in total, {SAMPLE_RATE} Hz, "
        "one thread, processor time\n"
    )
    columns = ("n_fft / hop / window", "method, iterations", "dB", "gain, dB", "of speech")
    columns += ("least gain", "worse clips", "time", "PESQ")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for sizes in SIZES:
        print_sizes(sizes, clips)


def evenly(items: list, limit: int) -> list:
    chosen = np.unique(np.linspace(0, len(items) - 1, min(limit, len(items))).astype(int))
    return [items[index] for index in chosen]


def recorded(folder: Path, limit: int) -> list[np.ndarray]:
    """Read recordings of at least a second, evenly spaced in the list of the folder."""
    from dafxtool.audio.reader import load_audio

    paths = evenly(find_recordings([folder]), 2 * limit)
    sounds = [load_audio(path, SAMPLE_RATE)[0] for path in paths]
    return [sound for sound in sounds if len(sound) >= SAMPLE_RATE and np.abs(sound).max() > 1e-3]


def built_in() -> list[np.ndarray]:
    """Read one built-in recording of each family."""
    from dafxtool.audio.example_recordings import CLIPS

    return [clip.read() for clip in {clip.family: clip for clip in CLIPS}.values()]


def print_sizes(sizes: tuple[int, int, int], clips: list[Clip]) -> None:
    n_fft, hop_length, window_length = sizes
    config = SpectrogramConfig(
        n_fft=n_fft, hop_length=hop_length, window_length=window_length, sample_rate=SAMPLE_RATE
    )
    check_convergence(clips[0].sound, config)
    short = Clip(clips[0].sound[: SAMPLE_RATE // 2], False)
    list(measure(short, config))  # warm-up: one-off work is not timed
    measured: dict[str, list[Found]] = defaultdict(list)
    for clip in clips:
        for name, results in measure(clip, config):
            measured[name].append(results)
    seconds = sum(results.seconds for results in measured[REFERENCE])
    spoken = np.array([clip.is_speech for clip in clips])
    for name, each in measured.items():
        values = np.array(each)
        gains, scores = values[:, 1], values[:, 3]
        of_speech = f"{gains[spoken].mean():+.1f}" if spoken.any() else "none"
        scored = scores[np.isfinite(scores)]
        pesq = f"{scored.mean():.2f}" if len(scored) else no_score(spoken)
        row = (f"{n_fft} / {hop_length} / {window_length}", name, f"{values[:, 0].mean():.1f}")
        row += (f"{gains.mean():+.1f}", of_speech, f"{gains.min():+.1f}", f"{(gains < 0).sum()}")
        row += (f"{values[:, 2].sum() / seconds:.2f}", pesq)
        print(f"| {' | '.join(row)} |", flush=True)


def no_score(spoken: np.ndarray) -> str:
    return "not installed" if spoken.any() else "no speech"


def measure(clip: Clip, config: SpectrogramConfig) -> Iterator[tuple[str, Found]]:
    from librosa import griffinlim
    from torchaudio.transforms import GriffinLim

    n_samples = len(clip.sound)
    sizes = {"hop_length": config.hop_length, "win_length": config.window_length}
    theirs = GriffinLim(config.n_fft, 32, power=1, length=n_samples, **sizes)

    def their_inversion(target: torch.Tensor) -> np.ndarray:
        torch.manual_seed(0)
        return theirs(target).numpy()

    def librosa_inversion(target: torch.Tensor) -> np.ndarray:
        plain = target.numpy()
        more = {"n_fft": config.n_fft, "length": n_samples, "pad_mode": "reflect"}
        return griffinlim(plain, n_iter=32, random_state=0, **sizes, **more)

    def ours(target: torch.Tensor, method: str) -> np.ndarray:
        return invert(target, config, n_samples, method).audio

    target = magnitude(clip.sound, config).contiguous()
    methods = {REFERENCE: their_inversion, "librosa griffinlim, 32": librosa_inversion}
    for name, method in METHODS.items():
        methods[f"{name}, {method.iterations}"] = lambda target, name=name: ours(target, name)
    reference = 0.0
    for name, inverter in methods.items():
        sound, seconds = timed(lambda inverter=inverter: inverter(target))
        convergence = spectral_convergence_db(sound, target, config)
        reference = convergence if name == REFERENCE else reference
        score = pesq_score(clip.sound, sound) if clip.is_speech else np.nan
        yield name, Found(convergence, reference - convergence, seconds, score)
    wet_sound = distorted(clip.sound)
    wet = magnitude(wet_sound, config).contiguous()
    reference = spectral_convergence_db(their_inversion(wet), wet, config)
    for name in ("fast", "best"):
        results, seconds = timed(
            lambda name=name: invert(wet, config, n_samples, name, phase_from=clip.sound)
        )
        convergence = spectral_convergence_db(results.audio, wet, config)
        score = pesq_score(wet_sound, results.audio) if clip.is_speech else np.nan
        label = f"{name}, {results.iterations}, from dry"
        yield label, Found(convergence, reference - convergence, seconds, score)


def pesq_score(reference: np.ndarray, results: np.ndarray) -> float:
    """Return PESQ (ITU-T P.862.2); NaN without the package or without an utterance."""
    from torchaudio.functional import resample

    try:
        import pesq
    except ImportError:
        return np.nan
    both = torch.from_numpy(np.stack([reference, results]))
    sounds = resample(both, SAMPLE_RATE, PESQ_RATE).numpy()
    try:
        return float(pesq.pesq(PESQ_RATE, *sounds, "wb"))
    except pesq.NoUtterancesError:
        return np.nan


def check_convergence(clip: np.ndarray, config: SpectrogramConfig) -> None:
    """Check the reported convergence with plain torch: 20 lg of the relative magnitude error."""
    window = torch.hann_window(config.window_length)
    sizes = (config.n_fft, config.hop_length, config.window_length, window)
    results = invert(magnitude(clip, config), config, len(clip))
    target, reached = (
        torch.stft(torch.as_tensor(sound), *sizes, return_complex=True).abs()
        for sound in (clip, results.audio)
    )
    expected = 20 * float(torch.log10((reached - target).norm() / target.norm()))
    check(abs(results.convergence_db - expected) < 0.1, "the convergence differs from torch's")


def distorted(clip: np.ndarray) -> np.ndarray:
    """Return the clip with overdrive, and an echo after 0.2 s."""
    driven = np.tanh(5 * clip / np.abs(clip).max())
    delay = round(0.2 * SAMPLE_RATE)
    echo = np.pad(driven, (delay, 0))[: len(clip)]
    return (0.3 * driven + 0.15 * echo).astype(np.float32)


def timed(work: Callable) -> tuple:
    """Return the result and the processor time in seconds."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


if __name__ == "__main__":
    main()
