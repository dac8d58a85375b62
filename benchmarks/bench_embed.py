"""Measure segments embedded per second, from files, beside STFT and model on arrays in memory.

    python benchmarks/bench_embed.py                   # the built-in recordings
    python benchmarks/bench_embed.py --recordings FOLDER

dafxtool goes from pairs.h5, from spectrograms.h5 and from a folder of recordings to latents,
including reading and decoding. The reference is the same arithmetic in memory: `Run.embed_audio`,
batch by batch. The plain script does it with torch's own operations. Reading, STFT and model alone
are measured too. The model is untrained, which does not change its speed.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Timings, check, options, print_header, print_rates, recordings_in, side_by_side
from numpy.typing import NDArray

from dafxtool import storage
from dafxtool.audio.find_recordings import find_recordings
from dafxtool.config import Configuration
from dafxtool.dataset.render import render
from dafxtool.dataset.segments import consecutive_segments
from dafxtool.effects.builtin import builtin_effects
from dafxtool.errors import RecordingError
from dafxtool.latents.embed import embed
from dafxtool.models.factory import build_model
from dafxtool.models.run import Run
from dafxtool.presets import PRESETS
from dafxtool.spectrogram.compute import compute_spectrograms
from dafxtool.spectrogram.transform import analyse_to_tensor
from dafxtool.utils.device import pick_device

BATCH = 16
FLOOR = "analysis and model, in memory"
PLAIN = "the same with plain torch"


def main() -> None:
    parser = options(__doc__, rounds=3)
    parser.add_argument("--pairs", type=int, default=96, help="number of pairs [96]")
    parser.add_argument("--files", type=int, default=60, help="largest number of recordings [60]")
    parser.add_argument("--preset", default="small", choices=tuple(PRESETS), help="[small]")
    parser.add_argument("--device", default="cpu", help="cpu or cuda [cpu]")
    chosen = parser.parse_args()
    print_header("embed", "torch", "h5py")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        run = some_run(PRESETS[chosen.preset], pick_device(chosen.device))
        named = recordings_in(chosen.recordings, scratch)
        make_files(named, scratch, run, chosen.pairs)
        folder = some_files(named, scratch / "some", chosen.files)
        where = f"{run.device}, {torch.get_num_threads()} threads, preset {chosen.preset}"
        measure_pairs(run, scratch, chosen.rounds, where)
        measure_recordings(run, folder, chosen.rounds, where)


def some_run(configuration: Configuration, device: str) -> Run:
    torch.manual_seed(0)
    model = build_model(configuration.model, (2, *configuration.spectrogram.shape))
    for values in model.state_dict().values():  # in place of what training fits
        if values.is_floating_point() and not values.any():
            values.normal_(std=0.02)
    path = Path("untrained")
    return Run(path, configuration, model.to(device).eval(), 0.5, 0.4, [], 0, device, {})


def make_files(recordings: Path, scratch: Path, run: Run, n_pairs: int) -> None:
    known, configuration = builtin_effects(), run.configuration
    effects: list[Any] = [(known[name], {}) for name in ("overdrive", "delay")]
    render(
        [recordings],
        scratch / "pairs.h5",
        effects,
        pairs_per_effect=n_pairs // 2,
        segments=configuration.segments,
    )
    compute_spectrograms(
        scratch / "pairs.h5", scratch / "spectrograms.h5", run.spectrogram_config, device="cpu"
    )


def some_files(named: Path, folder: Path, most: int) -> Path:
    """Copy at most this many recordings, evenly spaced in the list, into a folder."""
    folder.mkdir()
    result = find_recordings([named])
    for number, path in enumerate(result[:: max(1, len(result) // most)][:most]):
        shutil.copy(path, folder / f"{number:04d}{path.suffix}")
    return folder


def measure_pairs(run: Run, scratch: Path, rounds: int, where: str) -> None:
    pairs, spectrograms = scratch / "pairs.h5", scratch / "spectrograms.h5"
    with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
        sound = reader.rows(slice(None))
    values = spectrogram_batches(run, sound)
    check_values(run, sound, pairs)
    timings = side_by_side(
        {
            FLOOR: lambda: in_memory(run, sound),
            PLAIN: lambda: plain(run, sound),
            "dafxtool, from pairs.h5": lambda: embed([pairs], run),
            "dafxtool, from spectrograms.h5": lambda: embed([spectrograms], run),
            "only reading pairs.h5": lambda: read(pairs),
            "only the analysis": lambda: spectrogram_batches(run, sound),
            "only the model": lambda: [run.embed(each) for each in values],
        },
        rounds,
    )
    show(timings, len(sound), f"{len(sound)} pairs of {sound.shape[2]} samples; {where}.")


def measure_recordings(run: Run, folder: Path, rounds: int, where: str) -> None:
    config = run.configuration.segments
    files = sorted(folder.iterdir())

    def decode() -> list[NDArray[np.float32]]:
        result: list[NDArray[np.float32]] = []
        for path in files:
            with contextlib.suppress(RecordingError):  # a silent recording, which embed skips too
                result += [each.audio for each in consecutive_segments(path, config)]
        return result

    dry = np.stack(decode())
    sound = np.stack([dry, dry], axis=1)
    timings = side_by_side(
        {
            FLOOR: lambda: in_memory(run, sound),
            PLAIN: lambda: plain(run, sound),
            "dafxtool, from recordings": lambda: embed([folder], run),
            "only decoding, one thread": decode,
        },
        rounds,
    )
    about = f"{len(files)} recordings, {len(sound)} segments of {dry.shape[1]} samples; {where}."
    show(timings, len(sound), about)


def show(timings: Timings, amount: int, about: str) -> None:
    print(f"{about}\n")
    print_rates(timings, amount, "segments", FLOOR)


def batches(sound: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [sound[start : start + BATCH] for start in range(0, len(sound), BATCH)]


def in_memory(run: Run, sound: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([run.embed_audio(each) for each in batches(sound)])


def spectrogram_batches(run: Run, sound: NDArray[np.float32]) -> list[torch.Tensor]:
    config = run.spectrogram_config
    return [
        analyse_to_tensor(each, config, run.mean, run.std, run.device)[0] for each in batches(sound)
    ]


def read(pairs: Path) -> None:
    with storage.Hdf5Reader(pairs, storage.PAIRS) as reader:
        for start in range(0, len(reader), BATCH):
            reader.rows(slice(start, start + BATCH))


@torch.inference_mode()
def plain(run: Run, sound: NDArray[np.float32]) -> NDArray[np.float32]:
    config = run.spectrogram_config
    window = torch.hann_window(config.window_length, device=run.device)
    result = []
    for each in batches(sound):
        spectrum = torch.stft(
            torch.from_numpy(each).to(run.device).flatten(0, 1),
            config.n_fft,
            config.hop_length,
            config.window_length,
            window,
            return_complex=True,
        )
        values = (spectrum.abs() ** config.exponent - run.mean) / run.std
        mean, _ = run.model.encode(values.reshape(len(each), 2, *config.shape))
        result.append(mean.cpu().numpy())
    return np.concatenate(result)


def check_values(run: Run, sound: NDArray[np.float32], pairs: Path) -> None:
    """Check that latents from the file are those of plain torch."""
    expected, result = plain(run, sound), embed([pairs], run).latent
    near = np.linalg.norm(result - expected) < 1e-3 * np.linalg.norm(expected)
    check(near, "latents of pairs.h5 differ from those of plain torch")


if __name__ == "__main__":
    main()
