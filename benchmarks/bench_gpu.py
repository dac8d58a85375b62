"""Measure training, embedding and inversion on a GPU, beside the bare computation.

    python benchmarks/bench_gpu.py                         # on a GPU, in less than 8 minutes
    python benchmarks/bench_gpu.py --device cpu --quick    # every path once, with tiny sizes

Needs no network, no recordings and no pedalboard: its audio is decaying tones, wet with an echo and
a soft clip. It checks first, and times nothing if a check fails: over 500 steps, the loss curves of
the fast path (bfloat16, compiled, channels last) and the plain one agree, and the device's STFT and
inversion are the CPU's. Times are from the device's own events. Rows that do not fit into the time
limit are left out and listed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from common import check, print_header, print_table
from numpy.typing import NDArray
from synthetic_data import N_PAIRS, sounds, spectrograms, write_file
from torch import Tensor

from dafxtool.config import Configuration, SpectrogramConfig
from dafxtool.models.factory import build_model
from dafxtool.models.run import Run
from dafxtool.presets import PRESETS, with_segments_of
from dafxtool.spectrogram.fast_stft import FastStft
from dafxtool.spectrogram.phase_retrieval import (
    METHODS,
    griffin_lim,
    invert,
    project_onto_magnitudes,
    raar,
)
from dafxtool.spectrogram.stft import compress, magnitude
from dafxtool.training.loader import SplitLoader
from dafxtool.training.schedules import data_order
from dafxtool.training.train import train
from dafxtool.training.trainer import Trainer

NEVER = 1_000_000
MOST_CURVE_DISTANCE = 0.02  # of means over tenths of the curves
MOST_STFT_ERROR = 1e-4  # of the largest magnitude
MOST_CONVERGENCE_DB = 0.5
LAST_ROW_S = 340.0  # no row of the training table starts after this time


@dataclass(frozen=True)
class Amounts:
    """Sizes of the measurements; `quick` only runs every path."""

    curve_steps: int = 500
    warm_steps: int = 10
    steps: int = 100
    profiled_steps: int = 20
    n_rows: int = 512
    times_batch: tuple[int, ...] = (1, 4)  # of the preset's batch size
    repeats: int = 30
    n_embedded: int = 1024
    n_inverted: int = 16


QUICK = Amounts(20, 2, 4, 2, 32, (1,), 2, 16, 2)


class Device:
    """A torch device with its clock."""

    def __init__(self, name: str, quick: bool) -> None:
        self.name, self.quick, self.amounts = name, quick, QUICK if quick else Amounts()
        self.cuda = name != "cpu"
        self._began = time.monotonic()

    def spent_s(self) -> float:
        return time.monotonic() - self._began

    def mark(self) -> Any:
        """Return an event in the order of the device's work."""
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, first: Any, last: Any) -> float:
        if not self.cuda:
            return float(last - first)
        last.synchronize()
        return float(first.elapsed_time(last)) / 1000

    def time(self, function: Callable[[], object], repeats: int) -> float:
        """Return the seconds of one call; a first call is not counted."""
        function()
        first = self.mark()
        for _ in range(repeats):
            function()
        return self.seconds(first, self.mark()) / repeats

    def preset(self, name: str) -> Configuration:
        """Return the preset, with small sizes in a quick run."""
        made = PRESETS[name]
        if not self.quick:
            return made
        small = replace(made.spectrogram, n_fft=256, hop_length=128, window_length=256)
        made = with_segments_of(replace(made, spectrogram=small), 8000, 4096)
        model = {"n_latent": 24, "channels": (8,), "n_components": 12, "n_blocks": 1}
        if made.model.architecture == "residual":
            model |= {"n_effect": 8, "n_style": 4}
        return replace(made, model=replace(made.model, **model))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu [cuda]")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, every path once")
    chosen = parser.parse_args()
    if chosen.device != "cpu" and not torch.cuda.is_available():
        sys.exit(
            "there is no CUDA device here, so nothing was measured: run it on a machine that has "
            "one, or try the paths with --device cpu --quick."
        )
    device = Device(chosen.device, chosen.quick)
    if device.cuda:
        torch.cuda.set_device(device.name)
    name = torch.cuda.get_device_name(device.name) if device.cuda else "CPU"
    print_header(name, "torch", "h5py")
    if chosen.quick:
        print("Quick: tiny sizes, nothing compiled. The figures are not measurements.\n")
    check_transforms(device)
    check_curves(device)
    print(f"Checked in {device.spent_s():.0f} s: curves, STFT, inversion.\n", flush=True)
    measure_data(device)
    measure_embedding(device)
    measure_inversion(device)
    with tempfile.TemporaryDirectory() as folder:
        measure_training(device, Path(folder))
    print(f"Total time {device.spent_s():.0f} s.")


# --- checks -----------------------------------------------------------------------------------


def check_transforms(device: Device) -> None:
    """Check the device's STFT and inversions against those of the CPU."""
    for name in ("default", "week6"):
        config = device.preset(name).spectrogram
        sound = torch.from_numpy(sounds(config, 2))
        here, there = magnitude(sound, config), magnitude(sound.to(device.name), config).cpu()
        error = float((here - there).abs().max() / here.max())
        check(error <= MOST_STFT_ERROR, f"the device's STFT differs from the CPU's by {error:.1e}")
        result = [
            invert(here[0, 1], config, config.n_samples, device=where).convergence_db
            for where in ("cpu", device.name)
        ]
        distance = abs(result[0] - result[1])
        check(
            distance <= MOST_CONVERGENCE_DB,
            f"inversion ends at {result[1]:.1f} dB on the device and {result[0]:.1f} on the CPU",
        )


def check_curves(device: Device) -> None:
    """Check that the fast path trains like the plain one, with the same data, noise and weights."""
    for name in ("small", "week6"):
        made = device.preset(name)
        values = spectrograms(made.spectrogram, device.name)[0]
        plain, fast = (loss_curve(device, made, values, fast) for fast in (False, True))
        distance = float((fast / plain - 1).abs().max())
        check(distance <= MOST_CURVE_DISTANCE, f"{name}: the fast curve is {distance:.3f} off")
        print(f"{name}: loss {plain[0]:.4g} to {plain[-1]:.4g}, fast at most {distance:.4f} off.")


def loss_curve(device: Device, made: Configuration, values: Tensor, fast: bool) -> Tensor:
    """Return means of the loss over ten parts of a training."""
    n_steps = device.amounts.curve_steps
    trainer = prepared(device, made, fast, values, n_steps)
    losses = [
        trainer.step(values[torch.from_numpy(positions).to(values.device)], positions=positions)[0]
        for positions in data_order(len(values), trainer.config, 0)
    ]
    return torch.stack(losses).view(10, -1).mean(dim=1).cpu()


class Held(SplitLoader):
    """Rows on the device, for Trainer.prepare."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def batches(self, chosen: Iterator[NDArray[np.int64]]) -> Iterator[Tensor]:
        for positions in chosen:
            yield self.values[torch.from_numpy(positions).to(self.values.device)]


def trained_as(
    device: Device, made: Configuration, fast: bool, n_steps: int, batch_size: int | None = None
) -> Configuration:
    """Return the preset without labels, logging, validation and checkpoints."""
    compiled = "always" if fast and not device.quick else "never"
    training = replace(
        made.training,
        **{"batch_size": batch_size or made.training.batch_size, "max_steps": n_steps},
        **{"label_weight": 0.0, "log_every": NEVER, "validate_every": NEVER},
        **{"checkpoint_every": NEVER, "checkpoint_seconds": float(NEVER)},
        **{"precision": "bfloat16" if fast else "float32", "compile": compiled},
    )
    return replace(made, training=training)


def prepared(
    device: Device,
    made: Configuration,
    fast: bool,
    values: Tensor,
    n_steps: int,
    batch_size: int | None = None,
) -> Trainer:
    configured = trained_as(device, made, fast, n_steps, batch_size)
    trainer = Trainer(configured, tuple(values.shape[1:]), device.name)
    rows = Held(values)
    trainer.prepare(rows)
    trainer.fit_change(rows)
    trainer.describe(rows)
    trainer.compile(configured.training.batch_size)
    return trainer


# --- measurements -----------------------------------------------------------------------------


def measure_data(device: Device) -> None:
    """Time batches of spectrograms on the device, and of audio transformed there for each batch."""
    rows = []
    for name in ("default", "week6"):
        made = device.preset(name)
        config, size = made.spectrogram, made.training.batch_size
        standard, mean, std = spectrograms(config, device.name)
        selected, sound = standard.half(), torch.from_numpy(sounds(config)).to(device.name)
        sampled = torch.randint(0, N_PAIRS, (size,), device=device.name)

        def analysed(
            sound: Tensor = sound,
            sampled: Tensor = sampled,
            config: SpectrogramConfig = config,
            constants: tuple[float, float] = (mean, std),
        ) -> Tensor:
            return (compress(magnitude(sound[sampled], config), config) - constants[0]) / constants[
                1
            ]

        def gathered(selected: Tensor = selected, sampled: Tensor = sampled) -> Tensor:
            return selected[sampled].float()

        near = torch.allclose(analysed(), gathered(), atol=0.02)
        check(near, "audio transformed on the device gives other spectrograms than those stored")
        for data, function, values in (
            ("float16 spectrograms", gathered, selected),
            ("audio, STFT for each batch", analysed, sound),
        ):
            rate = size / device.time(function, device.amounts.repeats)
            megabytes = values[0].numel() * values.element_size() / 1e6
            rows.append((f"{name}, {data}", f"{rate:.0f}", f"{megabytes:.2f}"))
    print_table(("batches made on the device", "segments/s", "MB a segment"), rows)


def measure_embedding(device: Device) -> None:
    """Time Run.embed from memory and back, beside the encoder on one batch on the device."""
    rows = []
    for name in ("default", "week6"):
        made = device.preset(name)
        values = spectrograms(made.spectrogram, device.name)[0]
        model = build_model(made.model, values.shape[1:]).to(device.name).eval()
        place = {"path": Path("none"), "step": 0, "device": device.name, "data": {}}
        run = Run(configuration=made, model=model, mean=0.0, std=1.0, effects=[], **place)
        stored = values.half().cpu().numpy()
        stored = stored[np.arange(device.amounts.n_embedded) % N_PAIRS]

        @torch.inference_mode()
        def bare(model: Any = model, values: Tensor = values) -> Tensor:
            return model.encode(values)[0]

        def embedded(run: Run = run, stored: NDArray[Any] = stored) -> object:
            return run.embed(stored)

        ours = len(stored) / device.time(embedded, 1 if device.quick else 3)
        least = N_PAIRS / device.time(bare, device.amounts.repeats)
        rows.append((name, f"{least:.0f}", f"{ours:.0f}", f"{ours / least:.2f}"))
    columns = ("embedding", "bare encoder, segments/s", "Run.embed, segments/s", "ratio")
    print_table(columns, rows)


def measure_inversion(device: Device) -> None:
    """Time the inversion of clips one by one, and the iterations on all of them at once."""
    rows = []
    method = METHODS["fast"]
    assert method.raar is not None
    for name in ("default", "week6"):
        config = device.preset(name).spectrogram
        n = device.amounts.n_inverted
        targets = magnitude(torch.from_numpy(sounds(config, n)[:, 1]), config)

        def single(
            where: str, targets: Tensor = targets, config: SpectrogramConfig = config
        ) -> None:
            for target in targets:
                invert(target, config, config.n_samples, device=where)

        batch = targets.transpose(1, 2).contiguous().to(device.name)
        transform = FastStft(config, config.n_samples, batch.device)
        n_raar = round(method.raar_share * method.iterations)

        def together(
            batch: Tensor = batch, transform: FastStft = transform, n: int = n_raar
        ) -> None:
            first = project_onto_magnitudes(torch.ones_like(batch) + 0j, batch)
            assert method.raar is not None
            middle = raar(first, batch, transform, n, method.raar)
            griffin_lim(middle, batch, transform, method.iterations - n)

        rates = [
            n / device.time(lambda: single(device.name), 1),
            n / device.time(together, 1 if device.quick else 3),
        ]
        rows.append((name, *(f"{rate:.1f}" for rate in rates)))
    columns = (
        f"inversion, {method.iterations} iterations",
        "one after the other, clips/s",
        "iterations alone, all at once, clips/s",
    )
    print_table(columns, rows)


def measure_training(device: Device, folder: Path) -> None:
    """Time the loop of `train` from a file, beside the bare step on one batch on the device."""
    rows, left_out = [], []
    for name in ("week6", "default"):
        made = device.preset(name)
        data = folder / f"{name}.h5"
        write_file(data, made, device.amounts.n_rows)
        values = spectrograms(made.spectrogram, device.name)[0]
        for times in device.amounts.times_batch:
            size = times * made.training.batch_size
            if device.cuda and device.spent_s() > LAST_ROW_S:
                left_out.append(f"{name} with batches of {size}")
                continue
            plain, fast = (bare_rate(device, made, values, size, fast) for fast in (False, True))
            ours, busy = loop_rate(device, made, data, folder / "run", size)
            rates = (f"{plain:.0f}", f"{fast:.0f}", f"{ours:.0f}", f"{ours / fast:.2f}")
            rows.append((f"{name}, {size}", *rates, busy))
    columns = (
        *("training, batch", "bare step, plain", "bare step, fast", "our loop, fast"),
        *("loop / bare step", "device busy"),
    )
    print("Segments per second; the bare step repeats one batch.\n")
    print_table(columns, rows)
    if left_out:
        print(f"Left out, time limit reached: {', '.join(left_out)}.\n")


def bare_rate(device: Device, made: Configuration, values: Tensor, size: int, fast: bool) -> float:
    amounts = device.amounts
    trainer = prepared(device, made, fast, values, NEVER, size)
    batch = values[torch.arange(size, device=values.device) % len(values)]
    for _ in range(amounts.warm_steps):
        trainer.step(batch)
    return size / device.time(lambda: trainer.step(batch), amounts.steps)


def loop_rate(
    device: Device, made: Configuration, data: Path, run: Path, size: int
) -> tuple[float, str]:
    """Return segments per second, and the share of time in which the device computes."""
    amounts = device.amounts
    first, last = amounts.warm_steps, amounts.warm_steps + amounts.steps
    n_steps = last + amounts.profiled_steps + 1
    configured = trained_as(device, made, True, n_steps, size)
    with watched(device, first, last, n_steps - 1) as watch:
        train(data, run, configured, device.name, overwrite=True)
    return size * amounts.steps / device.seconds(*watch.marks), watch.busy


class Watch:
    """Times of two steps of a training, and how busy the device was between two later ones."""

    def __init__(self) -> None:
        self.marks: list[Any] = []
        self.busy = "-"
        self.n_steps = 0


@contextmanager
def watched(device: Device, first: int, last: int, end: int) -> Iterator[Watch]:
    """Record the start of the steps `first` and `last`; profile from there to `end`."""
    watch, step = Watch(), Trainer.step
    profiler = torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True
    )
    began = 0.0

    def noted(trainer: Trainer, *arguments: Any) -> Tensor:
        nonlocal began
        if watch.n_steps in (first, last):
            watch.marks.append(device.mark())
        if device.cuda and watch.n_steps == last:
            torch.cuda.synchronize()
            profiler.start()
            began = time.perf_counter()
        if device.cuda and watch.n_steps == end:
            torch.cuda.synchronize()
            spent_us = 1e6 * (time.perf_counter() - began)
            profiler.stop()
            watch.busy = f"{busy_us(profiler) / spent_us:.2f}"
        watch.n_steps += 1
        return step(trainer, *arguments)

    with patch.object(Trainer, "step", noted):
        yield watch


def busy_us(profiler: torch.profiler.profile) -> float:
    """Return the microseconds in which at least one kernel or copy ran."""
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events() or []
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    total, reached = 0.0, 0.0
    for begin, end in spans:
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


if __name__ == "__main__":
    main()
