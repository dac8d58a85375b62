"""Run the whole pipeline once, small, on the example recordings.

Each step calls what its command calls. Nothing is prepared: the model that draws the figures is
trained while you wait. demo.json lists the steps that are done, so that a second call continues
where a first one was interrupted.
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
from dafxtool.latents.interpolate import (
    Interpolation,
    draw_interpolation,
    interpolate,
    sound_interpolation,
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
from dafxtool.utils.device import n_cuda_devices
from dafxtool.utils.locks import sole_writer
from dafxtool.utils.progress import SILENT, Progress

EFFECTS = ("overdrive", "delay", "ring-modulator", "low-pass")
TRAINING_MINUTES = 1.0  # at most, on any machine: the demo ends in under three
STATE = "demo.json"  # a folder without it is not a demo's
MADE_BY = "dafxtool demo"

Ends = tuple[tuple[str, EffectChoice], tuple[str, EffectChoice]]  # recording and effect, twice


@dataclass
class DemoResult:
    """What was written: (step, seconds, path, what to see there), and the size of the folder."""

    folder: Path
    written: list[tuple[str, float, Path, str]]
    n_bytes: int


def demo(
    folder: Path,
    seed: int = 0,
    workers: int = 1,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> DemoResult:
    """Render, analyse, train, embed, map, reconstruct, interpolate and invert into `folder`.

    A folder that an earlier demo left is completed from its first missing step on. It is renewed
    from the start where the seed, the preset or the version differs, or with overwrite. Only files
    that the demo itself writes are replaced.

    OutputExistsError  the folder holds other files, or another demo is writing there
    """
    _check_folder(folder)
    with files.disk_errors(folder), sole_writer(folder, is_folder=True):
        return _Demo(folder, seed, workers, device, progress).run(overwrite)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"{folder} is a file: give --output the name of a folder.")
    if not folder.is_dir() or _read_state(folder):
        return
    if any(not path.name.startswith(".") for path in folder.iterdir()):
        raise OutputExistsError(
            f"{folder} holds files that are not a demo's: choose another --output."
        )


def _read_state(folder: Path) -> dict[str, Any]:
    """Read demo.json; empty where there is none or it was written by something else."""
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
    what: str
    write: Callable[[Path], object]
    is_removed: bool = False  # once all steps are done


class _Demo:
    """The steps, in order, and the table of what they wrote."""

    def __init__(
        self, folder: Path, seed: int, workers: int, device: str, progress: Progress
    ) -> None:
        self.folder, self.seed, self.workers = folder, seed, workers
        self.device, self.progress = device, progress
        self.configuration = _configuration(seed)
        known = builtin_effects()
        self.effects: list[EffectChoice] = [EffectChoice(known[name], {}) for name in EFFECTS]

    def run(self, overwrite: bool) -> DemoResult:
        """Run the steps from the first missing one on; report all of them."""
        state = self._state(overwrite)
        seconds, steps = state["seconds"], self._steps()
        first = self._first_missing(steps, seconds)
        if first == len(steps):
            self.progress.say(f"{self.folder} is complete already; --overwrite makes it again")
        elif first:
            self.progress.say(f"{self.folder}: continuing with the step {steps[first].name!r}")
        for step in steps[first:]:
            self.progress.say(f"-- {step.name}")
            started = time.monotonic()
            step.write(self.folder / step.path)
            seconds[step.path] = round(time.monotonic() - started, 1)
            self._save(state)
        for step in steps:
            if step.is_removed:
                (self.folder / step.path).unlink(missing_ok=True)
        return DemoResult(
            self.folder,
            [(step.name, seconds[step.path], self.folder / step.path, step.what) for step in steps],
            sum(path.stat().st_size for path in self.folder.rglob("[!.]*") if path.is_file()),
        )

    def _first_missing(self, steps: Sequence[_Step], seconds: Mapping[str, float]) -> int:
        """Return the index of the first step to run; their number if the demo is complete.

        Whatever follows a step is run again with it, because it depends on it.
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
        """Read what an earlier call left; start anew where it had other options."""
        found = _read_state(self.folder)
        options = {"version": __version__, "preset": self.configuration.preset, "seed": self.seed}
        state = {"made_by": MADE_BY, **options, "seconds": {}}
        if found and not overwrite:
            if {name: found.get(name) for name in options} == options:
                state["seconds"] = dict(found["seconds"])
            else:
                self.progress.say(f"{self.folder}: renewing a demo that had other options")
        self._save(state)
        return state

    def _save(self, state: dict[str, Any]) -> None:
        with files.atomic_write(self.folder / STATE, overwrite=True) as temporary:
            temporary.write_text(json.dumps(state, indent=1), "utf-8")

    def _steps(self) -> list[_Step]:
        pairs = f"dry and wet segments: {', '.join(EFFECTS)}"
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
                "their standardised spectrograms; removed at the end",
                self._analyse,
                is_removed=True,
            ),
            _Step("train", "run", "the model; monitor: tensorboard --logdir", self._train),
            _Step("embed", "latents.h5", "one vector a held-out segment", self._embed),
            _Step("map", "map.png", "effects in the latent space, unheard recordings", self._map),
            _Step(
                "reconstruct",
                "reconstruction.png",
                "typical examples, with errors",
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
                "every step as audio",
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
                "every step as audio",
                partial(write, two_recordings),
            ),
            _Step("invert", "inverted.wav", "a stored wet spectrogram as audio", self._invert),
        ]

    @cached_property
    def model(self) -> Run:
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
            observers=(TensorBoardCallback(),),
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
        made, table = reconstruct_pairs(
            self.folder / "pairs.h5", self.model, progress=self.progress
        )
        draw_reconstructions(output, made[:2], self.model, True)
        write_reconstruction_table(output.with_suffix(".csv"), table, True)

    def _draw_interpolation(self, ends: Ends, output: Path) -> None:
        draw_interpolation(output, self._interpolate(ends), self.model, True)

    def _write_interpolation(self, ends: Ends, output: Path) -> None:
        sound_interpolation(
            output, self._interpolate(ends), self.model, overwrite=True, progress=self.progress
        )

    def _interpolate(self, ends: Ends) -> Interpolation:
        a, b = (load_example(self.folder / name, self.model, effect) for name, effect in ends)
        return interpolate(a, b, self.model)

    def _invert(self, output: Path) -> None:
        invert_file(self.folder / "spectrograms.h5", output, overwrite=True, progress=self.progress)


def _configuration(seed: int) -> Configuration:
    """The preset that this machine suits, with an end to its training."""
    name = "default" if n_cuda_devices() else "small"
    # Compiling takes as long as such a training.
    training = {"seed": seed, "max_minutes": TRAINING_MINUTES, "compile": "never"}
    made = presets.configure(name, overrides={"training": training})
    small = presets.PRESETS["small"]  # for so few recordings, on any machine
    return replace(made, split=small.split, pairs_per_effect=small.pairs_per_effect)
