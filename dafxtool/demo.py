"""Run the whole pipeline on the example recordings with a small dataset.

Each step calls the same functions as its command. No results are shipped: the demo trains the model
that it uses. demo.json lists the completed steps, so that a second call can resume an interrupted
one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from dafxtool import __version__, presets
from dafxtool.api.defaults import TRY_ON
from dafxtool.audio.example_recordings import write_clips
from dafxtool.config import Configuration
from dafxtool.dataset.render import render
from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.effect import EffectChoice
from dafxtool.errors import OutputExistsError
from dafxtool.latents.embed import embed
from dafxtool.latents.examples import load_example
from dafxtool.latents.interpolate import Interpolation, interpolate
from dafxtool.latents.interpolation_results import (
    draw_interpolation,
    save_interpolation_audio,
)
from dafxtool.latents.invert import invert_file
from dafxtool.latents.latent_map import draw_latent_map, latent_map, map_title
from dafxtool.latents.reconstruct import (
    draw_reconstructions,
    reconstruct_pairs,
    write_reconstruction_table,
)
from dafxtool.latents.table import read_latents, write_latents
from dafxtool.models.run import Run, load_run
from dafxtool.spectrogram.compute import compute_spectrograms
from dafxtool.training.tensorboard import TensorBoardCallback, draw_training
from dafxtool.training.train import train
from dafxtool.utils import files
from dafxtool.utils.device import n_cuda_devices, usable_cores
from dafxtool.utils.locks import sole_writer
from dafxtool.utils.progress import SILENT, Progress

EFFECTS = ("overdrive", "delay", "ring-modulator", "low-pass")
TRAINING_MINUTES = 1.0  # time limit, so that the demo takes under three minutes on any machine
STATE = "demo.json"  # marks a folder as written by the demo
MADE_BY = "dafxtool demo"

Endpoints = tuple[tuple[str, EffectChoice], tuple[str, EffectChoice]]  # recording and effect, twice


@dataclass
class DemoResult:
    """Outputs of the demo.

    written  (step, seconds, path, description) of each output
    n_bytes  size of the folder
    """

    folder: Path
    written: list[tuple[str, float, Path, str]]
    n_bytes: int


def demo(
    folder: Path,
    seed: int = 0,
    workers: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> DemoResult:
    """Run all steps from rendering to inversion, and write their outputs to `folder`.

    Resumes an earlier demo in the folder at its first missing step. Starts from scratch if the
    seed, preset or version differs, or with overwrite. Replaces only files of the demo.

    OutputExistsError  the folder contains other files, or another demo is writing there
    """
    _check_folder(folder)
    with files.disk_errors(folder), sole_writer(folder, is_folder=True):
        return _Demo(folder, seed, workers or usable_cores(), device, progress).run(overwrite)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(
            f"{folder}: is a file (expected a folder). Choose another --output."
        )
    if not folder.is_dir() or _read_state(folder):
        return
    if any(not path.name.startswith(".") for path in folder.iterdir()):
        raise OutputExistsError(
            f"{folder}: contains files that are not from a demo. Choose another --output."
        )


def _read_state(folder: Path) -> dict[str, Any]:
    """Read demo.json; empty if it does not exist or was not written by the demo."""
    with suppress(OSError, ValueError):
        state = json.loads((folder / STATE).read_text("utf-8"))
        if isinstance(state, dict) and state.get("made_by") == MADE_BY:
            return {"seconds": {}, **state}
    return {}


@dataclass(frozen=True)
class _Step:
    """One output of the demo, and the function that writes it."""

    name: str
    path: str
    description: str
    write: Callable[[Path], object]
    is_removed: bool = False  # after the last step


class _Demo:
    """Run the steps of the demo in order."""

    def __init__(
        self, folder: Path, seed: int, workers: int, device: str, progress: Progress
    ) -> None:
        self.folder, self.seed, self.workers = folder, seed, workers
        self.device, self.progress = device, progress
        self.configuration = _configuration(seed)
        known = builtin_effects()
        self.effects: list[EffectChoice] = [EffectChoice(known[name], {}) for name in EFFECTS]

    def run(self, overwrite: bool) -> DemoResult:
        """Run the first missing step and all steps after it; return the outputs of all steps."""
        state = self._state(overwrite)
        seconds, steps = state["seconds"], self._steps()
        first = self._first_missing(steps, seconds)
        if first == len(steps):
            self.progress.message(f"{self.folder}: complete. Use --overwrite to run it again.")
        elif first:
            self.progress.message(f"{self.folder}: resuming at step {steps[first].name!r}")
        for step in steps[first:]:
            self.progress.message(f"-- {step.name}")
            started = time.monotonic()
            step.write(self.folder / step.path)
            seconds[step.path] = round(time.monotonic() - started, 1)
            self._save(state)
        for step in steps:
            if step.is_removed:
                (self.folder / step.path).unlink(missing_ok=True)
        return DemoResult(
            self.folder,
            [
                (step.name, seconds[step.path], self.folder / step.path, step.description)
                for step in steps
            ],
            sum(path.stat().st_size for path in self.folder.rglob("[!.]*") if path.is_file()),
        )

    def _first_missing(self, steps: Sequence[_Step], seconds: Mapping[str, float]) -> int:
        """Return the index of the first step to run, or the number of steps if none is missing.

        All later steps are run again, because they depend on earlier ones.
        """
        missing = [
            index
            for index, step in enumerate(steps)
            if step.path not in seconds or not (self.folder / step.path).exists()
        ]
        if all(steps[index].is_removed for index in missing):
            return len(steps)
        return missing[0]

    def _state(self, overwrite: bool) -> dict[str, Any]:
        """Read the state of an earlier call, or start a new one if the options differ."""
        earlier = _read_state(self.folder)
        options = {"version": __version__, "preset": self.configuration.preset, "seed": self.seed}
        state = {"made_by": MADE_BY, **options, "seconds": {}}
        if earlier and not overwrite:
            if {name: earlier.get(name) for name in options} == options:
                state["seconds"] = dict(earlier["seconds"])
            else:
                self.progress.message(f"{self.folder}: starting from scratch: options differ")
        self._save(state)
        return state

    def _save(self, state: dict[str, Any]) -> None:
        with files.atomic_write(self.folder / STATE, overwrite=True) as temporary:
            temporary.write_text(json.dumps(state, indent=1), "utf-8")

    def _steps(self) -> list[_Step]:
        pairs = f"dry and wet segments of {', '.join(EFFECTS)}"
        overdrive, delay = self.effects[:2]
        two_effects = (("a.wav", delay), ("a.wav", overdrive))
        two_recordings = (("a.wav", overdrive), ("b.wav", overdrive))
        draw, write = self._draw_interpolation, self._write_interpolation
        return [
            _Step("recordings", "recordings", "20 example recordings", self._copy_recordings),
            _Step("render", "pairs.h5", pairs, self._render),
            _Step(
                "spectrogram",
                "spectrograms.h5",
                "standardised spectrograms, removed at the end",
                self._analyse,
                is_removed=True,
            ),
            _Step("train", "run", "model; monitor it with tensorboard --logdir", self._train),
            _Step("embed", "latents.h5", "one vector per held-out segment", self._embed),
            _Step("map", "map.png", "latent space of held-out recordings by effect", self._map),
            _Step(
                "reconstruct",
                "reconstruction.png",
                "typical reconstructions with errors",
                self._reconstruct,
            ),
            _Step(
                "interpolate",
                "interpolation-effects.png",
                "delay to overdrive, same recording",
                partial(draw, two_effects),
            ),
            _Step(
                "interpolate",
                "interpolation-effects",
                "audio of every step",
                partial(write, two_effects),
            ),
            _Step(
                "interpolate",
                "interpolation-recordings.png",
                "a.wav to b.wav, same effect",
                partial(draw, two_recordings),
            ),
            _Step(
                "interpolate",
                "interpolation-recordings",
                "audio of every step",
                partial(write, two_recordings),
            ),
            _Step("invert", "inverted.wav", "audio of a stored wet spectrogram", self._invert),
        ]

    @cached_property
    def model(self) -> Run:
        """Return the trained model."""
        return load_run(self.folder / "run", self.device)

    def _copy_recordings(self, output: Path) -> None:
        write_clips(output, overwrite=True)
        for name, clip in TRY_ON.items():
            clip.write_wav(self.folder / name, overwrite=True)

    def _render(self, output: Path) -> None:
        render(
            [self.folder / "recordings"],
            output,
            self.effects,
            self.configuration.segments,
            self.configuration.split,
            self.configuration.pairs_per_effect,
            seed=self.seed,
            workers=self.workers,
            overwrite=True,
            progress=self.progress,
        )

    def _analyse(self, output: Path) -> None:
        compute_spectrograms(
            self.folder / "pairs.h5",
            output,
            self.configuration.spectrogram,
            device=self.device,
            overwrite=True,
            progress=self.progress,
        )

    def _train(self, output: Path) -> None:
        train(
            self.folder / "spectrograms.h5",
            output,
            self.configuration,
            self.device,
            overwrite=True,
            callbacks=(TensorBoardCallback(),),
            progress=self.progress,
        )
        draw_training(output / "curves.png", output, overwrite=True)

    def _embed(self, output: Path) -> None:
        embedded = embed(
            [self.folder / "pairs.h5"], self.model, splits=("test",), progress=self.progress
        )
        write_latents(embedded, output, overwrite=True)

    def _map(self, output: Path) -> None:
        embedded = read_latents(self.folder / "latents.h5")
        projection = latent_map(embedded, seed=self.seed)
        draw_latent_map(output, embedded, projection, map_title(embedded), True)

    def _reconstruct(self, output: Path) -> None:
        reconstructions, table = reconstruct_pairs(
            self.folder / "pairs.h5", self.model, progress=self.progress
        )
        draw_reconstructions(output, reconstructions[:2], self.model, True)
        write_reconstruction_table(output.with_suffix(".csv"), table, True)

    def _draw_interpolation(self, endpoints: Endpoints, output: Path) -> None:
        draw_interpolation(output, self._interpolate(endpoints), self.model, True)

    def _write_interpolation(self, endpoints: Endpoints, output: Path) -> None:
        save_interpolation_audio(
            output, self._interpolate(endpoints), self.model, overwrite=True, progress=self.progress
        )

    def _interpolate(self, endpoints: Endpoints) -> Interpolation:
        a, b = (load_example(self.folder / name, self.model, effect) for name, effect in endpoints)
        return interpolate(a, b, self.model)

    def _invert(self, output: Path) -> None:
        invert_file(self.folder / "spectrograms.h5", output, overwrite=True, progress=self.progress)


def _configuration(seed: int) -> Configuration:
    """Return the preset for this machine's device, with a time limit for training."""
    name = "default" if n_cuda_devices() else "small"
    # Compiling takes as long as this training.
    training = {"seed": seed, "max_minutes": TRAINING_MINUTES, "compile": "never"}
    configuration = presets.configure(name, overrides={"training": training})
    small = presets.PRESETS["small"]  # its split and size suit the few example recordings
    return replace(configuration, split=small.split, pairs_per_effect=small.pairs_per_effect)
