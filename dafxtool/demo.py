"""The whole way once, small, on the built-in corpus: every stage and what it leaves.

Each step calls what its command calls. Nothing in here is prepared: the model that draws the
figures is trained while you wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from dafxtool import presets, synthesis
from dafxtool.api.defaults import TRY_ON
from dafxtool.config import Configuration
from dafxtool.dataset.render import render
from dafxtool.effects.builtin import builtin_effects
from dafxtool.effects.effect import EffectChoice
from dafxtool.errors import OutputExistsError
from dafxtool.latents.embed import embed
from dafxtool.latents.examples import load_example
from dafxtool.latents.interpolate import draw_interpolation, interpolate, sound_interpolation
from dafxtool.latents.invert import invert_file
from dafxtool.latents.latent_map import draw_latent_map, latent_map, map_title
from dafxtool.latents.reconstruct import (
    draw_reconstructions,
    reconstruct_pairs,
    write_reconstruction_table,
)
from dafxtool.latents.table import write_latents
from dafxtool.models.run import Run, load_run
from dafxtool.spectrogram.compute import compute_spectrograms
from dafxtool.training.tensorboard import TensorBoardCallback, draw_training
from dafxtool.training.train import train
from dafxtool.utils.device import n_cuda_devices
from dafxtool.utils.progress import SILENT, Progress

EFFECTS = ("overdrive", "delay", "ring-modulator", "low-pass")
TRAINING_MINUTES = 1.0  # at most, on any machine: the demo ends in under three


@dataclass
class DemoResult:
    """What was written: (step, seconds, path, what to see there)."""

    folder: Path
    written: list[tuple[str, float, Path, str]] = field(default_factory=list)


def demo(
    folder: Path,
    seed: int = 0,
    workers: int = 1,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> DemoResult:
    """Render, analyse, train, embed, map, reconstruct, interpolate and invert into `folder`."""
    if folder.exists() and not folder.is_dir():
        raise OutputExistsError(f"{folder} is a file: give --output the name of a folder.")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise OutputExistsError(
            f"{folder} is not empty: choose another --output, or replace what is there with "
            "--overwrite."
        )
    return _Demo(folder, seed, workers, device, progress).run()


class _Demo:
    """The steps, in order, and the table that they fill."""

    def __init__(
        self, folder: Path, seed: int, workers: int, device: str, progress: Progress
    ) -> None:
        self.folder, self.seed, self.workers = folder, seed, workers
        self.device, self.progress = device, progress
        self.result = DemoResult(folder)
        self.configuration = _configuration(seed)
        known = builtin_effects()
        self.effects: list[EffectChoice] = [
            EffectChoice(known[name], {}) for name in EFFECTS
        ]

    def run(self) -> DemoResult:
        self._render()
        self._train()
        run = load_run(self.folder / "run", self.device)
        self._embed_and_map(run)
        self._reconstruct(run)
        self._interpolate(run)
        self._invert()
        return self.result

    @contextmanager
    def _step(self, name: str, path: str, what: str) -> Iterator[Path]:
        """Time a step, and put a line into the table."""
        self.progress.say(f"-- {name}")
        began = time.monotonic()
        output = self.folder / path
        yield output
        self.result.written.append((name, time.monotonic() - began, output, what))

    def _render(self) -> None:
        with self._step("recordings", "recordings", "20 recordings, synthesised") as output:
            synthesis.write_corpus(output, self.seed)
            for name, family in TRY_ON.items():
                synthesis.write_example(self.folder / name, family, self.seed, overwrite=True)
        with self._step("render", "pairs.h5", f"dry and wet segments: {', '.join(EFFECTS)}") as out:
            render(
                [self.folder / "recordings"],
                out,
                self.effects,
                self.configuration.segments,
                self.configuration.split,
                self.configuration.pairs_per_effect,
                seed=self.seed,
                workers=self.workers,
                overwrite=True,
                progress=self.progress,
            )
        with self._step("spectrogram", "spectrograms.h5", "their standardised spectrograms") as out:
            compute_spectrograms(
                self.folder / "pairs.h5",
                out,
                self.configuration.spectrogram,
                device=self.device,
                overwrite=True,
                progress=self.progress,
            )

    def _train(self) -> None:
        with self._step("train", "run", "the model; look on: tensorboard --logdir") as output:
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

    def _embed_and_map(self, run: Run) -> None:
        with self._step("embed", "latents.h5", "one vector a held-out segment") as output:
            embedded = embed(
                [self.folder / "pairs.h5"], run, splits=("test",), progress=self.progress
            )
            write_latents(embedded, output, overwrite=True)
        with self._step("map", "map.png", "effects in the latent space, unheard recordings") as out:
            projection = latent_map(embedded, "umap", self.seed)
            draw_latent_map(out, embedded, projection, map_title(embedded), True)

    def _reconstruct(self, run: Run) -> None:
        with self._step(
            "reconstruct", "reconstruction.png", "typical examples, with errors"
        ) as out:
            made, table = reconstruct_pairs(self.folder / "pairs.h5", run, progress=self.progress)
            draw_reconstructions(out, made[:2], run, True)
            write_reconstruction_table(out.with_suffix(".csv"), table, True)

    def _interpolate(self, run: Run) -> None:
        a, b = self.folder / "a.wav", self.folder / "b.wav"
        overdrive, delay = self.effects[:2]
        for name, ends, what in (
            ("effects", ((a, delay), (a, overdrive)), "delay to overdrive, same recording"),
            ("recordings", ((a, overdrive), (b, overdrive)), "a.wav to b.wav, same effect"),
        ):
            with self._step("interpolate", f"interpolation-{name}.png", what) as output:
                sources = [load_example(path, run, effect) for path, effect in ends]
                made = interpolate(sources[0], sources[1], run)
                draw_interpolation(output, made, run, True)
            with self._step(
                "interpolate", f"interpolation-{name}", "every step as sound"
            ) as output:
                sound_interpolation(output, made, run, overwrite=True, progress=self.progress)

    def _invert(self) -> None:
        with self._step("invert", "inverted.wav", "a stored wet spectrogram as sound") as output:
            invert_file(
                self.folder / "spectrograms.h5", output, overwrite=True, progress=self.progress
            )


def _configuration(seed: int) -> Configuration:
    """The preset that this machine suits, with an end to its training."""
    name = "default" if n_cuda_devices() else "small"
    # Compiling takes as long as such a training.
    training = {"seed": seed, "max_minutes": TRAINING_MINUTES, "compile": "never"}
    made = presets.configure(name, overrides={"training": training})
    small = presets.PRESETS["small"]  # for so few recordings, on any machine
    return replace(made, split=small.split, pairs_per_effect=small.pairs_per_effect)
