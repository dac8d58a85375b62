"""Measure spectrograms per second, beside the bare transform and a loop with librosa.

    python benchmarks/bench_spectrogram.py                   # the built-in recordings
    python benchmarks/bench_spectrogram.py --recordings FOLDER

dafxtool goes from pairs.h5 to spectrograms.h5. The reference is torch.stft alone on audio in
memory, with h5py writing as many bytes that were computed before. The plain script adds magnitude,
power law and standardisation with given constants, likewise from memory. The librosa loop reads a
WAV file, transforms it and saves an array, file by file.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from common import check, emptied, options, print_header, print_rates, recordings_in, side_by_side
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.dataset.render import render
from dafxtool.effects.builtin import builtin_effects
from dafxtool.presets import PRESETS
from dafxtool.spectrogram.compute import compute_spectrograms

CONFIG = PRESETS["default"].spectrogram
BATCH = 15  # pairs, about as many as compute_spectrograms takes at a time
FLOOR = "torch.stft + h5py"
OURS = "dafxtool"
BY_SEGMENT = "dafxtool, standardised by segment"


def main() -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--pairs", type=int, default=90, help="number of pairs [90]")
    chosen = parser.parse_args()
    print_header("spectrogram", "torch", "h5py", "librosa")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        make_pairs(recordings_in(chosen.recordings, scratch), scratch, chosen.pairs)
        measure(scratch, chosen.rounds)


def make_pairs(recordings: Path, scratch: Path, n_pairs: int) -> None:
    """Write the same pairs as pairs.h5 and as a folder of WAV files."""
    known = builtin_effects()
    effects: list[Any] = [(known[name], {}) for name in ("overdrive", "delay")]
    for output in (scratch / "pairs.h5", scratch / "wav"):
        render([recordings], output, effects, pairs_per_effect=n_pairs // 2)


def measure(scratch: Path, rounds: int) -> None:
    pairs, made, kept = scratch / "pairs.h5", scratch / "made", scratch / "kept"
    files = sorted((scratch / "wav").glob("*.wav"))
    emptied(kept)()
    ours(pairs, kept)
    by_librosa(files[:8], kept)
    with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
        sound = torch.from_numpy(reader.rows(slice(None)))
    with storage.Hdf5Reader(kept / "dataset.h5", storage.SPECTROGRAMS) as reader:
        written = reader.rows(slice(None))
        constants = reader.configuration["mean"], reader.configuration["std"]
    check_values(sound, written, constants, [kept / f"{path.stem}.npy" for path in files[:8]])
    timings = side_by_side(
        {
            FLOOR: lambda: floor(sound, written, made),
            "plain torch script": lambda: plain(sound, constants, made),
            OURS: lambda: ours(pairs, made),
            BY_SEGMENT: lambda: ours(pairs, made, "segment"),
            "librosa loop": lambda: by_librosa(files, made),
        },
        rounds,
        before=emptied(made),
    )
    shape = " x ".join(map(str, written.shape[1:]))
    print(
        f"{len(sound)} pairs of {CONFIG.n_samples} samples, n_fft {CONFIG.n_fft}, hop "
        f"{CONFIG.hop_length}: {shape} in float16; {torch.get_num_threads()} threads.\n"
    )
    print_rates(timings, len(sound), "pairs", FLOOR)


def ours(pairs: Path, folder: Path, standardisation: str = "dataset") -> None:
    config = replace(CONFIG, standardisation=standardisation)
    compute_spectrograms(pairs, folder / f"{standardisation}.h5", config, device="cpu")


def transform(sound: torch.Tensor) -> torch.Tensor:
    return torch.stft(
        sound.flatten(0, 1),
        CONFIG.n_fft,
        CONFIG.hop_length,
        window=torch.hann_window(CONFIG.window_length),
        return_complex=True,
    )


def floor(sound: torch.Tensor, written: NDArray[np.float16], folder: Path) -> None:
    with h5py.File(folder / "floor.h5", "w") as file:
        output = file.create_dataset(
            "spectrogram", written.shape, written.dtype, chunks=(1, *written.shape[1:])
        )
        for start in range(0, len(sound), BATCH):
            transform(sound[start : start + BATCH])
            output[start : start + BATCH] = written[start : start + BATCH]


def plain(sound: torch.Tensor, constants: tuple[float, float], folder: Path) -> None:
    shape = (len(sound), 2, *CONFIG.shape)
    with h5py.File(folder / "plain.h5", "w") as file:
        output = file.create_dataset("spectrogram", shape, np.float16, chunks=(1, *shape[1:]))
        for start in range(0, len(sound), BATCH):
            output[start : start + BATCH] = plain_values(sound[start : start + BATCH], constants)


def plain_values(sound: torch.Tensor, constants: tuple[float, float]) -> NDArray[np.float16]:
    mean, std = constants
    values = (transform(sound).abs() ** CONFIG.exponent - mean) / std
    return values.half().reshape(len(sound), 2, *CONFIG.shape).numpy()


def by_librosa(files: list[Path], folder: Path) -> None:
    import librosa

    for path in files:
        sound, _ = librosa.load(path, sr=None)
        spectrum = librosa.stft(
            sound, n_fft=CONFIG.n_fft, hop_length=CONFIG.hop_length, pad_mode="reflect"
        )
        compressed = (np.abs(spectrum) ** CONFIG.exponent).astype(np.float16)
        np.save(folder / f"{path.stem}.npy", compressed)


def check_values(
    sound: torch.Tensor,
    written: NDArray[np.float16],
    constants: tuple[float, float],
    by_librosa: list[Path],
) -> None:
    """Check that our file equals the results of torch and of librosa, to float16's precision.

    With librosa's, linear magnitudes are compared: in silence, the power law would magnify values
    that one transform rounds to 0 and the other does not.
    """
    for start in range(0, len(sound), BATCH):
        part = slice(start, start + BATCH)
        expected = plain_values(sound[part], constants)
        check(
            np.allclose(written[part], expected, rtol=2e-3, atol=2e-3),
            "values differ from torch's",
        )
    mean, std = constants
    for number, path in enumerate(by_librosa):
        values = written[number // 2, number % 2].astype(np.float32) * std + mean
        result, expected = (
            each.astype(np.float64).clip(0) ** (1 / CONFIG.exponent)
            for each in (values, np.load(path))
        )
        near = np.linalg.norm(result - expected) < 3e-3 * np.linalg.norm(expected)
        check(near, f"spectrograms differ from librosa's at {path.name}")


if __name__ == "__main__":
    main()
